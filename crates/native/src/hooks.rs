//! Hooks after Start and after Delete. Those around Create are run by libcontainer on its way.

use std::time::Duration;

use libcontainer::container::Container;
use oci_spec::runtime::Spec;

use crate::answer::Answer;
use crate::error::in_words;
use crate::helper::Helper;
use crate::inherited::Lent;
use crate::request::{HookKind, HooksRequest, Request};
use crate::{Error, Program, Result, Spawn};

const PATIENCE: Duration = Duration::from_secs(120);

/// Runs them, one after the other. Blocks.
///
/// # Errors
/// The first that failed.
pub fn hooks(spawn: Spawn<'_>, program: &Program, request: HooksRequest) -> Result<()> {
    let helper = Helper::start(spawn, program, Request::Hooks(request), &Lent::default())?;
    match helper.hear(None, PATIENCE)? {
        (Answer::Failed(why, _), _) => Err(Error::Refused(why)),
        _ => {
            helper.finish();
            Ok(())
        }
    }
}

/// The helper's half.
pub(crate) fn run(request: &HooksRequest) -> std::result::Result<(), String> {
    let spec = Spec::load(request.directory.join("config.json")).map_err(|e| in_words(&e))?;
    let load = || Container::load(request.directory.join(&request.id));
    // Its process may end while libcontainer looks at it, which that takes for an error. Once it is gone all is well.
    let container = load().or_else(|_| load()).map_err(|e| in_words(&e))?;
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    let (name, list) = match request.kind {
        HookKind::PostStart => ("poststart", hooks.poststart()),
        HookKind::PostStop => ("poststop", hooks.poststop()),
    };
    let done = libcontainer::hooks::run_hooks(list.as_ref(), Some(&container.state), None, None, None);
    done.map_err(|e| format!("hooks.{name}: {}", in_words(&e)))
}
