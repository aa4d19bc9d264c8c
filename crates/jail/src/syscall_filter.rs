//! The last wall: what a process that broke out of wasm's sandbox can still ask of the kernel.
//!
//! The list is what WAMR's POSIX platform, its libc-wasi and its thread library call, and the C library in
//! their name; nothing is on it because it looked harmless. All else gets `EPERM` rather than death: C
//! libraries probe for newer calls and go on without them, and a guest is told "not permitted" instead of
//! dying without a word. A hostile process gains nothing by it: no refused call does anything.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

use crate::{Error, socket_rules};

/// Condition on one argument of a call: `argument & mask == value`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arg {
    pub index: u8,
    pub mask: u64,
    pub value: u64,
    /// Whether the kernel takes all 64 bits of it; else only the lower half is looked at, as the kernel does.
    pub wide: bool,
}

/// Alternatives, each a list of conditions that all have to hold.
pub(crate) type Rules = Vec<Vec<Arg>>;

/// An `int` argument with one value.
pub(crate) const fn equals(index: u8, value: u64) -> Arg {
    Arg { index, mask: u32::MAX as u64, value: value & u32::MAX as u64, wide: false }
}

/// A `long` argument with one value.
const fn equals_wide(index: u8, value: u64) -> Arg {
    Arg { index, mask: u64::MAX, value, wide: true }
}

/// Calls that are allowed whatever their arguments.
const ALLOWED: &[i64] = &[
    // Files and directories.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ppoll,
    // Memory; mmap and mprotect are below.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads and time.
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
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_uname,
    // Signals: bound checks are SIGSEGV handlers, threads are woken by SIGUSR1. The prologue narrows tgkill.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    // The kernel itself has a stopped and continued sleep go on through this one.
    libc::SYS_restart_syscall,
    // Sockets; socket, setsockopt and getsockopt are in `socket_rules`.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    // The resolver of the C library asks for both address families at once.
    libc::SYS_sendmmsg,
    libc::SYS_shutdown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pause,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Terminal size and attributes, bytes waiting, non-blocking mode. Not TIOCSTI, which types into a terminal.
const IOCTLS: [u64; 4] = [libc::TCGETS, libc::FIONREAD, libc::FIONBIO, libc::TIOCGWINSZ];
/// Not F_SETOWN and F_SETSIG, which send signals to other processes.
const FCNTLS: [i32; 6] =
    [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL];
/// What glibc's pthread_create asks for: a thread, and nothing that is new but its stack.
const THREAD: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID;

fn narrowed() -> [(i64, Rules); 9] {
    // No memory that can be executed, so that no data can become code. The check is on the bit: PROT_GROWSDOWN
    // and others may be set beside it.
    let not_executable: Rules =
        vec![vec![Arg { index: 2, mask: libc::PROT_EXEC as u64, value: 0, wide: false }]];
    [
        (libc::SYS_mmap, not_executable.clone()),
        (libc::SYS_mprotect, not_executable),
        (libc::SYS_ioctl, IOCTLS.iter().map(|request| vec![equals(1, *request)]).collect()),
        (libc::SYS_fcntl, FCNTLS.iter().map(|command| vec![equals(1, *command as u64)]).collect()),
        // musl sets CLONE_DETACHED beside, which has meant nothing since Linux 2.6.
        (
            libc::SYS_clone,
            [THREAD, THREAD | libc::CLONE_DETACHED]
                .iter()
                .map(|flags| vec![equals_wide(0, *flags as u64)])
                .collect(),
        ),
        // Asking for the process's own limits, setting none.
        (libc::SYS_prlimit64, vec![vec![equals(0, 0), equals_wide(2, 0)]]),
        // A thread's name; not PR_SET_PDEATHSIG, PR_SET_DUMPABLE and the many others.
        (libc::SYS_prctl, vec![vec![equals(0, libc::PR_SET_NAME as u64)]]),
        (libc::SYS_socket, socket_rules::socket()),
        (libc::SYS_setsockopt, socket_rules::setsockopt()),
    ]
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

/// The compiled filter. Made once in the zygote, installed in each child; children share its memory until
/// then.
#[derive(Debug, Clone)]
pub struct Filter(BpfProgram);

impl Filter {
    /// Compiles the filter.
    ///
    /// # Errors
    /// [`Error::Filter`]; only if the list itself is wrong.
    pub fn compile() -> Result<Self, Error> {
        let mut calls: BTreeMap<i64, Vec<SeccompRule>> =
            ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        let getsockopt = (libc::SYS_getsockopt, socket_rules::getsockopt());
        for (call, rules) in narrowed().into_iter().chain([getsockopt]) {
            let compiled = rules.iter().map(|all| rule(all)).collect::<Result<_, _>>().map_err(failed)?;
            calls.insert(call, compiled);
        }
        let refuse = SeccompAction::Errno(libc::EPERM as u32);
        let list = SeccompFilter::new(calls, refuse, SeccompAction::Allow, ARCHITECTURE).map_err(failed)?;
        let list = BpfProgram::try_from(list).map_err(failed)?;
        Ok(Self(prologue().into_iter().chain(list).collect()))
    }

    /// Installs the filter on the calling thread, for good; the last step before the guest.
    ///
    /// # Errors
    /// [`Error::Filter`] with the kernel's reason.
    pub fn install(&self) -> Result<(), Error> {
        let mut program = self.0.clone();
        if let Some(compare) = program.get_mut(OWN_PROCESS) {
            compare.k = std::process::id();
        }
        seccompiler::apply_filter(&program).map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Filter(error.to_string())
}

fn rule(conditions: &[Arg]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions
        .iter()
        .map(|arg| {
            let length = if arg.wide { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
            SeccompCondition::new(arg.index, length, SeccompCmpOp::MaskedEq(arg.mask), arg.value)
        })
        .collect::<Result<_, _>>()?;
    SeccompRule::new(conditions)
}

/// Where [`prologue`] compares with the process's own id, which is only known in the child.
const OWN_PROCESS: usize = 5;

/// What the list cannot say, in front of it. Every path refuses or falls through to the list, so nothing is
/// allowed here.
///
/// `clone3` passes its flags in memory, where no filter can see them: `ENOSYS` makes the C library use
/// `clone`. Signals go to the own threads only, also where a pod shares its process ids.
fn prologue() -> [sock_filter; 7] {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    // Offsets in `struct seccomp_data`; both architectures are little-endian.
    const NUMBER: u32 = 0;
    const FIRST_ARGUMENT: u32 = 16;
    let op = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let errno = |errno: i32| op(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32);
    [
        op(LOAD, 0, 0, NUMBER),
        op(JUMP_IF_EQUAL, 0, 1, libc::SYS_clone3 as u32),
        errno(libc::ENOSYS),
        op(JUMP_IF_EQUAL, 0, 3, libc::SYS_tgkill as u32),
        op(LOAD, 0, 0, FIRST_ARGUMENT),
        op(JUMP_IF_EQUAL, 1, 0, 0),
        errno(libc::EPERM),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_id_is_compared_where_install_writes_it() {
        let placeholder = &prologue()[OWN_PROCESS];
        assert_eq!((placeholder.code, placeholder.k), (0x15, 0));
        let filter = Filter::compile().unwrap();
        assert!(filter.0.len() < 4096, "the kernel takes {} instructions", filter.0.len());
    }

    #[test]
    fn no_call_is_both_free_and_narrowed() {
        for (call, rules) in narrowed() {
            assert!(!ALLOWED.contains(&call), "{call}");
            assert!(!rules.is_empty(), "an empty list would allow call {call} with any argument");
        }
    }
}
