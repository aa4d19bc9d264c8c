//! Promise: a guest that says when it is ready is started once, and its containers go on from there; one of which that cannot
//! be is started as ever, and the log says why. Real: containerd, the server, its zygote, the guests and their cgroups.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use e2e::tool::{find, wamrctl_json};
use e2e::{Bed, Container, Image, Layer, Namespace, Network, PATIENCE, Task, eventually, guest, wait_for};
use rustix::process::Signal;

const KIB: u64 = 1 << 10;
/// What the guest computes before it is ready takes so much.
const TABLE: u64 = 4 << 20;

fn bed() -> Arc<Bed> {
    let bed = Bed::with_configuration();
    // Nothing gets compiled code, which would be another guest.
    bed.configure("linger = 1\naot = \"off\"\n");
    bed
}

fn image(namespace: &Namespace) -> Image {
    let layer = Layer::new().directory("/bin").directory("/etc").file("/etc/motd", *b"hello");
    let layer = layer.file("/bin/warm.wasm", guest("warm")).file("/bin/exit.wasm", guest("exit"));
    let image = Image::new("e2e.local/warm:1").layer(layer);
    namespace.import(&image);
    image
}

fn warm<'n>(namespace: &'n Namespace, image: &Image, id: &str, args: &[&str]) -> Container<'n> {
    let args = [&["/bin/warm.wasm"], args].concat();
    namespace.container(image, id, &args).annotation("wamr.containerd.io/warm_start", "true")
}

fn log(namespace: &Namespace) -> String {
    fs::read_to_string(namespace.server().place.join("log")).unwrap()
}

fn made(namespace: &Namespace) -> usize {
    log(namespace).matches("warm template of /bin/warm.wasm").count()
}

/// The line it prints once it is ready, word by word.
fn line(task: &Task) -> Vec<String> {
    task.stdout().wait_until_it_says("random=");
    task.stdout().so_far().split_whitespace().map(str::to_owned).collect()
}

/// Nothing of the guests that were run up to their ready points is left.
fn nothing_is_left(namespace: &Namespace) {
    let places = namespace.places();
    let scratch = |place: &std::path::PathBuf| {
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("warm-")).count()
    };
    assert_eq!(places.iter().map(scratch).sum::<usize>(), 0, "{places:?}");
    let cgroups = namespace.bed.cgroups.below(&namespace.name);
    assert!(!cgroups.iter().any(|path| path.to_string_lossy().ends_with("-warm")), "{cgroups:?}");
}

#[test]
fn containers_of_one_guest_are_copies_of_it_at_its_ready_point() {
    let bed = bed();
    let namespace = bed.namespace("copies");
    let image = image(&namespace);
    let cold = namespace.container(&image, "cold", &["/bin/warm.wasm"]).start();
    let first = warm(&namespace, &image, "first", &[]).env("HOSTNAME", "one").start();
    let second = warm(&namespace, &image, "second", &[]).env("HOSTNAME", "two").start();
    let [cold_line, first_line, second_line] = [&cold, &first, &second].map(line);
    assert_eq!([&cold_line[0], &first_line[0], &second_line[0]], ["cold", "copy", "copy"]);
    assert!(cold_line[1] == first_line[1] && first_line[1] == second_line[1], "what it computed");
    assert_eq!(first_line[2], "host=", "it is not told what differs from container to container");
    assert_ne!(first_line[3], second_line[3], "each draws its own random numbers");
    assert_eq!(made(&namespace), 1, "{}", log(&namespace));
    nothing_is_left(&namespace);
    let (shown, _) = wamrctl_json(&bed, &["ps", "--namespace", &namespace.name]);
    for (id, warm) in [("cold", false), ("first", true), ("second", true)] {
        assert_eq!(find(&shown[0], "id", id)["module"]["warm"], warm, "{shown:?}");
    }

    assert!(cold.process().private_memory() > TABLE);
    for task in [&first, &second] {
        let private = task.process().private_memory();
        assert!(private < 400 * KIB, "{} KiB", private / KIB);
    }
    // What a container is otherwise, a copy is too.
    first.kill(15).unwrap();
    assert_eq!(first.finish().code, 143);
    let exec = namespace.exec("second", "more", &["/bin/exit.wasm", "7"]).run();
    assert_eq!(exec.code, 7);
    assert_eq!((second.end().code, cold.end().code), (137, 137));
}

#[test]
fn of_many_that_start_at_once_one_is_run_to_its_ready_point() {
    let bed = bed();
    let namespace = bed.namespace("at-once");
    let image = image(&namespace);
    let tasks: Vec<Task> = thread::scope(|scope| {
        let start = |number: usize| {
            let (namespace, image) = (&namespace, &image);
            scope.spawn(move || warm(namespace, image, &format!("many-{number}"), &["", "3"]).start())
        };
        let starts: Vec<_> = (0..10).map(start).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for task in tasks {
        let ended = task.finish();
        assert_eq!((ended.code, &ended.stdout[..4]), (3, &b"copy"[..]));
    }
    assert_eq!(made(&namespace), 1);
    assert_eq!(
        log(&namespace).matches(" template of /bin/warm.wasm").count(),
        2,
        "one to be run, one to be copied"
    );
    nothing_is_left(&namespace);
}

#[test]
fn guests_that_were_started_with_something_else_share_nothing() {
    let bed = bed();
    let namespace = bed.namespace("other");
    let image = image(&namespace);
    let _kept = warm(&namespace, &image, "kept", &[]).start();
    let made_by = |container: Container<'_>| {
        let before = made(&namespace);
        let task = container.start();
        assert_eq!(line(&task)[0], "copy");
        task.end();
        made(&namespace) - before
    };
    assert_eq!(made_by(warm(&namespace, &image, "same", &[])), 0);
    assert_eq!(made_by(warm(&namespace, &image, "argument", &["x"])), 1);
    assert_eq!(made_by(warm(&namespace, &image, "variable", &[]).env("A", "1")), 1);
    assert_eq!(made_by(warm(&namespace, &image, "user", &[]).user(1000, 1000)), 1);
    let options = ["ro", "bind"];
    let folder = bed.folder().display().to_string();
    assert_eq!(made_by(warm(&namespace, &image, "volume", &[]).mount("bind", &folder, "/data", &options)), 1);
    assert_eq!(made_by(warm(&namespace, &image, "limit", &[]).memory_limit(64 << 20)), 1);
    let annotation = "wamr.containerd.io/warm_start_without";
    assert_eq!(
        made_by(warm(&namespace, &image, "without", &[]).env("B", "2").annotation(annotation, "B, C")),
        0
    );
    nothing_is_left(&namespace);
}

#[test]
fn a_guest_that_cannot_be_copied_starts_as_ever_and_the_log_says_why() {
    let bed = bed();
    let namespace = bed.namespace("refused");
    let image = image(&namespace);
    let _kept = namespace.container(&image, "kept", &["/bin/warm.wasm"]).start();
    fs::write(bed.folder().join("file"), "x").unwrap();
    let folder = bed.folder().display().to_string();
    let hosts = bed.folder().join("file").display().to_string();
    for (what, why) in [
        ("print", "it wrote to its standard output or error before it was ready"),
        ("read", "it read its standard input before it was ready"),
        ("open", "it has a file open"),
        ("volume", "it opened data, which is a volume or not its own"),
        ("hosts", "it opened hosts, which is a volume or not its own"),
        ("write", "it changed the file system"),
    ] {
        let task = warm(&namespace, &image, what, &[what, "5"]);
        let task =
            task.mount("bind", &folder, "/data", &["rbind"]).mount("bind", &hosts, "/etc/hosts", &["bind"]);
        let ended = task.run();
        let stdout = ended.text();
        assert!(ended.code == 5 && stdout.contains("cold"), "{what}: {} {stdout}", ended.code);
        let reason = format!("/bin/warm.wasm is not started warm: {why}");
        assert!(log(&namespace).contains(&reason), "{what}: {reason}: {}", log(&namespace));
    }
    let ended = warm(&namespace, &image, "fail", &["fail"]).run();
    assert_eq!(ended.code, 134);
    assert!(
        log(&namespace).contains("not started warm: before it said that it is ready: "),
        "{}",
        log(&namespace)
    );
    assert_eq!(warm(&namespace, &image, "terminal", &["", "5"]).terminal().start().wait(), 5);
    assert!(log(&namespace).contains("is not started warm: it has a terminal"));
    assert_eq!(made(&namespace), 0);
    nothing_is_left(&namespace);
}

#[test]
fn servers_are_copied_each_with_the_sockets_of_its_own_network() {
    // The network namespaces made here are seen by a bed whose mounts are the host's.
    let bed = Bed::shared();
    let namespace = bed.namespace("servers");
    let image = namespace.import_guests(&["http", "listen"]);
    let serving = |guest: &str, id: &str, listen: &str| {
        let network = Network::new(&bed.folder().join(id));
        let mut add = network.command("ip".as_ref());
        assert!(add.args(["address", "add", "10.1.2.3", "dev", "lo"]).status().unwrap().success());
        let args = [format!("/bin/{guest}.wasm"), "1".to_owned()];
        let container =
            namespace.container(&image, id, &args.each_ref().map(String::as_str)).network(&network);
        let container = container.annotation("wamr.containerd.io/warm_start", "true");
        let container = container.annotation("wamr.containerd.io/aot", "off");
        let task = container.annotation("wamr.containerd.io/listen", listen).start();
        task.stdout().wait_until_it_says("serving");
        (network, task)
    };
    let say = |network: &Network, address: &str, words: &str| {
        let mut stream = network.enter(|| TcpStream::connect(address)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(words.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    };
    let get = "GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
    let servers = ["one", "two"].map(|id| serving("http", id, "tcp://0.0.0.0:80 tcp://10.1.2.3:8080"));
    for (network, _) in &servers {
        for address in ["127.0.0.1:80", "10.1.2.3:8080"] {
            assert!(say(network, address, get).ends_with("hello from wasm\n"), "{address}");
        }
    }
    assert_eq!(log(&namespace).matches("warm template of /bin/http.wasm").count(), 1, "{}", log(&namespace));
    let (shown, _) = wamrctl_json(&bed, &["ps", "--namespace", &namespace.name]);
    assert!(["one", "two"].iter().all(|id| find(&shown[0], "id", id)["module"]["warm"] == true), "{shown:?}");

    // It never says that it is ready, and waits.
    let (network, task) = serving("listen", "cold", "tcp://0.0.0.0:80");
    assert_eq!(say(&network, "127.0.0.1:80", "hello\n"), "HELLO\n");
    assert_eq!(task.finish().code, 0);
    assert!(log(&namespace).contains("it waits for a connection"), "{}", log(&namespace));
    servers.into_iter().for_each(|(_, task)| assert_eq!(task.end().code, 137));
    nothing_is_left(&namespace);
}

#[test]
fn a_copy_s_trap_tells_what_happened_and_others_go_on() {
    let bed = bed();
    let namespace = bed.namespace("trap");
    let image = image(&namespace);
    let kept = warm(&namespace, &image, "kept", &[]).start();
    line(&kept);
    for number in 0..2 {
        let ended = warm(&namespace, &image, &format!("trap-{number}"), &["trap"]).run();
        assert_eq!(ended.code, 134, "{}", ended.stderr);
        assert!(ended.stderr.contains("unreachable"), "{}", ended.stderr);
    }
    assert_eq!(made(&namespace), 2);
    assert_eq!(kept.end().code, 137);
}

#[test]
fn of_a_server_that_dies_while_a_guest_gets_ready_nothing_is_left() {
    let bed = bed();
    let namespace = bed.namespace("killed");
    let image = image(&namespace);
    let kept = namespace.container(&image, "kept", &["/bin/warm.wasm"]).start();
    let server = namespace.server().process;
    let guest = || server.children().into_iter().find(|process| process.comm == "wamr-template");
    thread::scope(|scope| {
        let hanging = scope.spawn(|| warm(&namespace, &image, "hangs", &["hang"]).create().map(drop));
        let guest = wait_for("the guest to be on its way", guest);
        server.signal(Signal::KILL);
        assert!(hanging.join().unwrap().is_err());
        eventually("the guest to be gone", || !guest.is_there());
    });
    drop(kept);
    let next = warm(&namespace, &image, "next", &[]).start();
    assert_eq!(line(&next)[0], "copy");
    next.end();
    eventually("its cgroup to be gone", || {
        let cgroups = namespace.bed.cgroups.below(&namespace.name);
        !cgroups.iter().any(|path| path.to_string_lossy().ends_with("-warm"))
    });
    nothing_is_left(&namespace);
}
