//! What the executable does as `native`: one request, one answer.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use crate::answer::Answer;
use crate::inherited::{ANSWER, Inherited, Letter, REQUEST};
use crate::request::Request;
use crate::{hooks, init, join, monitor};

/// Does what the request says that the server left at descriptor 3, and answers on descriptor 0.
///
/// # Errors
/// Only if nobody can be answered; everything else is the answer.
pub fn serve() -> Result<(), String> {
    // SAFETY: the server started this process with these two descriptors, and this is the only place to take them.
    let (socket, request) = unsafe { (OwnedFd::from_raw_fd(ANSWER), OwnedFd::from_raw_fd(REQUEST)) };
    let null = File::open("/dev/null").map_err(|e| format!("open /dev/null: {e}"))?;
    // Away from the numbers of standard streams, which are the container's to be.
    let answer = rustix::io::fcntl_dupfd_cloexec(&socket, 100)
        .map_err(|e| format!("keep the server's socket: {e}"))?;
    std::mem::forget(socket);
    rustix::stdio::dup2_stdin(&null).map_err(|e| format!("let go of the server's socket: {e}"))?;
    // Whoever started containerd may have left descriptors open, which would come along into the container.
    close_on_exec_from(REQUEST).map_err(|e| format!("close descriptors on exec: {e}"))?;
    // What joins or makes namespaces must not be looked into from inside them.
    let dumpable = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(dumpable).map_err(|e| format!("become undumpable: {e}"))?;

    let mut text = Vec::new();
    let read = File::from(request).read_to_end(&mut text);
    let letter: Letter = match read.map_err(serde_json::Error::io).and_then(|_| serde_json::from_slice(&text))
    {
        Ok(letter) => letter,
        Err(e) => return fail(&answer, &format!("read the server's request: {e}"), None),
    };
    // SAFETY: the server wrote the layout with the descriptors that it describes.
    let inherited = unsafe { Inherited::take(letter.layout) };
    match letter.request {
        Request::Create(request) => match init::create(&request, inherited, &answer) {
            Ok(()) => Ok(()),
            Err(why) => fail(&answer, &why, init::left_over(&request)),
        },
        Request::Exec(request) => match join::exec(&request, inherited, &answer) {
            Ok(()) => Ok(()),
            Err(why) => fail(&answer, &why, None),
        },
        Request::Run(request) => match monitor::run(&request, inherited, &answer) {
            // Ends as the container did.
            Ok(status) => std::process::exit(status),
            Err(why) => fail(&answer, &why, None),
        },
        Request::Hooks(request) => match hooks::run(&request) {
            Ok(()) => say(&answer, &Answer::Ready(Vec::new())),
            Err(why) => fail(&answer, &why, None),
        },
    }
}

fn close_on_exec_from(first: RawFd) -> std::io::Result<()> {
    // SAFETY: changes a flag of descriptors and closes none.
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn fail(socket: &OwnedFd, why: &str, left_over: Option<i32>) -> Result<(), String> {
    say(socket, &Answer::failed(why, left_over))
}

fn say(socket: &OwnedFd, answer: &Answer) -> Result<(), String> {
    answer.send(socket.as_fd(), None).map_err(|e| format!("answer the server: {e}"))
}
