//! Two lists shorter than a guest's: for a process that only computes, and for the moment in which compiled code
//! is loaded.

use crate::Error;
use crate::filter_program::{Label, Program};
use crate::syscall_filter::{Filter, THREAD, numbers};

/// Memory, threads, the clock, the own end, and bytes through descriptors that are open already.
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

/// What the loader of compiled code calls, and what it takes to say that it failed.
const LOADING: &[libc::c_long] = &[
    // The one use that is not in a guest's list: memory that can be executed.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_close,
    libc::SYS_write,
    libc::SYS_sendto,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit_group,
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
                    program.one_of_wide(0, &numbers([THREAD, THREAD | libc::CLONE_DETACHED]), program.allow),
                ),
                (libc::SYS_clone3, program.unknown),
                (libc::SYS_prlimit64, program.one_of(0, &[0], no_new_limit)),
                (libc::SYS_tgkill, own_process),
            ]
        })
    }

    /// For the time in which compiled code is mapped, and no longer: the filter of guests is installed on top of it
    /// and takes executable memory away. No guest runs under this one alone.
    ///
    /// # Errors
    /// [`Error::Filter`]; only if the list itself is wrong.
    pub fn loading() -> Result<Filter, Error> {
        Filter::of(LOADING, |program: &mut Program, own_process: Label| {
            let filter = program.one_of(0, &[libc::SECCOMP_SET_MODE_FILTER], program.allow);
            let privileges = program.one_of(0, &[libc::PR_SET_NO_NEW_PRIVS as u32], program.allow);
            [
                (libc::SYS_seccomp, filter),
                // Before it installs the next filter.
                (libc::SYS_prctl, privileges),
                (libc::SYS_tgkill, own_process),
            ]
        })
    }
}
