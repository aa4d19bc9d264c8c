//! Samples of memory, as figures: per container, and the node's share.

use crate::figures::{Figure, figure, maybe};
use crate::measure::Memory;
use crate::memory::{Role, Sample};
use crate::options::{Options, Through};
use crate::start_figures::ms;

/// What each of the N costs, from `before` to `after`.
pub fn each(memory: &Memory, options: &Options) -> Vec<Figure> {
    let Memory { before, after, .. } = memory;
    let n = options.containers as f64;
    let each = |more: u64, less: u64| (more as f64 - less as f64) / 1024.0 / n;
    let grown = |of: fn(&Sample) -> u64| each(of(after), of(before));
    let pss = |role| each(after.of(role).pss, before.of(role).pss);
    let all: f64 =
        [Role::Containerd, Role::Shims, Role::Zygote, Role::Sandboxes, Role::Guests].map(pss).iter().sum();
    // What the stack is charged with, not what the host's kernel grew by: that is disturbed by all else on the host.
    let kernel = grown(|sample| sample.containers.kernel + sample.sandboxes.kernel + sample.stack.kernel);
    let of = |key: &str, what: &str, value| figure(key, what, "KiB", value);
    let charged = grown(|sample| sample.containers.total + sample.sandboxes.total + sample.stack.total);
    // Whole-host readings mean something only while nothing else on the host moves: neither processes, which can be
    // seen, nor what else takes memory, which cannot; but then the reading is far from what the stack is charged with.
    let others = each(after.others, before.others).abs();
    let host = |key: &str, what: &str, value: f64| {
        let value = if others > 0.1 * charged {
            Err("other processes of this machine grew or shrank by more than a tenth of it")
        } else if !(0.6..1.6).contains(&(value / charged)) {
            Err("other memory of this machine moved: it does not fit to what the cgroups are charged with")
        } else {
            Ok(value)
        };
        maybe(key, what, "KiB", value)
    };
    let mut figures = vec![
        host("mem_available", "drop of MemAvailable", each(before.host.available, after.host.available)),
        host("mem_free", "drop of MemFree", each(before.host.free, after.host.free)),
        of("pss_kernel", "PSS and kernel memory together", all + kernel),
        of("kernel", "  kernel memory charged to the stack", kernel),
        of("pss", "  PSS of all processes", all),
        of("pss_guest", "    the container's own processes", pss(Role::Guests)),
        of("pss_shims", "    shims, or the server's share", pss(Role::Shims)),
        of("pss_zygote", "    the zygote's share", pss(Role::Zygote)),
        of("pss_containerd", "    growth of containerd", pss(Role::Containerd)),
        of(
            "kernel_host",
            "growth of the host's slab, stacks, page tables, percpu",
            grown(|sample| sample.host.kernel),
        ),
        of("cgroup", "memory cgroups, kernel memory included", charged),
        of("cgroup_containers", "  the container's own", grown(|sample| sample.containers.total)),
        of("cgroup_kernel", "    of which kernel memory", grown(|sample| sample.containers.kernel)),
        of("cgroup_stack", "  growth of containerd's and the shims'", grown(|sample| sample.stack.total)),
        of("cgroup_stack_kernel", "    of which kernel memory", grown(|sample| sample.stack.kernel)),
        of(
            "cgroup_templates",
            "    of which files in memory, as templates",
            grown(|sample| sample.stack.shared),
        ),
    ];
    if options.through == Through::Cri {
        let pss = of("pss_sandboxes", "    pause process, or what holds the pod", pss(Role::Sandboxes));
        let cgroup = of("cgroup_sandboxes", "  the sandbox's", grown(|sample| sample.sandboxes.total));
        for (figure, before) in [(pss, "pss_shims"), (cgroup, "cgroup_stack")] {
            let place = figures.iter().position(|figure| figure.key == before).unwrap_or(figures.len());
            figures.insert(place, figure);
        }
    }
    figures
}

/// What a node pays once.
pub fn node(memory: &Memory, options: &Options) -> Vec<Figure> {
    let Memory { before, idle, after, idle_cpu } = memory;
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    // What a server that serves them all adds for each. Not PSS, nor private pages: its program's pages become shared
    // as soon as there are containers, and fall from both.
    let server = idle.of(Role::Shims).processes == 1;
    let value = |value: f64| if server { Ok(value) } else { Err("it has a shim per container") };
    let (idle_server, full_server) = (idle.of(Role::Shims), after.of(Role::Shims));
    let growth = (kib(full_server.anonymous) - kib(idle_server.anonymous)) / options.containers as f64;
    let roles = [Role::Shims, Role::Zygote, Role::Sandboxes, Role::Guests];
    let processes: u64 = roles.map(|role| after.of(role).processes).iter().sum();
    let templates = kib(after.stack.shared) - kib(before.stack.shared);
    vec![
        maybe("server_idle", "PSS of the server without containers", "KiB", value(kib(idle_server.pss))),
        maybe(
            "zygote_idle",
            "PSS of the zygote without containers",
            "KiB",
            value(kib(idle.of(Role::Zygote).pss)),
        ),
        maybe("templates", "files in memory, as templates", "KiB", value(templates)),
        maybe("server_growth", "heap and stacks more in the server per container", "KiB", value(growth)),
        figure("processes", "processes beside containerd", "", processes as f64),
        maybe(
            "idle_cpu",
            "CPU per second of all, idle, without containerd",
            "ms",
            idle_cpu.map(ms).ok_or("the kernel keeps no schedstat"),
        ),
    ]
}
