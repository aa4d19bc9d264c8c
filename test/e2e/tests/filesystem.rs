//! Promise: a guest sees its root file system and its mounts, as they were asked for, and nothing else.

use e2e::{Bed, Finished, Image, Layer, Namespace, guest};

const FILE: &str = "/bin/file.wasm";

/// Imported once: an image that takes the name of another one has its layers collected as garbage while it is unpacked.
fn import_layers(namespace: &Namespace, layers: impl IntoIterator<Item = Layer>) -> Image {
    let guests =
        Layer::new().directory("/bin").file(FILE, guest("file")).file("/bin/hello.wasm", guest("hello"));
    let image = layers.into_iter().fold(Image::new("e2e.local/files:1").layer(guests), Image::layer);
    namespace.import(&image);
    image
}

fn import(namespace: &Namespace, layer: Layer) -> Image {
    import_layers(namespace, [layer])
}

fn said(finished: &Finished, words: &str) {
    assert!(finished.text().contains(words), "{words:?} in {finished:?}");
}

#[test]
fn layers_lie_on_top_of_each_other_and_the_root_can_be_written_to() {
    let bed = Bed::shared();
    let namespace = bed.namespace("layers");
    let lower = Layer::new().directory("/etc").file("/etc/greeting", "lower");
    let image = import_layers(&namespace, [lower, Layer::new().file("/etc/greeting", "upper")]);
    let read = namespace.container(&image, "read", &[FILE, "read", "/etc/greeting"]).run();
    assert_eq!((read.code, read.text().as_str()), (0, "upper"));
    let write = namespace.container(&image, "write", &[FILE, "write", "/new", "text"]).run();
    said(&write, "wrote /new");
    let list = namespace.container(&image, "list", &[FILE, "list", "/"]).run();
    assert!(!list.text().contains("new"), "the next container has a root of its own: {list:?}");
}

#[test]
fn a_read_only_root_cannot_be_written_to() {
    let bed = Bed::shared();
    let namespace = bed.namespace("readonly");
    let image = import(&namespace, Layer::new());
    let write = namespace.container(&image, "write", &[FILE, "write", "/new", "text"]).read_only().run();
    assert_eq!(write.code, 1);
    said(&write, "Read-only file system");
    let args = [FILE, "write", "/new", "text"];
    let output = namespace.ctr().container(&["--rm", "--read-only"], &image, "ctr", &args);
    assert!(output.code == 1 && output.text().contains("Read-only file system"), "{output:?}");
}

#[test]
fn bind_mounts_are_writable_or_not_as_asked() {
    let bed = Bed::shared();
    let namespace = bed.namespace("binds");
    let image = import(&namespace, Layer::new());
    let shared = bed.folder().join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    std::fs::write(shared.join("from-host"), "host's text").unwrap();
    let source = shared.display().to_string();

    let bind = |id: &str, args: &[&str], mode: &str| {
        namespace.container(&image, id, args).mount("bind", &source, "/data", &["rbind", mode]).run()
    };
    let read = bind("read", &[FILE, "read", "/data/from-host"], "ro");
    assert_eq!((read.code, read.text().as_str()), (0, "host's text"));
    let write = bind("write", &[FILE, "write", "/data/from-guest", "guest's text"], "rw");
    said(&write, "wrote");
    assert_eq!(std::fs::read_to_string(shared.join("from-guest")).unwrap(), "guest's text");
    let refused = bind("refused", &[FILE, "write", "/data/never", "text"], "ro");
    said(&refused, "Read-only file system");
    assert!(!shared.join("never").exists());

    let mount = format!("type=bind,src={source},dst=/data,options=rbind:ro");
    let args = [FILE, "read", "/data/from-guest"];
    let output = namespace.ctr().container(&["--rm", "--mount", &mount], &image, "ctr", &args).succeeded();
    assert_eq!(output.text(), "guest's text");
}

#[test]
fn links_never_lead_out_of_the_container() {
    let bed = Bed::shared();
    let namespace = bed.namespace("escape");
    let secret = bed.folder().join("secret");
    std::fs::write(&secret, "host's secret").unwrap();
    let absolute = secret.display().to_string();
    let relative = format!("{}{}", "../".repeat(12), absolute.trim_start_matches('/'));
    let image =
        import(&namespace, Layer::new().symlink("/absolute", &absolute).symlink("/relative", &relative));
    let dotted = format!("/{relative}");
    for (id, path) in
        [("absolute", "/absolute"), ("relative", "/relative"), ("dotted", &dotted), ("direct", &absolute)]
    {
        let read = namespace.container(&image, id, &[FILE, "read", path]).run();
        assert_eq!(read.code, 1, "{id}: {read:?}");
        assert!(!read.text().contains("host's secret"), "{id}: {read:?}");
        let write =
            namespace.container(&image, &format!("{id}-w"), &[FILE, "write", path, "overwritten"]).run();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "host's secret", "{id}: {write:?}");
    }
}

#[test]
fn a_mount_over_a_link_stays_inside_the_container() {
    let bed = Bed::shared();
    let namespace = bed.namespace("mountlink");
    let (outside, data) = (bed.folder().join("outside"), bed.folder().join("data"));
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("file"), "mounted").unwrap();
    let image = import(&namespace, Layer::new().symlink("/data", &outside.display().to_string()));
    let task = namespace
        .container(&image, "mount", &[FILE, "read", "/data/file"])
        .mount("bind", &data.display().to_string(), "/data", &["rbind", "ro"])
        .create();
    if let Ok(task) = task {
        task.start().unwrap();
        task.finish();
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "something was made outside the container");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&outside.display().to_string()), "something was mounted outside the container");
}

#[test]
fn a_module_is_reached_through_links() {
    let bed = Bed::shared();
    let namespace = bed.namespace("links");
    let layer = Layer::new()
        .symlink("/relative", "bin/hello.wasm")
        .symlink("/absolute", "/bin/hello.wasm")
        .symlink("/twice", "absolute")
        .symlink("/folder", "bin")
        .symlink("/above", "../../../bin/hello.wasm");
    let image = import(&namespace, layer);
    let paths =
        ["/relative", "/absolute", "/twice", "/folder/hello.wasm", "/above", "/bin/../bin/./hello.wasm"];
    for (i, path) in paths.into_iter().enumerate() {
        let finished = namespace.container(&image, &format!("link{i}"), &[path]).run();
        assert_eq!(finished.text(), "hello from wasm\n", "{path}");
    }
}

#[test]
fn a_module_is_found_by_its_bare_name() {
    let bed = Bed::shared();
    let namespace = bed.namespace("bare");
    let image = import(&namespace, Layer::new());
    assert_eq!(namespace.container(&image, "path", &["hello.wasm"]).run().text(), "hello from wasm\n");
    let relative = namespace.container(&image, "cwd", &["./hello.wasm"]).cwd("/bin").run();
    assert_eq!(relative.text(), "hello from wasm\n");
}

#[test]
fn an_export_named_after_the_path_is_entered_instead_of_start() {
    let bed = Bed::shared();
    let namespace = bed.namespace("export");
    let image = namespace.import_guests(&["export"]);
    let start = namespace.container(&image, "start", &["/bin/export.wasm"]).run();
    assert_eq!((start.code, start.text().as_str()), (0, "entered at _start\n"));
    let other = namespace.container(&image, "other", &["/bin/export.wasm#other"]).run();
    assert_eq!((other.code, other.text().as_str()), (0, "entered at other\n"));
    let refusal = namespace.container(&image, "missing", &["/bin/export.wasm#missing"]).refusal();
    assert!(refusal.contains("missing"), "{refusal}");
}

#[test]
fn relative_paths_begin_at_the_working_directory() {
    let bed = Bed::shared();
    let namespace = bed.namespace("cwd");
    let layer = Layer::new()
        .directory("/work")
        .file("/work/here", "found")
        .directory("/etc")
        .file("/etc/there", "too");
    let image = import(&namespace, layer);
    let read =
        |id: &str, path: &str| namespace.container(&image, id, &[FILE, "read", path]).cwd("/work").run();
    assert_eq!(read("relative", "here").text(), "found");
    assert_eq!(read("dotted", "./here").text(), "found");
    assert_eq!(read("absolute", "/etc/there").text(), "too");
    let args = [FILE, "read", "here"];
    let output = namespace.ctr().container(&["--rm", "--cwd", "/work"], &image, "ctr", &args).succeeded();
    assert_eq!(output.text(), "found");
}

#[test]
fn proc_and_sys_are_not_there_and_null_is() {
    let bed = Bed::shared();
    let namespace = bed.namespace("dev");
    let image = import(&namespace, Layer::new());
    let run = |id: &str, args: &[&str]| namespace.container(&image, id, args).run();
    assert_eq!(run("proc", &[FILE, "read", "/proc/self/status"]).code, 1);
    assert_eq!(run("sys", &[FILE, "list", "/sys/kernel"]).code, 1);
    assert_eq!(
        run("null", &[FILE, "read", "/dev/null"]),
        Finished { code: 0, stdout: vec![], stderr: String::new() }
    );
    said(&run("write", &[FILE, "write", "/dev/null", "text"]), "wrote");
}
