//! Seccomp profiles of joined processes.

use std::path::Path;

use libcontainer::seccomp::{initialize_seccomp, is_notify};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscallBuilder, Spec,
};

use crate::error::in_words;
use crate::request::{Confinement, ExecRequest};

/// The container's profile; beside a wasm guest a list of our own if the container has none.
pub(crate) fn for_exec(request: &ExecRequest) -> Result<Option<LinuxSeccomp>, String> {
    let filter = of_config(&request.config)?;
    match request.confinement {
        Confinement::Process => Ok(filter),
        Confinement::Wasm => filter.map_or_else(own, Ok).map(Some),
    }
}

fn of_config(config: &Path) -> Result<Option<LinuxSeccomp>, String> {
    let spec = Spec::load(config).map_err(|e| format!("read {}: {}", config.display(), in_words(&e)))?;
    let filter = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone());
    if filter.as_ref().is_some_and(is_notify) {
        return Err(
            "linux.seccomp notifies an agent (SCMP_ACT_NOTIFY), which an exec cannot: nothing was run"
                .to_owned(),
        );
    }
    Ok(filter)
}

/// Installs it in this thread, for good.
pub(crate) fn install(filter: &LinuxSeccomp) -> Result<(), String> {
    initialize_seccomp(filter).map(drop).map_err(|e| format!("install linux.seccomp: {}", in_words(&e)))
}

/// What programs need, and nothing that reaches the kernel itself, other processes or namespaces. The rest fails with
/// `EPERM`.
fn own() -> Result<LinuxSeccomp, String> {
    let named = |names: &str, action| {
        let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        LinuxSyscallBuilder::default().names(names).action(action)
    };
    let no_namespace = LinuxSeccompArgBuilder::default()
        .index(0_usize)
        .value(NAMESPACES)
        .value_two(0_u64)
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
        .build();
    let no_namespace = no_namespace.map_err(|e| in_words(&e))?;
    let syscalls = [
        named(ALLOWED, LinuxSeccompAction::ScmpActAllow),
        named("clone", LinuxSeccompAction::ScmpActAllow).args(vec![no_namespace]),
        // Its flags are in memory, where no filter sees them: the C library goes back to clone.
        named("clone3", LinuxSeccompAction::ScmpActErrno).errno_ret(libc::ENOSYS as u32),
    ];
    let syscalls = syscalls.into_iter().map(|rule| rule.build()).collect::<Result<Vec<_>, _>>();
    let filter = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .architectures(vec![Arch::ScmpArchNative])
        .syscalls(syscalls.map_err(|e| in_words(&e))?);
    filter.build().map_err(|e| in_words(&e))
}

/// `CLONE_NEW*` of `linux/sched.h`.
const NAMESPACES: u64 = 0x7e02_0000;

/// Names that an architecture does not have are passed over.
const ALLOWED: &str = "
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 close close_range lseek
    open openat openat2 creat access faccessat faccessat2 stat lstat fstat newfstatat statx statfs fstatfs
    getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat
    symlink symlinkat readlink readlinkat chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat
    truncate ftruncate fallocate utime utimes utimensat futimesat umask mknod mknodat
    getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr setxattr lsetxattr fsetxattr removexattr
    lremovexattr fremovexattr fsync fdatasync sync syncfs sync_file_range fadvise64 readahead copy_file_range
    sendfile splice tee vmsplice dup dup2 dup3 fcntl flock ioctl pipe pipe2 inotify_init inotify_init1
    inotify_add_watch inotify_rm_watch select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl
    epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime
    timerfd_gettime memfd_create
    mmap munmap mremap mprotect madvise msync mincore mlock mlock2 munlock mlockall munlockall brk membarrier
    fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill getpid getppid gettid getpgid getpgrp
    setpgid getsid setsid pidfd_open pidfd_send_signal getuid geteuid getgid getegid getresuid getresgid getgroups
    setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capget capset
    getpriority setpriority getrlimit setrlimit prlimit64 getrusage times sysinfo uname
    sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam sched_getscheduler
    sched_setscheduler sched_getattr sched_setattr sched_get_priority_max sched_get_priority_min
    sched_rr_get_interval ioprio_get ioprio_set getcpu
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo
    rt_tgsigqueueinfo sigaltstack pause alarm getitimer setitimer restart_syscall
    futex futex_waitv set_robust_list get_robust_list set_tid_address rseq arch_prctl prctl
    nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time timer_create timer_settime
    timer_gettime timer_getoverrun timer_delete getrandom
    socket socketpair bind listen accept accept4 connect shutdown getsockname getpeername setsockopt getsockopt
    sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg
    semget semop semtimedop semctl shmget shmat shmdt shmctl msgget msgsnd msgrcv msgctl
    mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
    landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_for_execs_beside_wasm_refuses_what_it_does_not_name() {
        let filter = own().unwrap();
        assert_eq!(filter.default_action(), LinuxSeccompAction::ScmpActErrno);
        let allowed: Vec<&str> = ALLOWED.split_whitespace().collect();
        for name in
            ["mount", "ptrace", "bpf", "setns", "unshare", "keyctl", "io_uring_setup", "process_vm_writev"]
        {
            assert!(!allowed.contains(&name), "{name}");
        }
        let mut once = allowed.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), allowed.len(), "a name is there twice");
    }
}
