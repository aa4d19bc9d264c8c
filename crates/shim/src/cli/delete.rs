//! `delete`: containerd gave a container up; leave nothing of it behind.
//!
//! Executed after every removal by most containerd versions, and after a crash of the server. With a living
//! server it is one question; without one the record in the bundle says what is to be undone.

use std::path::{Path, PathBuf};

use containerd_shim_protos::api::DeleteResponse;
use protobuf::{Message, MessageField};

use super::flags::Flags;
use crate::control::{self, Answer, Request};
use crate::exit::Exit;
use crate::reconcile;
use crate::record::Record;
use crate::rendezvous::Rendezvous;

/// Runs `delete` and returns the bytes for stdout.
///
/// # Errors
/// In words.
pub fn delete(flags: &Flags) -> Result<Vec<u8>, String> {
    if flags.id.is_empty() {
        return Err("-id is missing: this program is started by containerd".to_owned());
    }
    let bundle = match flags.bundle.as_str() {
        "" => std::env::current_dir().map_err(|e| format!("find the bundle: {e}"))?,
        path => PathBuf::from(path),
    };
    let (exit, pid) = match ask_server(&bundle, &flags.id)? {
        Some(Answer::Dropped(exit, pid)) => (exit, pid),
        Some(Answer::Error(why)) => return Err(why),
        Some(_) => (Exit::unseen(), 0),
        None => {
            reconcile::clean(&bundle);
            (Exit::unseen(), 0)
        }
    };
    let response = DeleteResponse {
        pid: pid as u32,
        exit_status: exit.status,
        exited_at: MessageField::some(exit.at.timestamp()),
        ..DeleteResponse::default()
    };
    response.write_to_bytes().map_err(|e| format!("encode the answer: {e}"))
}

/// `None` when no server lives. The sockets of a dead one are removed.
fn ask_server(bundle: &Path, id: &str) -> Result<Option<Answer>, String> {
    let recorded = Record::read(bundle).ok().flatten().map(|record| Rendezvous::at(record.server));
    let address = || std::fs::read_to_string(bundle.join("address")).ok();
    let Some(place) = recorded.or_else(|| Rendezvous::of_address(address()?.trim())) else { return Ok(None) };
    let answer = control::ask(&place.control_socket(), &Request::Drop(id.to_owned()));
    let answer =
        answer.map_err(|e| format!("the server at {} does not answer: {e}", place.directory().display()))?;
    if answer.is_none() {
        reconcile::remove_if_dead(&place);
    }
    Ok(answer)
}
