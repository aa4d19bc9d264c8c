//! Volumes: attached where they belong, and nowhere a hostile image would like them to be.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use jail::DeviceNodes;

use crate::harness::{Case, Scratch, in_own_process, list, mount_table, tests, word};

tests![
    a_volume_is_writable_or_not_as_asked,
    a_single_file_can_be_mounted,
    a_missing_target_is_made,
    an_image_cannot_point_a_target_outside_its_root,
    a_dangling_link_is_followed_inside_the_root,
    links_in_a_circle_are_refused,
    a_target_that_cannot_be_made_is_named,
    a_directory_does_not_go_on_a_file,
    an_option_no_bind_mount_has_is_named,
    tmpfs_takes_its_size_and_mode,
    file_systems_that_show_the_host_are_refused,
    devices_work_for_any_user,
    a_mount_below_a_shared_volume_does_not_reach_the_host,
    the_working_directory_is_made_for_its_user,
    a_working_directory_cannot_lead_outside,
];

fn a_volume_is_writable_or_not_as_asked() {
    let scratch = Scratch::new();
    let volume = scratch.dir("volume");
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
    let outcome = Case::in_dir(&scratch.dir("image"))
        .bind(&volume, "/rw", &["rbind", "rprivate", "rw"])
        .bind(&volume, "/ro", &["rbind", "rprivate", "ro"])
        .bind(&volume, "/rro", &["rbind", "rprivate", "rro"])
        .run(|| ["/rw/x", "/ro/y", "/rro/z"].map(|path| word(fs::write(path, "x"))).join(" "));
    assert_eq!(outcome.said(), "ok EROFS EROFS");
    assert!(volume.join("x").exists());
    assert_eq!(fs::metadata(volume.join("x")).unwrap().uid(), 1000);
}

fn a_single_file_can_be_mounted() {
    let scratch = Scratch::new();
    let file = scratch.file("resolv", "nameserver");
    scratch.dir("image/etc");
    let said = Case::in_dir(&scratch.0.join("image"))
        .root_user()
        .bind(&file, "/etc/resolv.conf", &["bind", "ro"])
        .run(|| {
            let read = fs::read_to_string("/etc/resolv.conf").unwrap();
            format!("{read} {}", word(fs::write("/etc/resolv.conf", "")))
        });
    assert_eq!(said.said(), "nameserver EROFS");
}

fn a_missing_target_is_made() {
    let scratch = Scratch::new();
    let image = scratch.dir("image");
    let file = scratch.file("file", "content");
    Case::in_dir(&image)
        .bind(&scratch.dir("volume"), "/a/b/../c", &[])
        .bind(&file, "/d/e/file", &[])
        .run(|| fs::read_to_string("/d/e/file").unwrap())
        .said();
    for (made, mode) in [("a/c", 0o40755), ("d/e", 0o40755), ("d/e/file", 0o100644)] {
        let stat = fs::metadata(image.join(made)).unwrap();
        assert_eq!((stat.mode(), stat.uid(), stat.gid()), (mode, 0, 0), "{made}");
    }
}

fn an_image_cannot_point_a_target_outside_its_root() {
    let scratch = Scratch::new();
    let image = scratch.dir("image");
    let outside = scratch.dir("outside");
    let inside = image.join(outside.strip_prefix("/").unwrap());
    fs::create_dir_all(&inside).unwrap();
    symlink(&outside, image.join("absolute")).unwrap();
    symlink("../".repeat(20) + outside.strip_prefix("/").unwrap().to_str().unwrap(), image.join("relative"))
        .unwrap();
    symlink("/proc/self/root", image.join("magic")).unwrap();
    symlink("relative", image.join("chain")).unwrap();
    let file = scratch.file("file", "x");
    let dots = format!("/{}{}/dots", "../".repeat(20), outside.display());
    let outcome = Case::in_dir(&image)
        .bind(&file, "/absolute/one", &[])
        .bind(&file, "/relative/two", &[])
        .bind(&file, "/chain/three", &[])
        .bind(&file, "/magic/four", &[])
        .bind(&file, &dots, &[])
        .run({
            let (inside, outside) = (inside.clone(), outside.clone());
            move || {
                assert_ne!(inside, outside);
                list(outside.to_str().unwrap())
            }
        });
    assert_eq!(outcome.said(), "dots one three two");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "the host's directory is untouched");
    assert!(image.join("proc/self/root/four").exists());
    assert_eq!(list(inside.to_str().unwrap()), "dots one three two");
}

fn a_dangling_link_is_followed_inside_the_root() {
    let scratch = Scratch::new();
    let image = scratch.dir("image");
    let target = scratch.0.join("not/yet");
    symlink(&target, image.join("etc")).unwrap();
    let file = scratch.file("file", "x");
    let outcome =
        Case::in_dir(&image).bind(&file, "/etc/hosts", &[]).run(|| fs::read_to_string("/etc/hosts").unwrap());
    assert_eq!(outcome.said(), "x");
    assert!(!target.exists(), "nothing is made on the host");
    assert!(image.join(target.strip_prefix("/").unwrap()).join("hosts").exists());
}

fn links_in_a_circle_are_refused() {
    let scratch = Scratch::new();
    let image = scratch.dir("image");
    symlink("b", image.join("a")).unwrap();
    symlink("a", image.join("b")).unwrap();
    let error = Case::in_dir(&image).bind(&scratch.dir("v"), "/a/x", &[]).run(String::new).error();
    assert!(error.contains("\"/a/x\"") && error.contains("levels of symbolic links"), "{error}");
}

fn a_target_that_cannot_be_made_is_named() {
    let scratch = Scratch::new();
    scratch.dir("image/usr");
    let options = jail::parse_options(&["ro".into()]).unwrap();
    let root = jail::bind(&scratch.0.join("image"), &options).unwrap().fd;
    let error = Case::with_root(root).bind(&scratch.dir("v"), "/usr/lib/data", &[]).run(String::new).error();
    for words in ["\"/usr/lib/data\"", "\"/usr/lib\"", "Read-only"] {
        assert!(error.contains(words), "{error}");
    }
}

fn a_directory_does_not_go_on_a_file() {
    let scratch = Scratch::new();
    scratch.file("image/file", "");
    let error =
        Case::in_dir(&scratch.0.join("image")).bind(&scratch.dir("v"), "/file", &[]).run(String::new).error();
    assert!(error.contains("\"/file\"") && error.contains("directory"), "{error}");
}

fn an_option_no_bind_mount_has_is_named() {
    let options = jail::parse_options(&["rbind".into(), "size=1k".into()]).unwrap();
    let error = jail::bind(Path::new("/tmp"), &options).unwrap_err().to_string();
    assert!(error.contains("\"size\"") && error.contains("/tmp"), "{error}");
}

fn tmpfs_takes_its_size_and_mode() {
    let scratch = Scratch::new();
    let words = ["nosuid", "size=64k", "mode=1777"].map(str::to_owned);
    let tmpfs = jail::filesystem("tmpfs", "tmpfs", &jail::parse_options(&words).unwrap()).unwrap();
    let outcome = Case::in_dir(&scratch.dir("image")).mount(tmpfs, "/tmp").run(|| {
        let mode = fs::metadata("/tmp").unwrap().mode() & 0o7777;
        let too_much = fs::write("/tmp/x", vec![0; 128 << 10]).is_err();
        format!("{mode:o} {too_much} {}", word(fs::write("/tmp/y", "")))
    });
    assert_eq!(outcome.said(), "1777 true ok");
    let wrong = jail::parse_options(&["colour=red".into()]).unwrap();
    let error = jail::filesystem("tmpfs", "tmpfs", &wrong).unwrap_err().to_string();
    assert!(error.contains("colour"), "{error}");
}

fn file_systems_that_show_the_host_are_refused() {
    for kind in ["proc", "sysfs", "mqueue", "cgroup2", "devtmpfs"] {
        let error = jail::filesystem(kind, kind, &jail::MountOptions::default()).unwrap_err();
        assert!(error.to_string().contains(kind), "{error}");
    }
}

fn devices_work_for_any_user() {
    let scratch = Scratch::new();
    let nodes = DeviceNodes::new().unwrap();
    let dev = |nodes: &DeviceNodes| jail::Detached { fd: nodes.detached().unwrap(), directory: true };
    let words = ["mode=1777".to_owned()];
    let shm = jail::filesystem("tmpfs", "shm", &jail::parse_options(&words).unwrap()).unwrap();
    let log = scratch.file("log", "");
    let outcome = Case::in_dir(&scratch.dir("image"))
        .mount(dev(&nodes), "/dev")
        .mount(shm, "/dev/shm")
        .bind(&log, "/dev/termination-log", &["rbind"])
        .run(|| {
            let null = word(fs::write("/dev/null", "x"));
            let shm = word(fs::write("/dev/shm/x", "x"));
            let node = word(fs::File::create("/dev/new"));
            format!("{null} {shm} {node} {}", list("/dev"))
        });
    assert_eq!(outcome.said(), "ok ok EROFS full mqueue null pts random shm termination-log urandom zero");
    // What one container mounted there is not seen by the next.
    let outcome = Case::in_dir(&scratch.dir("image")).mount(dev(&nodes), "/dev").run(|| list("/dev/shm"));
    assert_eq!(outcome.said(), "");
}

fn a_mount_below_a_shared_volume_does_not_reach_the_host() {
    in_own_process(|| {
        let scratch = Scratch::new();
        let volume = scratch.dir("volume");
        fs::create_dir(volume.join("sub")).unwrap();
        share(&volume);
        let before = mount_table();
        Case::in_dir(&scratch.dir("image"))
            .bind(&volume, "/volume", &["rbind", "rshared"])
            .bind(&scratch.dir("other"), "/volume/sub", &["rbind"])
            .run_watched(String::new, |_| assert_eq!(before, mount_table()))
            .said();
        rustix::mount::unmount(&volume, rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

/// Makes `dir` a shared mount, in a mount namespace of this process's own.
fn share(dir: &Path) {
    let path = std::ffi::CString::new(dir.to_str().unwrap()).unwrap();
    // SAFETY: NUL-terminated paths that outlive the calls.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
        let null = std::ptr::null();
        let private = libc::MS_PRIVATE | libc::MS_REC;
        assert_eq!(libc::mount(null, c"/".as_ptr(), null, private, null.cast()), 0);
        assert_eq!(libc::mount(path.as_ptr(), path.as_ptr(), null, libc::MS_BIND, null.cast()), 0);
        assert_eq!(libc::mount(null, path.as_ptr(), null, libc::MS_SHARED, null.cast()), 0);
    }
}

fn the_working_directory_is_made_for_its_user() {
    let scratch = Scratch::new();
    let image = scratch.dir("image");
    let mut case = Case::in_dir(&image);
    case.confinement.cwd = "/home/work";
    case.confinement.root_readonly = true;
    let outcome = case.run(|| word(fs::metadata("../work")));
    assert_eq!(outcome.said(), "ok");
    let stat = fs::metadata(image.join("home/work")).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (1000, 1001));
    assert_eq!(fs::metadata(image.join("home")).unwrap().uid(), 0);
}

fn a_working_directory_cannot_lead_outside() {
    let scratch = Scratch::new();
    let image = scratch.dir("image");
    symlink("/proc/self/fd/9", image.join("work")).unwrap();
    let mut case = Case::in_dir(&image).root_user();
    case.confinement.cwd = "/work/../../../..";
    assert_eq!(case.run(|| list(".")).said(), "proc work");
}
