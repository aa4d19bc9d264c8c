//! Forks of this process, one per part of the work; so many at a time as there are processors.
//!
//! A fork has all that was prepared before it, and its memory is gone when it ends: LLVM's for one part, not for all. What it
//! makes it leaves in memory that it shares with this process. It is confined as this process is, and ends with it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

/// What one may leave. Takes memory only as it is used.
const ROOM: usize = 512 << 20;
/// More at a time would need more memory than a compile may have.
const MOST: usize = 4;
/// Exit status of one that left what it was asked for, and of one that left words.
const DONE: i32 = 0;
const FAILED: i32 = 1;

/// Why there is no result.
#[derive(Debug)]
pub enum Failure<E> {
    /// The work's own reason, as the worker left it.
    Work(E),
    /// A signal ended it: it crashed, or the kernel wanted its memory.
    Killed(i32),
    /// This machine cannot do it.
    Machine(io::Error),
}

/// Results of `work` for each of `parts`, in order. It runs in forks, so it changes nothing here. Errors travel as bytes.
///
/// # Errors
/// The first [`Failure`]; the other workers are left to end with this process.
pub fn run<P, E: From<Vec<u8>> + AsRef<[u8]>>(
    parts: &[P],
    work: impl Fn(&P, &mut dyn FnMut(&[u8])) -> Result<(), E>,
) -> Result<Vec<Vec<u8>>, Failure<E>> {
    let at_once = std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
    let mut shared = Vec::new();
    let mut running: Vec<(i32, usize)> = Vec::new();
    let mut results: Vec<Vec<u8>> = parts.iter().map(|_| Vec::new()).collect();
    for number in 0..parts.len() + at_once {
        if let Some(part) = parts.get(number) {
            let room = Shared::new().map_err(Failure::Machine)?;
            let worker = fork(|| match work(part, &mut |bytes| room.leave(bytes)) {
                Ok(()) => DONE,
                Err(e) => {
                    room.leave(e.as_ref());
                    FAILED
                }
            });
            running.push((worker.map_err(Failure::Machine)?, number));
            shared.push(Some(room));
        }
        if running.len() == at_once || number >= parts.len() {
            let Some(number) = reap(&mut running, &shared)? else { continue };
            let room = shared.get_mut(number).and_then(Option::take);
            if let (Some(result), Some(room)) = (results.get_mut(number), room) {
                *result = room.take().map_err(Failure::Machine)?;
            }
        }
    }
    Ok(results)
}

/// Waits until one has ended, and says which.
fn reap<E: From<Vec<u8>>>(
    running: &mut Vec<(i32, usize)>,
    shared: &[Option<Shared>],
) -> Result<Option<usize>, Failure<E>> {
    if running.is_empty() {
        return Ok(None);
    }
    let mut status = 0;
    let number = loop {
        // SAFETY: one valid pointer.
        let pid = unsafe { libc::wait4(-1, &mut status, 0, std::ptr::null_mut()) };
        if pid < 0 {
            return Err(Failure::Machine(io::Error::last_os_error()));
        }
        // Others are of a run that failed.
        if let Some(at) = running.iter().position(|(worker, _)| *worker == pid) {
            break running.remove(at).1;
        }
    };
    if libc::WIFSIGNALED(status) {
        return Err(Failure::Killed(libc::WTERMSIG(status)));
    }
    match (libc::WEXITSTATUS(status), shared.get(number).and_then(Option::as_ref)) {
        (DONE, _) => Ok(Some(number)),
        (FAILED, Some(room)) => Err(Failure::Work(E::from(room.take().map_err(Failure::Machine)?))),
        _ => Err(Failure::Killed(libc::SIGABRT)),
    }
}

/// Starts a process that does `work` and ends with the status it returns.
fn fork(work: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: always sound.
    let parent = unsafe { libc::getpid() };
    // SAFETY: this process has one thread, so nothing is left locked or half done in the child.
    let pid = unsafe { libc::fork() };
    match pid {
        0 => {
            // SAFETY: plain numbers. The second call finds out whether the parent died before the first.
            let orphaned = unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 || libc::getppid() != parent
            };
            let panicked = libc::SIGABRT + 128;
            let status = match orphaned {
                true => panicked,
                false => catch_unwind(AssertUnwindSafe(work)).unwrap_or(panicked),
            };
            // SAFETY: does not return, and runs nothing that the parent registered.
            unsafe { libc::_exit(status) }
        }
        ..0 => Err(io::Error::last_os_error()),
        _ => Ok(pid),
    }
}

/// Memory that this process and a fork see alike: a length, then as many bytes.
struct Shared(NonNull<u8>);

impl Shared {
    const HEAD: usize = 8;

    fn new() -> io::Result<Shared> {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), ROOM, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        match NonNull::new(start.cast()) {
            Some(place) if start != libc::MAP_FAILED => Ok(Shared(place)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// In the fork. What is too long leaves nothing, and so fails.
    fn leave(&self, bytes: &[u8]) {
        if bytes.len() > ROOM - Shared::HEAD {
            return;
        }
        // SAFETY: there is room for both, and nobody reads before this process has ended.
        unsafe {
            self.0.as_ptr().add(Shared::HEAD).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            self.0.as_ptr().cast::<u64>().write(bytes.len() as u64);
        }
    }

    /// Once the fork has ended.
    fn take(&self) -> io::Result<Vec<u8>> {
        // SAFETY: mapped, aligned to a page; nobody writes any more.
        let length = unsafe { self.0.as_ptr().cast::<u64>().read() };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length == 0 || length > ROOM - Shared::HEAD {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a part of the code is too large"));
        }
        // SAFETY: so many bytes are mapped.
        Ok(unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(Shared::HEAD), length) }.to_vec())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: this mapping, to which nothing refers any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), ROOM) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // `cargo test` has several threads. What these forks do, the C library allows in a fork of such a process.
    fn results(parts: &[i32]) -> Result<Vec<Vec<u8>>, Failure<Vec<u8>>> {
        let outcome = run(parts, |part, leave| match part {
            -1 => Err(b"no".to_vec()),
            // SAFETY: ends this process.
            -2 => unsafe { libc::_exit(libc::raise(libc::SIGKILL)) },
            part => {
                leave(&part.to_le_bytes());
                Ok(())
            }
        });
        if let Err(Failure::Machine(e)) = &outcome {
            panic!("{e}");
        }
        outcome
    }

    #[test]
    fn results_come_in_order_and_the_first_failure_is_told() {
        let parts: Vec<i32> = (0..20).collect();
        let expected: Vec<Vec<u8>> = parts.iter().map(|part| part.to_le_bytes().to_vec()).collect();
        assert_eq!(results(&parts).unwrap(), expected);
        assert!(results(&[]).unwrap().is_empty());
        assert!(matches!(results(&[1, -1, 2]), Err(Failure::Work(words)) if words == b"no"));
        assert!(matches!(results(&[1, -2]), Err(Failure::Killed(libc::SIGKILL))));
    }
}
