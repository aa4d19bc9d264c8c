//! Promise: a full disk under a bundle or under the shims' run directory is told by name, and leaves nothing.
//!
//! The disks are small tmpfs of the test's own, filled until the kernel says ENOSPC.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::direct::{Prepared, keep, nothing_leaked, only_the_keeper};
use e2e::{Bed, Traces, eventually, run, shim_binary};
use ttrpc::Code;

/// A tmpfs of 64 KiB, taken off when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn over(directory: &Path) -> SmallDisk {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "bed"]).arg(directory);
        run(&mut mount, b"").succeeded();
        SmallDisk(directory.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Writes until there is no room.
fn fill(directory: &Path) -> PathBuf {
    let filler = directory.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    for size in [4096, 1] {
        while std::io::Write::write_all(&mut file, &vec![0; size]).is_ok() {}
    }
    filler
}

#[test]
fn a_create_without_room_in_its_bundle_says_so_and_leaves_nothing() {
    let bed = Bed::shared();
    let namespace = bed.namespace("bundle");
    let (image, keeper) = keep(&namespace);
    let prepared = Prepared::new(&namespace, &image, "a");
    let config = fs::read(prepared.bundle.join("config.json")).unwrap();
    let disk = SmallDisk::over(&prepared.bundle);
    fs::create_dir(prepared.bundle.join("rootfs")).unwrap();
    fs::write(prepared.bundle.join("config.json"), config).unwrap();
    let filler = fill(&prepared.bundle);
    for _ in 0..3 {
        let refusal = prepared.try_create().unwrap_err();
        assert_eq!(refusal.code(), Code::RESOURCE_EXHAUSTED, "{refusal:?}");
        let words = refusal.message();
        assert!(words.contains("No space left") && words.contains(&prepared.request().bundle), "{words}");
        prepared.bundle_is_as_it_was();
        only_the_keeper(&namespace, &keeper);
    }
    fs::remove_file(filler).unwrap();
    prepared.create().unwrap();
    prepared.start().unwrap();
    prepared.discard();
    drop((prepared, disk));
    nothing_leaked(&namespace, keeper);
}

#[test]
fn a_start_without_room_in_its_bundle_says_so_and_leaves_no_server() {
    let bed = Bed::shared();
    let bundle = bed.folder().join("alone/small");
    fs::create_dir_all(&bundle).unwrap();
    let _disk = SmallDisk::over(&bundle);
    let filler = fill(&bundle);
    let socket = bed.folder().join("alone/nobody.sock");
    let start = || {
        let mut command = Command::new(shim_binary());
        command.current_dir(&bundle).args(["-namespace", "small", "-id", "a", "-address"]).arg(&socket);
        run(command.arg("start"), b"")
    };
    let output = start();
    assert_eq!((output.code, output.text().as_str()), (1, ""), "{output:?}");
    let address = bundle.join("address").display().to_string();
    assert!(output.stderr.contains("No space left") && output.stderr.contains(&address), "{output:?}");
    assert!(!bundle.join("address").exists());
    // It was started for this container, which nobody expects any more.
    eventually("the server to end", || e2e::Server::find(&socket, "small").is_empty());

    fs::remove_file(filler).unwrap();
    assert_eq!(start().code, 0);
    let mut delete = Command::new(shim_binary());
    delete.current_dir(&bundle).args(["-namespace", "small", "-id", "a", "-address"]).arg(&socket);
    run(delete.arg("delete"), b"").succeeded();
}

#[test]
fn a_full_run_directory_hinders_no_server_that_runs_and_is_named_by_those_that_cannot() {
    // Room for some 40 files; the shims of this containerd see it as their run directory.
    let bed = Bed::with_run_directory(64, 40);
    let namespace = bed.namespace("runs");
    let (image, keeper) = keep(&namespace);
    let directory = bed.run_directory();
    fill(&directory);
    // A server at work needs no room but for its log.
    for turn in 0..3 {
        let finished = namespace.container(&image, &format!("full{turn}"), &["/bin/hello.wasm"]).run();
        assert_eq!(finished.text(), "hello from wasm\n");
    }

    // Nor is there room for another file, and then for one after the other: whatever a new server lacks is told.
    let fillers: Vec<_> = (0..)
        .map(|i| directory.join(format!("filler{i}")))
        .map_while(|path| fs::File::create(&path).ok().map(|_| path))
        .collect();
    assert!(fillers.len() > 10);
    let entries = || {
        fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let mut refused = 0;
    for filler in fillers {
        let before = entries();
        let another = bed.namespace("another");
        let image = another.import_guests(&["hello"]);
        match another.container(&image, "a", &["/bin/hello.wasm"]).create() {
            Ok(task) => {
                task.start().unwrap();
                assert_eq!(task.finish().code, 0);
                assert!(refused >= 3, "{refused}");
                break;
            }
            Err(refusal) => {
                refused += 1;
                let words = refusal.message();
                assert!(words.contains("No space left"), "{words}");
                assert!(Traces::of(&another).is_empty(), "{:?}", Traces::of(&another));
                assert_eq!(entries(), before, "{words}");
            }
        }
        fs::remove_file(filler).unwrap();
    }
    assert_eq!(namespace.container(&image, "after", &["/bin/hello.wasm"]).run().code, 0);
    nothing_leaked(&namespace, keeper);
}
