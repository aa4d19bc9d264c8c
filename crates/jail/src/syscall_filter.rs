//! The last wall: what a process that broke out of wasm's sandbox can still ask of the kernel.
//!
//! The list is what WAMR's POSIX platform, its libc-wasi and its thread library call, and the C library in
//! their name; nothing is on it because it looked harmless. All else gets `EPERM` rather than death: C
//! libraries probe for newer calls and go on without them, and a guest is told "not permitted" instead of
//! dying without a word. A hostile process gains nothing by it: no refused call does anything.

use crate::Error;
use crate::filter_program::{Label, Program, install};

/// Calls that are allowed whatever their arguments.
const ALLOWED: &[libc::c_long] = &[
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
    // Signals: bound checks are SIGSEGV handlers, threads are woken by SIGUSR1; tgkill is below.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    // The kernel itself has a stopped and continued sleep go on through this one.
    libc::SYS_restart_syscall,
    // Sockets; socket, setsockopt and getsockopt are below.
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
    #[cfg(target_arch = "aarch64")]
    38, // renameat, which `libc` does not name there.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_renameat,
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
const IOCTLS: [libc::Ioctl; 4] = [libc::TCGETS, libc::FIONREAD, libc::FIONBIO, libc::TIOCGWINSZ];
/// Not F_SETOWN and F_SETSIG, which send signals to other processes.
const FCNTLS: [i32; 6] =
    [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL];
/// What glibc's pthread_create asks for: a thread, and nothing that is new but its stack.
pub(crate) const THREAD: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID;
/// Every socket option is code of the kernel's network stack to be tried by a hostile process: only those
/// that WAMR's socket extension sets or asks for.
const SOCKET_OPTIONS: [i32; 12] = [
    libc::SO_REUSEADDR,
    libc::SO_REUSEPORT,
    libc::SO_KEEPALIVE,
    libc::SO_BROADCAST,
    libc::SO_LINGER,
    libc::SO_SNDBUF,
    libc::SO_RCVBUF,
    libc::SO_SNDTIMEO,
    libc::SO_RCVTIMEO,
    libc::SO_TYPE,
    libc::SO_ERROR,
    libc::SO_ACCEPTCONN,
];
const TCP_OPTIONS: [i32; 5] = [
    libc::TCP_NODELAY,
    libc::TCP_QUICKACK,
    libc::TCP_KEEPIDLE,
    libc::TCP_KEEPINTVL,
    libc::TCP_FASTOPEN_CONNECT,
];
const IP_OPTIONS: [i32; 5] = [
    libc::IP_TTL,
    libc::IP_MULTICAST_TTL,
    libc::IP_MULTICAST_LOOP,
    libc::IP_ADD_MEMBERSHIP,
    libc::IP_DROP_MEMBERSHIP,
];
const IPV6_OPTIONS: [i32; 4] =
    [libc::IPV6_V6ONLY, libc::IPV6_MULTICAST_LOOP, libc::IPV6_ADD_MEMBERSHIP, libc::IPV6_DROP_MEMBERSHIP];
/// `SOCK_TYPE_MASK` of `linux/net.h`: the type without SOCK_CLOEXEC and SOCK_NONBLOCK.
const SOCKET_TYPE: u32 = 0xf;

/// Calls of which some uses are allowed.
fn narrowed(program: &mut Program, own_process: Label) -> [(libc::c_long, Label); 12] {
    let allow = program.allow;
    // No memory that can be executed, so that no data can become code.
    let not_executable = program.none_of_bits(2, libc::PROT_EXEC as u32);
    let ioctl = program.one_of(1, &IOCTLS.map(|request| request as u32), allow);
    let fcntl = program.one_of(1, &numbers(FCNTLS), allow);
    // musl sets CLONE_DETACHED beside, which has meant nothing since Linux 2.6.
    let clone = program.one_of_wide(0, &numbers([THREAD, THREAD | libc::CLONE_DETACHED]), allow);
    // Asking for the process's own limits, setting none.
    let no_new_limit = program.one_of_wide(2, &[0], allow);
    let prlimit = program.one_of(0, &[0], no_new_limit);
    // A thread's name; not PR_SET_PDEATHSIG, PR_SET_DUMPABLE and the many others.
    let prctl = program.one_of(0, &numbers([libc::PR_SET_NAME]), allow);

    // TCP and UDP over both address families; not other protocols of the same type, each of which the kernel
    // would load a module for (SCTP, MPTCP, UDP-Lite).
    let tcp = program.one_of(2, &numbers([0, libc::IPPROTO_TCP]), allow);
    let udp = program.one_of(2, &numbers([0, libc::IPPROTO_UDP]), allow);
    let kinds = [(libc::SOCK_STREAM as u32, tcp), (libc::SOCK_DGRAM as u32, udp)];
    let kind = program.switch(1, SOCKET_TYPE, &kinds);
    let socket = program.one_of(0, &numbers([libc::AF_INET, libc::AF_INET6]), kind);
    let levels = [
        (libc::SOL_SOCKET as u32, program.one_of(2, &numbers(SOCKET_OPTIONS), allow)),
        (libc::IPPROTO_TCP as u32, program.one_of(2, &numbers(TCP_OPTIONS), allow)),
        (libc::IPPROTO_IP as u32, program.one_of(2, &numbers(IP_OPTIONS), allow)),
        (libc::IPPROTO_IPV6 as u32, program.one_of(2, &numbers(IPV6_OPTIONS), allow)),
    ];
    let socket_option = program.switch(1, u32::MAX, &levels);
    [
        (libc::SYS_mmap, not_executable),
        (libc::SYS_mprotect, not_executable),
        (libc::SYS_ioctl, ioctl),
        (libc::SYS_fcntl, fcntl),
        (libc::SYS_clone, clone),
        // Passes its flags in memory, where no filter sees them. The C library then uses `clone`.
        (libc::SYS_clone3, program.unknown),
        (libc::SYS_prlimit64, prlimit),
        (libc::SYS_prctl, prctl),
        (libc::SYS_tgkill, own_process),
        (libc::SYS_socket, socket),
        (libc::SYS_setsockopt, socket_option),
        (libc::SYS_getsockopt, socket_option),
    ]
}

pub(crate) fn numbers<const N: usize>(values: [i32; N]) -> [u32; N] {
    values.map(|value| value as u32)
}

/// A compiled filter: that of guests is made once in the zygote and installed in each child.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Vec<libc::sock_filter>,
    /// The instruction that compares with the process's own id, which only the child knows.
    own_process: usize,
}

impl Filter {
    /// Compiles the filter.
    ///
    /// # Errors
    /// [`Error::Filter`]; only if the list itself is wrong.
    pub fn compile() -> Result<Self, Error> {
        Self::of(ALLOWED, narrowed)
    }

    /// A filter that allows some calls whatever their arguments and others for some uses. What `narrowed` is given
    /// besides the program allows a call whose first argument is the own process id.
    pub(crate) fn of<const N: usize>(
        allowed: &[libc::c_long],
        narrowed: impl FnOnce(&mut Program, Label) -> [(libc::c_long, Label); N],
    ) -> Result<Self, Error> {
        let mut program = Program::new();
        // Signals go to the own threads only, also where a pod shares its process ids.
        let own_process = program.one_of(0, &[0], program.allow);
        let mut calls: Vec<_> = allowed.iter().map(|call| (*call, program.allow)).collect();
        calls.extend(narrowed(&mut program, own_process));
        let program = program.finish(&calls)?;
        // Behind the instruction that loads the argument; labels count from the end.
        let own_process = program.len() - own_process;
        Ok(Self { program, own_process })
    }

    /// Installs the filter on the calling thread, for good; the last step before the guest.
    ///
    /// # Errors
    /// [`Error::Filter`] with the kernel's reason.
    pub fn install(&self) -> Result<(), Error> {
        let mut program = self.program.clone();
        if let Some(compare) = program.get_mut(self.own_process) {
            compare.k = std::process::id();
        }
        install(&mut program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_small_because_every_container_pays_for_it() {
        let length = Filter::compile().unwrap().program.len();
        assert!(length < 256, "{length} instructions");
    }

    #[test]
    fn the_process_id_is_compared_where_install_writes_it() {
        let filter = Filter::compile().unwrap();
        let compare = filter.program[filter.own_process];
        assert_eq!(u32::from(compare.code), libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
        let load = filter.program[filter.own_process - 1];
        assert_eq!((u32::from(load.code), load.k), (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 16));
    }

    /// What the kernel would make of a call, by its own rules (`seccomp_data`, classic BPF).
    fn verdict(filter: &Filter, architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let load = |offset: u32| match offset {
            0 => number,
            4 => architecture,
            offset => {
                let argument = arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
        };
        let (mut at, mut register) = (0, 0);
        loop {
            let instruction = filter.program[at];
            let (code, k) = (u32::from(instruction.code), instruction.k);
            let holds = match code & 0xf7 {
                libc::BPF_RET => return k,
                0x20 => {
                    register = load(k);
                    true
                }
                0x54 => {
                    register &= k;
                    true
                }
                0x15 => register == k,
                0x35 => register >= k,
                0x45 => register & k != 0,
                code => panic!("instruction {code:#x}"),
            };
            at += 1 + usize::from(if holds { instruction.jt } else { instruction.jf });
        }
    }

    #[cfg(target_arch = "x86_64")]
    const OWN: u32 = 0xC000_003E;
    #[cfg(target_arch = "aarch64")]
    const OWN: u32 = 0xC000_00B7;

    #[test]
    fn exactly_the_listed_calls_pass() {
        let filter = Filter::compile().unwrap();
        let mut program = Program::new();
        let narrowed = narrowed(&mut program, 0).map(|(call, _)| call as u32);
        // Numbers of the x32 ABI have bit 30 set.
        for number in (0..2000).chain((1 << 30)..(1 << 30) + 2000).chain([u32::MAX]) {
            if narrowed.contains(&number) {
                continue;
            }
            let expected = if ALLOWED.contains(&number.into()) {
                libc::SECCOMP_RET_ALLOW
            } else {
                libc::SECCOMP_RET_ERRNO | libc::EPERM as u32
            };
            assert_eq!(verdict(&filter, OWN, number, [0; 6]), expected, "{number}");
            assert_eq!(verdict(&filter, 0x4000_0003, number, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }

    #[test]
    fn the_upper_half_of_a_long_argument_counts() {
        let filter = Filter::compile().unwrap();
        let allowed = |call: libc::c_long, arguments| {
            verdict(&filter, OWN, call as u32, arguments) == libc::SECCOMP_RET_ALLOW
        };
        let high = 1 << 32;
        assert!(allowed(libc::SYS_clone, [THREAD as u64, 0, 0, 0, 0, 0]));
        assert!(!allowed(libc::SYS_clone, [THREAD as u64 | high, 0, 0, 0, 0, 0]));
        assert!(allowed(libc::SYS_prlimit64, [0, 7, 0, 0x1000, 0, 0]));
        assert!(!allowed(libc::SYS_prlimit64, [0, 7, high, 0x1000, 0, 0]));
        assert!(!allowed(libc::SYS_prlimit64, [0, 7, 0x1000, 0, 0, 0]));
        // And of an int it does not: the kernel would not look at it either.
        assert!(!allowed(libc::SYS_ioctl, [0, libc::TIOCSTI | high, 0, 0, 0, 0]));
        assert!(!allowed(libc::SYS_mmap, [0, 4096, 4 | high, 0, 0, 0]));
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut program = Program::new();
        let mut calls: Vec<_> = narrowed(&mut program, 0).map(|(call, _)| call).into();
        calls.extend(ALLOWED);
        let count = calls.len();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), count);
    }
}
