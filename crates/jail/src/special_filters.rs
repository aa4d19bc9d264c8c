//! A list shorter than a guest's, for a process that only computes.

use crate::Error;
use crate::filter_program::{Label, Program};
use crate::syscall_filter::{Filter, THREAD, numbers};

/// What the C library's fork passes to clone. A fork is confined as its parent is.
const FORK: i32 = libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;

/// Memory, threads, forks, the clock, the own end, and bytes through descriptors that are open already.
const COMPUTING: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_wait4,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_clock_gettime,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
];

impl Filter {
    /// For a process that computes: no file or socket can be opened, nothing can be executed, no memory can become
    /// code.
    ///
    /// # Errors
    /// [`Error::Filter`]; only if the list itself is wrong.
    pub fn computing() -> Result<Filter, Error> {
        Filter::of(COMPUTING, |program: &mut Program, own_process: Label| {
            let not_executable = program.none_of_bits(2, libc::PROT_EXEC as u32);
            let no_new_limit = program.one_of_wide(2, &[0], program.allow);
            [
                (libc::SYS_mmap, not_executable),
                (libc::SYS_mprotect, not_executable),
                (
                    libc::SYS_clone,
                    program.one_of_wide(
                        0,
                        &numbers([THREAD, THREAD | libc::CLONE_DETACHED, FORK]),
                        program.allow,
                    ),
                ),
                (libc::SYS_clone3, program.unknown),
                (libc::SYS_prlimit64, program.one_of(0, &[0], no_new_limit)),
                // A fork ends with its parent.
                (libc::SYS_prctl, program.one_of(0, &[libc::PR_SET_PDEATHSIG as u32], program.allow)),
                (libc::SYS_tgkill, own_process),
            ]
        })
    }
}
