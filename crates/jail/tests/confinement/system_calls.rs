//! The filter: what is refused, and that what WAMR needs still works.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::harness::{Case, Scratch, list, tests, word};

tests![
    forbidden_calls_are_not_permitted,
    forbidden_arguments_are_not_permitted,
    clone3_is_unknown_so_that_threads_use_clone,
    threads_start_and_end,
    signals_reach_the_own_threads_only,
    files_and_directories_work,
    time_and_memory_work,
    sockets_take_the_options_wasi_has,
    sockets_can_be_forbidden_and_what_was_given_still_serves,
];

fn call(number: i64, args: &[i64]) -> String {
    let arg = |i: usize| args.get(i).copied().unwrap_or(0);
    // SAFETY: the filter refuses the call before the kernel looks at an argument; would it not, the test has
    // found what it looks for, in a process of its own.
    let result = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    word(if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) })
}

/// Tries calls in a confined root, who would be let through by nothing but the filter.
fn try_all(calls: &[(&str, i64, &[i64])]) -> String {
    let scratch = Scratch::new();
    Case::in_dir(&scratch.dir("image"))
        .root_user()
        .run(|| {
            let allowed = calls.iter().map(|(name, number, args)| (name, call(*number, args)));
            allowed.filter(|(_, w)| w != "EPERM").map(|(name, w)| format!("{name}: {w}\n")).collect()
        })
        .said()
}

fn forbidden_calls_are_not_permitted() {
    let calls = [
        ("execve", libc::SYS_execve),
        ("execveat", libc::SYS_execveat),
        ("ptrace", libc::SYS_ptrace),
        ("mount", libc::SYS_mount),
        ("umount2", libc::SYS_umount2),
        ("fsopen", libc::SYS_fsopen),
        ("open_tree", libc::SYS_open_tree),
        ("move_mount", libc::SYS_move_mount),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("pivot_root", libc::SYS_pivot_root),
        ("chroot", libc::SYS_chroot),
        ("setns", libc::SYS_setns),
        ("unshare", libc::SYS_unshare),
        ("bpf", libc::SYS_bpf),
        ("keyctl", libc::SYS_keyctl),
        ("add_key", libc::SYS_add_key),
        ("request_key", libc::SYS_request_key),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("io_uring_enter", libc::SYS_io_uring_enter),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("process_vm_writev", libc::SYS_process_vm_writev),
        ("process_madvise", libc::SYS_process_madvise),
        ("pidfd_open", libc::SYS_pidfd_open),
        ("pidfd_getfd", libc::SYS_pidfd_getfd),
        ("personality", libc::SYS_personality),
        ("kill", libc::SYS_kill),
        ("tkill", libc::SYS_tkill),
        ("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo),
        ("setuid", libc::SYS_setuid),
        ("setresuid", libc::SYS_setresuid),
        ("setgroups", libc::SYS_setgroups),
        ("capset", libc::SYS_capset),
        ("seccomp", libc::SYS_seccomp),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("fchmodat", libc::SYS_fchmodat),
        ("fchownat", libc::SYS_fchownat),
        ("mknodat", libc::SYS_mknodat),
        ("setxattr", libc::SYS_setxattr),
        ("memfd_create", libc::SYS_memfd_create),
        ("pkey_mprotect", libc::SYS_pkey_mprotect),
        ("shmget", libc::SYS_shmget),
        ("mq_open", libc::SYS_mq_open),
        ("socketpair", libc::SYS_socketpair),
        ("inotify_init1", libc::SYS_inotify_init1),
        ("fanotify_init", libc::SYS_fanotify_init),
        ("timer_create", libc::SYS_timer_create),
        ("sethostname", libc::SYS_sethostname),
        ("setrlimit", libc::SYS_setrlimit),
        ("init_module", libc::SYS_init_module),
        ("kexec_load", libc::SYS_kexec_load),
        ("syslog", libc::SYS_syslog),
        ("membarrier", libc::SYS_membarrier),
        ("no such call", 9999),
    ];
    assert_eq!(try_all(&calls.map(|(name, number)| (name, number, &[] as &[i64]))), "");
}

fn forbidden_arguments_are_not_permitted() {
    let (read, write, exec) =
        (i64::from(libc::PROT_READ), i64::from(libc::PROT_WRITE), i64::from(libc::PROT_EXEC));
    let anonymous = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let thread = i64::from(
        libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD,
    );
    let limit = [1_u64, 1];
    let socket =
        |family: i32, kind: i32, protocol: i32| [i64::from(family), i64::from(kind), i64::from(protocol)];
    let calls: &[(&str, i64, &[i64])] = &[
        ("mmap rwx", libc::SYS_mmap, &[0, 4096, read | write | exec, anonymous, -1, 0]),
        ("mmap x", libc::SYS_mmap, &[0, 4096, exec, anonymous, -1, 0]),
        ("mprotect x", libc::SYS_mprotect, &[0x10000, 4096, read | exec]),
        ("fork", libc::SYS_clone, &[libc::SIGCHLD.into()]),
        ("clone newuser", libc::SYS_clone, &[i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD)]),
        ("clone thread and newuser", libc::SYS_clone, &[thread | i64::from(libc::CLONE_NEWUSER)]),
        ("clone vm only", libc::SYS_clone, &[i64::from(libc::CLONE_VM)]),
        ("set a limit", libc::SYS_prlimit64, &[0, 7, limit.as_ptr() as i64, 0]),
        ("another's limit", libc::SYS_prlimit64, &[1, 7, 0, 0]),
        ("prctl pdeathsig", libc::SYS_prctl, &[libc::PR_SET_PDEATHSIG.into(), 0]),
        ("prctl dumpable", libc::SYS_prctl, &[libc::PR_SET_DUMPABLE.into(), 1]),
        ("prctl seccomp", libc::SYS_prctl, &[libc::PR_SET_SECCOMP.into(), 2]),
        ("ioctl tiocsti", libc::SYS_ioctl, &[0, libc::TIOCSTI as i64]),
        ("ioctl tiocsctty", libc::SYS_ioctl, &[0, libc::TIOCSCTTY as i64]),
        ("fcntl setown", libc::SYS_fcntl, &[0, libc::F_SETOWN.into(), 1]),
        ("fcntl setlease", libc::SYS_fcntl, &[0, libc::F_SETLEASE.into(), 0]),
        ("unix", libc::SYS_socket, &socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)),
        ("netlink", libc::SYS_socket, &socket(libc::AF_NETLINK, libc::SOCK_DGRAM, 0)),
        ("packet", libc::SYS_socket, &socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0)),
        ("alg", libc::SYS_socket, &socket(libc::AF_ALG, libc::SOCK_STREAM, 0)),
        ("vsock", libc::SYS_socket, &socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
        ("raw", libc::SYS_socket, &socket(libc::AF_INET, libc::SOCK_RAW, 1)),
        ("ping", libc::SYS_socket, &socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)),
        ("sctp", libc::SYS_socket, &socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)),
        ("mptcp", libc::SYS_socket, &socket(libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)),
        ("attach filter", libc::SYS_setsockopt, &[0, libc::SOL_SOCKET.into(), libc::SO_ATTACH_FILTER.into()]),
        ("tcp ulp", libc::SYS_setsockopt, &[0, libc::IPPROTO_TCP.into(), libc::TCP_ULP.into()]),
        ("peer cred", libc::SYS_getsockopt, &[0, libc::SOL_SOCKET.into(), libc::SO_PEERCRED.into()]),
        ("thread of another", libc::SYS_tgkill, &[2, 2, 0]),
    ];
    assert_eq!(try_all(calls), "");
}

fn clone3_is_unknown_so_that_threads_use_clone() {
    assert_eq!(try_all(&[("clone3", libc::SYS_clone3, &[])]), "clone3: ENOSYS\n");
}

fn threads_start_and_end() {
    let scratch = Scratch::new();
    let said = Case::in_dir(&scratch.dir("image")).run(|| {
        let threads: Vec<_> = (0..4)
            .map(|i| std::thread::Builder::new().name(format!("t{i}")).spawn(move || i * 10).unwrap())
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<i32>().to_string()
    });
    assert_eq!(said.said(), "60");
}

fn signals_reach_the_own_threads_only() {
    let scratch = Scratch::new();
    for fresh in [true, false] {
        let mut case = Case::in_dir(&scratch.dir("image")).root_user();
        case.confinement.fresh.pid = fresh;
        let parent = i64::from(std::process::id());
        let said = case.run(move || {
            // SAFETY: takes nothing, returns a number.
            let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
            let own = call(libc::SYS_tgkill, &[process.into(), thread.into(), 0]);
            // Signal 0 only asks whether it could be sent.
            format!("{own} {}", call(libc::SYS_tgkill, &[parent, parent, 0]))
        });
        assert_eq!(said.said(), "ok EPERM");
    }
}

fn files_and_directories_work() {
    let scratch = Scratch::new();
    let said = Case::in_dir(&scratch.dir("image")).root_user().run(|| {
        let mut file = fs::File::options().read(true).write(true).create_new(true).open("/f").unwrap();
        file.write_all(b"hello world").unwrap();
        file.sync_all().unwrap();
        file.sync_data().unwrap();
        file.set_len(5).unwrap();
        file.seek(SeekFrom::Start(1)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        // SAFETY: an open descriptor and numbers.
        let (space, advice) = unsafe {
            let fd = file.as_raw_fd();
            (libc::posix_fallocate(fd, 0, 4096), libc::posix_fadvise(fd, 0, 0, libc::POSIX_FADV_NORMAL))
        };
        // By the calls that take a directory, as WAMR does: on x86-64 `std` uses older ones, which are refused.
        let here = i64::from(libc::AT_FDCWD);
        let path = |path: &'static std::ffi::CStr| path.as_ptr() as i64;
        for (number, args) in [
            (libc::SYS_mkdirat, [here, path(c"/d"), 0o755, 0, 0]),
            (libc::SYS_renameat, [here, path(c"/f"), here, path(c"/d/g"), 0]),
            (libc::SYS_symlinkat, [path(c"g"), here, path(c"/d/link"), 0, 0]),
            (libc::SYS_linkat, [here, path(c"/d/g"), here, path(c"/d/hard"), 0]),
        ] {
            assert_eq!(call(number, &args), "ok", "{number}");
        }
        let names = list("/d");
        let mut link = [0_u8; 8];
        let args = [here, path(c"/d/link"), link.as_mut_ptr() as i64, 8];
        assert_eq!(call(libc::SYS_readlinkat, &args), "ok");
        assert_eq!(call(libc::SYS_unlinkat, &[here, path(c"/d/link"), 0]), "ok");
        assert_eq!(fs::metadata("/d/hard").unwrap().len(), 4096);
        format!("{text} {space} {advice} {} {names}", char::from(link[0]))
    });
    assert_eq!(said.said(), "ello 0 0 g g hard link");
}

fn time_and_memory_work() {
    let scratch = Scratch::new();
    let said = Case::in_dir(&scratch.dir("image")).run(|| {
        let start = std::time::Instant::now();
        std::thread::sleep(Duration::from_millis(3));
        let slept = start.elapsed() >= Duration::from_millis(3);
        let mut block = vec![1_u8; 8 << 20];
        block.resize(32 << 20, 2);
        let sum: usize = block.iter().step_by(4096).map(|b| usize::from(*b)).sum();
        let mut random = [0_u8; 16];
        // SAFETY: a live buffer and its length.
        let got = unsafe { libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0) };
        let mut waits = [libc::pollfd { fd: -1, events: 0, revents: 0 }];
        // SAFETY: a live array of one.
        let polled = unsafe { libc::poll(waits.as_mut_ptr(), 1, 1) };
        std::thread::yield_now();
        let cores = std::thread::available_parallelism().is_ok();
        format!("{slept} {sum} {got} {polled} {cores}")
    });
    assert_eq!(said.said(), format!("true {} 16 0 true", 2048 + 6144 * 2));
}

fn sockets_take_the_options_wasi_has() {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.fresh.network = true;
    let said = case.run(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        stream.set_ttl(9).unwrap();
        assert!(stream.take_error().unwrap().is_none());
        let one = std::net::UdpSocket::bind("[::1]:0").unwrap();
        one.send_to(b"datagram", one.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 16];
        let (length, _) = one.recv_from(&mut buffer).unwrap();
        format!("{} {length}", stream.nodelay().unwrap())
    });
    assert_eq!(said.said(), "true 8");
}

fn sockets_can_be_forbidden_and_what_was_given_still_serves() {
    use std::net::{TcpStream, UdpSocket};
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image")).root_user();
    case.no_sockets = true;
    case.confinement.fresh.network = true;
    case.confinement.listen =
        vec![jail::Listen { protocol: jail::Protocol::Tcp, address: "127.0.0.1:80".parse().unwrap() }];
    let said = case.run(|| {
        let accept = |fd| {
            // SAFETY: numbers; none of them is a descriptor that somebody owns.
            let accepted = unsafe {
                libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
                libc::accept(fd, std::ptr::null_mut(), std::ptr::null_mut())
            };
            (accepted < 0).then(std::io::Error::last_os_error)
        };
        // Its own listener is one of the few descriptors there are; nobody is waiting at it.
        let listens = (3..8).filter_map(accept).any(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        let words = [
            word(TcpStream::connect("127.0.0.1:80")),
            word(UdpSocket::bind("127.0.0.1:0")),
            call(libc::SYS_connect, &[3, 0, 0]),
            call(libc::SYS_bind, &[3, 0, 0]),
            call(libc::SYS_listen, &[3, 1]),
            call(libc::SYS_ptrace, &[]),
        ];
        format!("{} {listens}", words.join(" "))
    });
    assert_eq!(said.said(), "EPERM EPERM EPERM EPERM EPERM EPERM true");
}
