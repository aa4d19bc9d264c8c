//! Signals that end a guest.
//!
//! Process 1 of a pid namespace does not have the default actions of signals (pid_namespaces(7)): SIGTERM
//! without a handler would do nothing. The handlers installed here end the process wherever its threads
//! are: in a loop of the guest, in a system call, or nowhere near the interpreter.
//!
//! SIGSEGV and SIGBUS are WAMR's, as is one real-time signal, by which it interrupts blocking calls of
//! guest threads. All others, SIGUSR1 included, are free for the container's users.

use std::io;

use libc::c_int;

use crate::{Error, Result};

/// Standard signals whose default action ends a process and that no fault of the process itself raises.
/// SIGKILL needs no handler; SIGPIPE is ignored instead.
const TERMINATING: [c_int; 14] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGSTKFLT,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
];

/// The last real-time signal: the least likely to be a container's stop signal.
pub(crate) fn wakeup() -> c_int {
    libc::SIGRTMAX()
}

/// [`exit_on`] for every signal that would end a process by default, except for those that report a fault;
/// ignores SIGPIPE, so that the guest sees `EPIPE`. Children inherit it all.
///
/// # Errors
/// [`Error::Signal`].
pub fn exit_on_termination() -> Result<()> {
    let real_time = libc::SIGRTMIN()..wakeup();
    exit_on(&TERMINATING.into_iter().chain(real_time).collect::<Vec<_>>())?;
    install(libc::SIGPIPE, libc::SIG_IGN)
}

/// Makes each of these signals end the process at once with status 128 + its number, and unblocks them
/// for the calling thread.
///
/// # Errors
/// [`Error::Signal`] for a signal that WAMR uses or that cannot be handled.
pub fn exit_on(signals: &[c_int]) -> Result<()> {
    for &signal in signals {
        if [libc::SIGSEGV, libc::SIGBUS, wakeup()].contains(&signal) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "WAMR needs it");
            return Err(Error::Signal { signal, source });
        }
        install(signal, end as *const () as libc::sighandler_t)?;
        // SAFETY: the set is initialised by sigemptyset before use; the kernel checks the number.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, signal);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
        }
    }
    Ok(())
}

fn install(signal: c_int, handler: libc::sighandler_t) -> Result<()> {
    // SAFETY: all-zero is a valid sigaction; the handler is one of this file's, or SIG_IGN.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        // The native stack may be what ran out.
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(Error::Signal { signal, source: io::Error::last_os_error() }) }
}

extern "C" fn end(signal: c_int) {
    // SAFETY: async-signal-safe; ends all threads and never returns.
    unsafe { libc::_exit(128 + signal) }
}
