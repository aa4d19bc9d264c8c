//! The process that turns a module into a template: as confined as a container, smaller, and soon over.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use jail::{Confinement, Namespaces, User};
use rustix::process::{Resource, Signal};
use zygote::{ForkDescriptors, ForkRequest, Guest, Template, Zygote};

use crate::exit::Exit;

/// How long it may take. The largest modules known take seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// `nobody`, whom no file belongs to.
const NOBODY: u32 = 65534;
/// What the builder has besides the module, its loaded form and its memory: the zygote's own data.
const OWN: u64 = 64 << 20;
/// The kernel is to end it before anybody's containers.
const OOM_SCORE: i32 = 1000;

/// Writes a template to the empty file `image` and returns its size in bytes: of the module in `contents`, or of the
/// AOT code of one. No process is left. `most_bytes` is the most it may have.
///
/// # Errors
/// In words, for the log: a container that loads the module itself will say what is wrong with it.
pub fn build(
    zygote: &Zygote,
    contents: &File,
    image: &File,
    template: Template,
    most_bytes: u64,
) -> Result<u64, String> {
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|e| format!("open /dev/null: {e}"))?;
    let request = ForkRequest { confinement: confinement(most_bytes), guest: Guest::Template(template) };
    let descriptors = ForkDescriptors {
        module: Some(contents.as_fd()),
        output: Some(image.as_fd()),
        ..ForkDescriptors::new([null.as_fd(); 3])
    };
    let forked = zygote.fork(&request, &descriptors).map_err(|e| e.to_string())?;
    let outcome = forked.gate.wait_ready(PATIENCE);
    // Whatever it said: a file that it could still write to cannot be sealed.
    let _ = rustix::process::pidfd_send_signal(&forked.pidfd, Signal::KILL);
    Exit::reap_blocking(forked.pidfd.as_fd()).map_err(|e| format!("reap the builder: {e}"))?;
    outcome.map_err(|e| e.to_string())?;
    image.metadata().map(|metadata| metadata.len()).map_err(|e| format!("look at it: {e}"))
}

/// Namespaces of its own, no root but the zygote's empty one, nobody's user id; limits in place of a cgroup, which
/// would keep the template charged to it. It stays in the server's own cgroup, where the shared memory belongs.
fn confinement(most_bytes: u64) -> Confinement<'static> {
    let limit = |resource: Resource, most: u64| (resource as u32, most, most);
    Confinement {
        fresh: Namespaces { mount: true, pid: true, network: true, ipc: true, uts: true, cgroup: false },
        user: User { uid: NOBODY, gid: NOBODY, groups: Vec::new(), umask: None },
        rlimits: vec![
            limit(Resource::Fsize, most_bytes),
            // The module's bytes, privately mapped, and what they become.
            limit(Resource::Data, most_bytes.saturating_mul(2).saturating_add(OWN)),
            limit(Resource::Cpu, PATIENCE.as_secs()),
            limit(Resource::Nofile, 32),
            limit(Resource::Nproc, 1),
            limit(Resource::Core, 0),
            limit(Resource::Memlock, 0),
        ],
        oom_score_adj: Some(OOM_SCORE),
        cwd: "/",
        ..Confinement::default()
    }
}
