//! Credentials, capabilities, limits, labels.

use std::fs;

use crate::harness::{Case, Scratch, in_own_process, pair, receive, send, tests, wait};

tests![
    a_user_has_no_capability_left,
    root_has_no_capability_left_either,
    the_umask_is_the_specs,
    resource_limits_are_set,
    a_limit_above_the_servers_is_cut_and_reported,
    oom_score_adj_is_set,
    oom_score_adj_below_the_servers_is_reported,
    a_label_the_host_cannot_give_is_an_error,
    unconfined_needs_no_apparmor,
    the_process_ends_with_its_server,
    the_process_leads_a_session_with_a_terminal,
];

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

fn check_powerless(status: &str) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(status, "NoNewPrivs"), "1");
    assert_eq!(field(status, "Seccomp"), "2");
    assert_eq!(field(status, "Threads"), "1");
}

fn status_of(case: Case<'_>) -> String {
    let mut status = String::new();
    case.run_watched(String::new, |pid| {
        status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    })
    .said();
    status
}

fn a_user_has_no_capability_left() {
    let scratch = Scratch::new();
    let status = status_of(Case::in_dir(&scratch.dir("image")));
    check_powerless(&status);
    assert_eq!(field(&status, "Uid"), "1000 1000 1000 1000");
    assert_eq!(field(&status, "Gid"), "1001 1001 1001 1001");
    assert_eq!(field(&status, "Groups"), "1002 1003");
}

fn root_has_no_capability_left_either() {
    let scratch = Scratch::new();
    let status = status_of(Case::in_dir(&scratch.dir("image")).root_user());
    check_powerless(&status);
    assert_eq!(field(&status, "Uid"), "0 0 0 0");
    assert_eq!(field(&status, "Groups"), "");
}

fn the_umask_is_the_specs() {
    let scratch = Scratch::new();
    for (umask, shown) in [(None, "0022"), (Some(0o077), "0077"), (Some(0), "0000")] {
        let mut case = Case::in_dir(&scratch.dir("image"));
        case.confinement.user.umask = umask;
        assert_eq!(field(&status_of(case), "Umask"), shown);
    }
}

fn resource_limits_are_set() {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.rlimits = vec![(libc::RLIMIT_NOFILE, 100, 200), (libc::RLIMIT_CORE, 0, 0)];
    let outcome = case.run(|| {
        [libc::RLIMIT_NOFILE, libc::RLIMIT_CORE]
            .map(|resource| {
                let mut limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
                // SAFETY: writes a live limit.
                unsafe { libc::getrlimit(resource, &raw mut limit) };
                format!("{}/{}", limit.rlim_cur, limit.rlim_max)
            })
            .join(" ")
    });
    assert_eq!(outcome.said(), "100/200 0/0");
}

/// Whether this process may raise limits and lower `oom_score_adj`.
fn has_sys_resource() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    u64::from_str_radix(&field(&status, "CapEff"), 16).unwrap() & (1 << 24) != 0
}

fn a_limit_above_the_servers_is_cut_and_reported() {
    in_own_process(|| {
        let limit = libc::rlimit { rlim_cur: 500, rlim_max: 500 };
        // SAFETY: reads a live limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        let scratch = Scratch::new();
        let mut case = Case::in_dir(&scratch.dir("image"));
        case.confinement.rlimits = vec![(libc::RLIMIT_NOFILE, 400, 900)];
        let mut limits = String::new();
        let outcome = case.run_watched(String::new, |pid| {
            limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        });
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let values: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
        let warnings = outcome.entered.unwrap();
        if has_sys_resource() {
            assert_eq!((values, warnings.len()), (vec!["400", "900"], 0));
        } else {
            assert_eq!((values, warnings.len()), (vec!["400", "500"], 1), "{warnings:?}");
        }
    });
}

fn oom_score_adj(value: i32) -> (String, Vec<String>) {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.oom_score_adj = Some(value);
    let mut seen = String::new();
    let outcome = case.run_watched(String::new, |pid| {
        seen = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    });
    (seen.trim().to_owned(), outcome.entered.unwrap())
}

fn oom_score_adj_is_set() {
    assert_eq!(oom_score_adj(987), ("987".into(), vec![]));
}

fn oom_score_adj_below_the_servers_is_reported() {
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().to_owned();
    let (seen, warnings) = oom_score_adj(-999);
    if has_sys_resource() {
        assert_eq!((seen.as_str(), warnings.len()), ("-999", 0));
    } else {
        assert_eq!((seen, warnings.len()), (own, 1), "{warnings:?}");
    }
}

fn a_label_the_host_cannot_give_is_an_error() {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.apparmor = Some("no-such-profile");
    let error = case.run(String::new).error();
    assert!(error.starts_with("AppArmor label \"no-such-profile\""), "{error}");
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.selinux = Some("no:such:label");
    let error = case.run(String::new).error();
    assert!(error.starts_with("SELinux label \"no:such:label\""), "{error}");
}

fn unconfined_needs_no_apparmor() {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.apparmor = Some("unconfined");
    case.confinement.selinux = Some("");
    case.run(String::new).said();
}

fn the_process_ends_with_its_server() {
    in_own_process(|| {
        // SAFETY: only numbers; makes orphans children of this process.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
        let (ours, theirs) = pair();
        // SAFETY: this process has one thread.
        let server = unsafe { libc::fork() };
        if server == 0 {
            let scratch = Scratch::new();
            let mut case = Case::in_dir(&scratch.dir("image"));
            case.lingers = true;
            case.run_watched(String::new, |pid| {
                drop(fs::remove_dir_all(&scratch.0));
                send(&theirs, &pid.to_string());
                crate::harness::exit(0);
            });
        }
        drop(theirs);
        let pid: i32 = receive(&ours).unwrap().parse().unwrap();
        assert_eq!(wait(server), 0);
        assert!(libc::WIFSIGNALED(wait(pid)));
    });
}

fn the_process_leads_a_session_with_a_terminal() {
    in_own_process(|| {
        let (mut controller, mut terminal) = (0, 0);
        let null = std::ptr::null_mut::<u8>();
        // SAFETY: writes two descriptors; no name, attributes or size are asked for.
        let opened = unsafe {
            libc::openpty(&raw mut controller, &raw mut terminal, null.cast(), null.cast(), null.cast())
        };
        assert_eq!(opened, 0);
        let scratch = Scratch::new();
        let mut case = Case::in_dir(&scratch.dir("image"));
        case.confinement.terminal = true;
        // SAFETY: two open descriptors.
        case.before = Box::new(move || assert_eq!(unsafe { libc::dup2(terminal, 0) }, 0));
        let mut stat = String::new();
        case.run_watched(String::new, |pid| {
            stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            // proc_pid_stat(5): session is field 6, tty_nr field 7; these start at field 3.
            assert_eq!(fields[3], pid.to_string());
            assert_ne!(fields[4], "0");
        })
        .said();
    });
}
