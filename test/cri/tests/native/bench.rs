//! One case, once with each handler: runc's own, ours, and ours with runc as `native_runtime`.

use cri::{ContainerSpec, Node, Pod, PodSpec, RUNC, Scene, WAMR, WAMR_WITH_RUNC, busybox};

/// Where a case is played: the pods it makes are for one of the handlers.
pub struct Bench {
    /// Its pods.
    pub scene: Scene,
    /// Whose turn it is.
    pub handler: &'static str,
}

impl Bench {
    fn new(name: &str, handler: &'static str) -> Bench {
        eprintln!("--- {name} with {handler}");
        Bench { scene: Node::shared().scene(name), handler }
    }

    /// A pod of the handler.
    pub fn pod(&self, name: &str) -> PodSpec<'_> {
        self.scene.pod(name).handler(self.handler)
    }

    /// A shell script in a pod of its own.
    pub fn script(&self, script: &str) -> ContainerSpec<'_> {
        script_in(&self.pod("a").run(), script)
    }
}

/// A shell script as a container of a pod.
pub fn script_in<'s>(pod: &Pod<'s>, script: &str) -> ContainerSpec<'s> {
    pod.container("main", &busybox(), &["/bin/sh", "-c", script])
}

/// A script that says `ready` and waits for its end.
pub const WAITS: &str = "trap 'exit 143' TERM; echo ready; while :; do sleep 0.1; done";

/// Plays a case with each. What it asserts has to hold for all.
pub fn each(name: &str, case: impl Fn(&Bench)) {
    for handler in [RUNC, WAMR, WAMR_WITH_RUNC] {
        case(&Bench::new(name, handler));
    }
}

/// Plays a case with each, and what it returns has to be the same, line by line.
pub fn same(name: &str, case: impl Fn(&Bench) -> String) {
    let [expected, found, with_runc] = [RUNC, WAMR, WAMR_WITH_RUNC].map(|handler| {
        let bench = Bench::new(name, handler);
        let text = case(&bench).replace(&bench.scene.name, "SCENE");
        text.lines().map(without_ids).collect::<Vec<_>>()
    });
    compare(name, &expected, &found);
    compare(name, &expected, &with_runc);
}

fn compare(name: &str, expected: &[String], found: &[String]) {
    let only = |these: &[String], others: &[String], sign| {
        let lines = these.iter().filter(|line| !others.contains(line));
        lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    let differences = only(expected, found, "runc:") + &only(found, expected, "wamr:");
    assert!(differences.is_empty() && expected.len() == found.len(), "{name}:\n{differences}");
}

/// Container and pod ids have 64 hexadecimal digits.
fn without_ids(line: &str) -> String {
    let words = line.split_inclusive(|c: char| !c.is_ascii_hexdigit());
    let word = |word: &str| match word.trim_end_matches(|c: char| !c.is_ascii_hexdigit()) {
        id if id.len() == 64 => word.replace(id, "ID"),
        _ => word.to_owned(),
    };
    words.map(word).collect()
}
