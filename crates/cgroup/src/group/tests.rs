use super::*;
use crate::testbed::{Bed, Child, Tree, sleep};

#[test]
fn a_sleeper_is_in_its_pods_cgroup_where_one_of_its_own_is_dear() {
    let bed = Bed::new();
    let pod = bed.create("pod", &Limits::default());
    let path = bed.path("pod/holder");
    let limits = Limits { cpu: Cpu { shares: Some(2), ..Cpu::default() }, ..Limits::default() };
    let sleeper = Cgroup::plan_sleeper(&bed.host, &path).unwrap().make(&limits).unwrap();
    let child = Child::enter(&sleeper, sleep);
    assert_eq!(sleeper.pids().unwrap(), [child.pid]);
    let members = |cgroup: &Cgroup, controller| {
        let procs = cgroup.file(controller, "cgroup.procs").map(|path| file::read(&path).unwrap());
        procs.unwrap_or_default()
    };
    let own = format!("{}\n", child.pid);
    if bed.host.version() == Version::V1 {
        assert_eq!(members(&pod, Controller::Memory), own);
        assert_eq!(sleeper.directory(Controller::Memory), None);
    } else {
        assert_eq!(members(&sleeper, Controller::Memory), own);
    }
    assert_eq!(members(&sleeper, Controller::Freezer), own);
    sleeper.freeze().unwrap();
    sleeper.thaw().unwrap();
    sleeper.kill().unwrap();
    drop(child);
    sleeper.remove().unwrap();
    assert!(pod.directories().all(FilePath::is_dir));
    pod.remove().unwrap();
}

#[test]
fn a_process_that_enters_is_in_every_joined_hierarchy_and_nothing_is_left_after_removal() {
    let bed = Bed::new();
    let cgroup = bed.create("c", &Limits::default());
    assert_eq!(cgroup.directories().count(), bed.host.joined().len());
    let child = Child::enter(&cgroup, sleep);
    for directory in cgroup.directories() {
        assert_eq!(
            crate::processes::first_below(directory).unwrap(),
            Some(child.pid),
            "{}",
            directory.display()
        );
    }
    assert_eq!(cgroup.pids().unwrap(), [child.pid]);
    assert!(!cgroup.is_empty().unwrap());
    drop(child);
    assert!(cgroup.is_empty().unwrap());
    cgroup.remove().unwrap();
    assert!(cgroup.directories().all(|directory| !directory.exists()));
    // Directories above are left, as they may be another container's.
    assert_eq!(bed.directories().len(), bed.host.joined().len());
    assert_eq!(cgroup.pids().unwrap(), []);
    cgroup.remove().unwrap();
}

#[test]
fn a_failed_creation_leaves_no_directory_not_even_above() {
    let bed = Bed::new();
    let limits = Limits { cpu: Cpu { cpus: Some("100000".into()), ..Cpu::default() }, ..Limits::default() };
    let error = Cgroup::create(&bed.host, &bed.path("deep/below/c"), &limits).unwrap_err();
    assert!(error.to_string().starts_with("cannot set cpu.cpus to 100000 in /"), "{error}");
    assert_eq!(bed.directories(), Vec::<PathBuf>::new());
}

#[test]
fn a_cgroup_with_processes_is_not_taken_over_but_an_empty_one_is() {
    let bed = Bed::new();
    let first = bed.create("c/inner", &Limits::default());
    let child = Child::enter(&first, sleep);
    for path in ["c", "c/inner"] {
        match Cgroup::create(&bed.host, &bed.path(path), &Limits::default()).unwrap_err() {
            Error::AlreadyInUse { pid, .. } => assert_eq!(pid, child.pid),
            other => panic!("{other}"),
        }
    }
    assert_eq!(first.pids().unwrap(), [child.pid]);
    drop(child);
    let second = bed.create("c/inner", &Limits::default());
    assert!(second.directories().eq(first.directories()));
    second.remove().unwrap();
}

#[test]
fn saved_directories_are_enough_to_clean_up_and_others_are_left_alone() {
    let bed = Bed::new();
    let cgroup = bed.create("c", &Limits::default());
    let child = Child::enter(&cgroup, sleep);
    let saved: Vec<PathBuf> = cgroup.directories().map(FilePath::to_owned).collect();
    drop(cgroup);
    let outside = Tree::new(&[("cgroup.procs", "1\n")]);
    let roots = bed.host.joined().iter().map(|h| h.root.clone());
    let climbing = saved.iter().map(|path| path.join("../..")).collect::<Vec<_>>();
    let damaged: Vec<PathBuf> = roots.chain(climbing).chain([outside.path()]).collect();
    assert_eq!(Cgroup::from_directories(&bed.host, damaged).directories().count(), 0);
    let cgroup = Cgroup::from_directories(&bed.host, saved.iter().rev().cloned());
    assert!(cgroup.directories().eq(saved.iter()));
    cgroup.kill().unwrap();
    drop(child);
    cgroup.remove().unwrap();
    assert!(saved.iter().all(|path| !path.exists()));
}

#[test]
fn open_finds_what_exists_and_names_what_does_not() {
    let bed = Bed::new();
    let error = Cgroup::open(&bed.host, &bed.path("c")).unwrap_err();
    assert!(matches!(error, Error::Missing(_)), "{error}");
    let made = bed.create("c", &Limits::default());
    assert!(Cgroup::open(&bed.host, &bed.path("c")).unwrap().directories().eq(made.directories()));
    made.remove().unwrap();
}

#[test]
fn a_systemd_path_is_made_as_directories_where_systemd_does_not_run_the_host() {
    let bed = Bed::new();
    if bed.host.has_systemd() {
        return;
    }
    let unit = format!("wamr{}.slice:test:c", std::process::id());
    let path = Path::parse(&unit).unwrap();
    let cgroup = Cgroup::create(&bed.host, &path, &Limits::default()).unwrap();
    cgroup.remove().unwrap();
    for directory in cgroup.directories() {
        rustix::fs::rmdir(directory.parent().unwrap()).unwrap();
    }
}

#[test]
fn creation_in_parallel_under_one_new_parent_works() {
    let bed = Bed::new();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let bed = &bed;
            scope.spawn(move || {
                let limits = Limits {
                    memory: Memory { limit: Some(64 << 20), ..Memory::default() },
                    ..Limits::default()
                };
                for _ in 0..10 {
                    bed.create(&format!("a/b/{i}"), &limits).remove().unwrap();
                }
            });
        }
    });
}

#[test]
fn a_lean_one_gets_its_cpuset_with_the_first_limit_of_it() {
    let bed = Bed::new();
    let placed = Limits { cpu: Cpu { cpus: Some("0".into()), ..Cpu::default() }, ..Limits::default() };
    let plan = |name: &str| Cgroup::plan_lean(&bed.host, &bed.path(name)).unwrap();
    let at_once = plan("pod/at-once").make(&placed).unwrap();
    let lean = plan("pod/lean").make(&Limits::default()).unwrap();
    let cpuset = |cgroup: &Cgroup| cgroup.directory(Controller::Cpuset).unwrap().to_owned();
    let is_in = |directory: &FilePath, pid| crate::processes::first_below(directory).unwrap() == Some(pid);
    assert!(cpuset(&at_once).is_dir());
    let is_v1 = bed.host.version() == Version::V1;
    assert_eq!(cpuset(&lean).is_dir(), !is_v1);
    let first = Child::enter(&lean, sleep);
    assert!(is_in(cpuset(&lean).parent().unwrap(), first.pid));
    for pids in [9, 10] {
        lean.apply(&Limits { pids: Some(pids), ..Limits::default() }).unwrap();
        assert_eq!(cpuset(&lean).is_dir(), !is_v1, "for another limit");
    }

    lean.apply(&placed).unwrap();
    assert!(is_in(&cpuset(&lean), first.pid));
    assert_eq!(file::read(&cpuset(&lean).join("cpuset.cpus")).unwrap().trim(), "0");
    drop(first);
    let second = Child::enter(&lean, sleep);
    assert!(is_in(&cpuset(&lean), second.pid), "who comes later");
    lean.apply(&placed).unwrap();
    drop(second);
    let saved = lean.directories().map(FilePath::to_owned);
    Cgroup::from_directories(&bed.host, saved).remove().unwrap();
    at_once.remove().unwrap();
    assert!(![&lean, &at_once].iter().any(|cgroup| cpuset(cgroup).exists()));

    // Of one that never was limited there is nothing to remove.
    let unlimited = plan("pod/unlimited").make(&Limits::default()).unwrap();
    unlimited.remove().unwrap();
}
