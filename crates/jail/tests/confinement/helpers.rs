//! A secluded helper, such as the compiler.

use std::fs;

use crate::harness::{exit, pair, receive, tests, wait, word};

tests![
    a_secluded_helper_is_nobody_and_has_nothing,
    a_secluded_helper_computes_and_writes_and_does_nothing_else,
];

fn call(number: i64, args: &[i64]) -> String {
    let arg = |i: usize| args.get(i).copied().unwrap_or(0);
    // SAFETY: in a process of its own, which ends with the test.
    let result = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    word(if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) })
}

fn map(protection: i32) -> String {
    let flags = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    call(libc::SYS_mmap, &[0, 4096, protection.into(), flags, -1, 0])
}

fn a_secluded_helper_is_nobody_and_has_nothing() {
    let (ours, theirs) = pair();
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: descriptor 1 is written to by this test alone.
        unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&theirs), 1) };
        jail::seclude(&[(libc::RLIMIT_CORE, 0, 0)]).unwrap();
        // SAFETY: descriptor 1 is the socket.
        unsafe { libc::write(1, b"ready".as_ptr().cast(), 5) };
        loop {
            std::hint::spin_loop();
        }
    }
    drop(theirs);
    assert_eq!(receive(&ours).as_deref(), Some("ready"));
    let read = |file: &str| fs::read_to_string(format!("/proc/{child}/{file}")).unwrap();
    let link = |file: &str| fs::read_link(format!("/proc/{child}/{file}")).unwrap();
    let (status, limits) = (read("status"), read("limits"));
    let descriptors = fs::read_dir(format!("/proc/{child}/fd")).unwrap().count();
    let mounts = read("mountinfo");
    let shared: Vec<_> = ["net", "mnt", "ipc", "uts"]
        .into_iter()
        .filter(|kind| link(&format!("ns/{kind}")) == fs::read_link(format!("/proc/self/ns/{kind}")).unwrap())
        .collect();
    // SAFETY: a child that was not waited for.
    unsafe { libc::kill(child, libc::SIGKILL) };
    wait(child);
    for expected in ["Uid:\t65534\t65534", "Gid:\t65534\t65534", "CapEff:\t0000000000000000"] {
        assert!(status.contains(expected), "{expected} is not in {status}");
    }
    for expected in ["CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Groups:\t \n"] {
        assert!(status.contains(expected), "{expected} is not in {status}");
    }
    assert!(shared.is_empty(), "{shared:?}");
    assert_eq!(descriptors, 3, "standard input, output and error");
    assert_eq!(mounts.lines().count(), 1, "an empty directory: {mounts}");
    assert!(limits.lines().any(|l| l.starts_with("Max core file size") && l.contains(" 0 ")), "{limits}");
}

fn a_secluded_helper_computes_and_writes_and_does_nothing_else() {
    let (ours, theirs) = pair();
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: descriptor 1 is written to by this test alone.
        unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&theirs), 1) };
        jail::seclude(&[]).unwrap();
        let thread = std::thread::spawn(|| vec![1_u8; 1 << 20].len()).join().unwrap();
        assert_eq!(thread, 1 << 20, "memory and threads are there");
        let path = c"/".as_ptr() as i64;
        // SAFETY: the thread above has ended.
        let fork = unsafe { libc::fork() };
        if fork == 0 {
            // SAFETY: plain numbers.
            let bound = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let opened = call(libc::SYS_openat, &[libc::AT_FDCWD.into(), path, 0]);
            exit(if bound == 0 && opened == "EPERM" { 7 } else { 8 });
        }
        assert_eq!(libc::WEXITSTATUS(wait(fork)), 7, "a fork is bound to its parent and as confined");
        let refused = [
            call(libc::SYS_openat, &[libc::AT_FDCWD.into(), path, 0]),
            call(libc::SYS_socket, &[libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0]),
            call(libc::SYS_socket, &[libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0]),
            call(libc::SYS_execve, &[path, 0, 0]),
            call(libc::SYS_memfd_create, &[path, 0]),
            call(libc::SYS_kill, &[1, 0]),
            call(libc::SYS_ptrace, &[]),
            call(libc::SYS_seccomp, &[]),
            call(libc::SYS_ioctl, &[0, libc::TIOCSTI as i64, path]),
            map(libc::PROT_READ | libc::PROT_EXEC),
        ];
        let text = format!("{refused:?} {}", map(libc::PROT_READ | libc::PROT_WRITE));
        // SAFETY: descriptor 1 is the socket.
        unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
        exit(0);
    }
    drop(theirs);
    let said = receive(&ours).unwrap();
    wait(child);
    assert_eq!(said, format!("{:?} ok", ["EPERM"; 10]));
}
