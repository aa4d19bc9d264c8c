//! The guest's world: arguments, environment, descriptors, and directories it cannot leave.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use wamr::Preopen;

use crate::harness::{Ended, Guest, NOT_RUN, TempDir, c, in_child, wat};

/// Does what its arguments say, each `what:path` or `what:path:path`, and prints the outcome of each.
const DOES: &str = r#"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int put(const char *path, int flags) {
    int fd = open(path, flags, 0666);
    if (fd < 0) return -1;
    return write(fd, "guest", 5) == 5 ? close(fd) : -1;
}
static int show(const char *path) {
    char text[100] = "";
    int fd = open(path, O_RDONLY);
    if (fd < 0) return -1;
    if (read(fd, text, sizeof text - 1) < 0) return -1;
    printf("[%s] ", text);
    return close(fd);
}
static int list(const char *path) {
    DIR *dir = opendir(path);
    if (!dir) return -1;
    for (struct dirent *e; (e = readdir(dir));) if (e->d_name[0] != '.') printf("[%s] ", e->d_name);
    return closedir(dir);
}
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char *what = argv[i], *path = strchr(what, ':'), *other = 0;
        struct stat st;
        int r = -2;
        *path++ = 0;
        if ((other = strchr(path, ':'))) *other++ = 0;
        errno = 0;
        if (!strcmp(what, "read")) r = show(path);
        if (!strcmp(what, "create")) r = put(path, O_WRONLY | O_CREAT | O_TRUNC);
        if (!strcmp(what, "append")) r = put(path, O_WRONLY | O_APPEND);
        if (!strcmp(what, "both")) r = put(path, O_RDWR);
        if (!strcmp(what, "list")) r = list(path);
        if (!strcmp(what, "stat")) r = stat(path, &st);
        if (!strcmp(what, "mkdir")) r = mkdir(path, 0777);
        if (!strcmp(what, "rmdir")) r = rmdir(path);
        if (!strcmp(what, "unlink")) r = unlink(path);
        if (!strcmp(what, "touch")) r = utimensat(AT_FDCWD, path, (struct timespec[2]){{1},{1}}, 0);
        if (!strcmp(what, "symlink")) r = symlink(path, other);
        if (!strcmp(what, "link")) r = link(path, other);
        if (!strcmp(what, "rename")) r = rename(path, other);
        printf("%s %s: ", what, path);
        if (r == 0) puts("ok");
        else if (errno == EROFS) puts("EROFS");
        else if (errno == ENOTCAPABLE) puts("ENOTCAPABLE");
        else if (errno == ENOENT) puts("ENOENT");
        else if (errno == EBADF) puts("EBADF");
        else puts(strerror(errno));
    }
    return 0;
}
"#;

/// Runs [`DOES`]; `None` without a C compiler.
fn does(preopens: &[Preopen<'_>], what: &[&str]) -> Option<Vec<String>> {
    let wasm = c(DOES)?;
    let args: Vec<&str> = ["does"].into_iter().chain(what.iter().copied()).collect();
    // Once: it changes what it finds.
    let ended = Guest { args: &args, preopens, ..Guest::new(&wasm) }.run_loaded();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    Some(ended.stdout.lines().map(str::to_owned).collect())
}

fn preopen<'a>(guest: &'a str, host: &'a Path, read_only: bool) -> Preopen<'a> {
    Preopen { guest, host: host.to_str().unwrap(), read_only }
}

#[test]
fn arguments_environment_and_output_are_the_containers() {
    let Some(wasm) = c(r#"
        #include <stdio.h>
        extern char **environ;
        int main(int argc, char **argv) {
            for (int i = 0; i < argc; i++) printf("%s|", argv[i]);
            for (char **e = environ; *e; e++) printf("%s|", *e);
            fprintf(stderr, "error");
            return argc;
        }"#)
    else {
        return;
    };
    let args = ["/bin/guest", "", "two words", "ü::x"];
    let ended =
        Guest { args: &args, env: &["A=b", "PATH=/bin:/usr/bin", "EMPTY="], ..Guest::new(&wasm) }.run();
    assert_eq!(
        ended,
        Ended {
            code: 4,
            stdout: "/bin/guest||two words|ü::x|A=b|PATH=/bin:/usr/bin|EMPTY=|".to_owned(),
            stderr: "error".to_owned()
        }
    );
}

#[test]
fn a_guest_without_arguments_and_environment_runs() {
    let wasm = wat(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    assert_eq!(Guest { args: &[], ..Guest::new(&wasm) }.run().code, 0);
}

#[test]
fn a_terminal_is_a_terminal_and_a_file_is_not() {
    let Some(wasm) = c(r#"
        #include <unistd.h>
        int main(void) { return 64 + isatty(0) + 2 * isatty(1) + 4 * isatty(2); }"#)
    else {
        return;
    };
    let ended = in_child(|| {
        // SAFETY: plain system calls; the name is of a terminal that this process just made.
        unsafe {
            let main = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
            assert_eq!((libc::grantpt(main), libc::unlockpt(main)), (0, 0));
            let terminal = libc::open(libc::ptsname(main), libc::O_RDWR | libc::O_NOCTTY);
            assert!(libc::dup2(terminal, 0) == 0 && libc::dup2(terminal, 2) == 2);
        }
        Guest::new(&wasm).run_here()
    });
    assert_eq!(ended.code, 64 + 1 + 4);
}

#[test]
fn a_file_as_stdin_can_be_rewound() {
    let Some(wasm) = c(r#"
        #include <unistd.h>
        int main(void) {
            char c = 0;
            return read(0, &c, 1) == 1 && lseek(0, 0, SEEK_SET) == 0 && read(0, &c, 1) == 1 ? c : 1;
        }"#)
    else {
        return;
    };
    let dir = TempDir::new();
    fs::write(dir.path().join("in"), "x").unwrap();
    let ended = in_child(|| {
        use std::os::fd::AsRawFd;
        let file = fs::File::open(dir.path().join("in")).unwrap();
        // SAFETY: two valid descriptors.
        unsafe { libc::dup2(file.as_raw_fd(), 0) };
        Guest::new(&wasm).run_here()
    });
    assert_eq!(ended.code, i32::from(b'x'));
}

#[test]
fn a_writable_directory_is_one() {
    let dir = TempDir::new();
    fs::write(dir.path().join("file"), "host").unwrap();
    let Some(lines) = does(
        &[preopen("/data", dir.path(), false)],
        &[
            "read:/data/file",
            "create:/data/new",
            "append:/data/new",
            "both:/data/file",
            "read:/data/file",
            "mkdir:/data/dir",
            "create:/data/dir/deep",
            "link:/data/new:/data/linked",
            "symlink:dir/deep:/data/short",
            "read:/data/short",
            "rename:/data/linked:/data/renamed",
            "touch:/data/renamed",
            "unlink:/data/renamed",
            "unlink:/data/dir/deep",
            "rmdir:/data/dir",
        ],
    ) else {
        return;
    };
    assert!(lines.iter().all(|line| line.ends_with(": ok")), "{lines:#?}");
    assert_eq!(lines[4], "[guest] read /data/file: ok");
    assert_eq!(lines[9], "[guest] read /data/short: ok");
    assert_eq!(fs::read(dir.path().join("new")).unwrap(), b"guestguest");
}

#[test]
fn a_read_only_directory_can_be_read_and_not_changed() {
    let (dir, writable) = (TempDir::new(), TempDir::new());
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("file"), "host").unwrap();
    fs::write(dir.path().join("sub/file"), "deep").unwrap();
    let Some(lines) = does(
        &[preopen("/etc", dir.path(), true), preopen("/rw", writable.path(), false)],
        &[
            "read:/etc/file",
            "read:/etc/sub/file",
            "list:/etc/sub",
            "stat:/etc/file",
            "create:/etc/new",
            "create:/etc/file",
            "append:/etc/file",
            "both:/etc/sub/file",
            "mkdir:/etc/dir",
            "rmdir:/etc/sub",
            "unlink:/etc/file",
            "touch:/etc/file",
            "symlink:x:/etc/link",
            "link:/etc/file:/rw/stolen",
            "link:/rw/own:/etc/own",
            "rename:/etc/file:/rw/stolen",
        ],
    ) else {
        return;
    };
    let outcomes: Vec<&str> = lines.iter().map(|line| line.rsplit(": ").next().unwrap()).collect();
    assert_eq!(
        outcomes,
        [
            "ok",
            "ok",
            "ok",
            "ok",
            "EROFS",
            "EROFS",
            "EBADF",
            "EBADF",
            "ENOTCAPABLE",
            "ENOTCAPABLE",
            "ENOTCAPABLE",
            "ENOTCAPABLE",
            "ENOTCAPABLE",
            "ENOTCAPABLE",
            "ENOTCAPABLE",
            "ENOTCAPABLE"
        ],
        "{lines:#?}"
    );
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"host");
    assert_eq!(fs::read(dir.path().join("sub/file")).unwrap(), b"deep");
    assert_eq!(fs::read_dir(writable.path()).unwrap().count(), 0);
}

/// Rust's standard library asks for all rights but those of writing, whatever it opens.
#[test]
fn a_guest_that_asks_for_too_much_can_read_a_read_only_directory() {
    let open = |rights: u64, oflags: u32| {
        wat(&format!(
            r#"(module
                (import "wasi_snapshot_preview1" "path_open"
                    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1)
                (data (i32.const 0) "file\00\00\00\00\40\00\00\00\04\00\00\00")
                (func (export "_start") (local i32)
                    (local.set 0 (call $open (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 4)
                        (i32.const {oflags}) (i64.const {rights}) (i64.const {rights}) (i32.const 0)
                        (i32.const 32)))
                    (if (local.get 0) (then (call $exit (local.get 0))))
                    (local.set 0
                        (call $read (i32.load (i32.const 32)) (i32.const 8) (i32.const 1) (i32.const 36)))
                    (if (local.get 0) (then (call $exit (local.get 0))))
                    (call $exit (i32.load8_u (i32.const 64)))))"#
        ))
    };
    let dir = TempDir::new();
    fs::write(dir.path().join("file"), "host").unwrap();
    let run = |rights, oflags| {
        let preopens = [preopen("/etc", dir.path(), true)];
        Guest { preopens: &preopens, ..Guest::new(&open(rights, oflags)) }.run().code
    };
    const EROFS_IN_WASI: i32 = 69;
    let (datasync, write, allocate, set_size) = (1 << 0, 1 << 6, 1 << 8, 1 << 22);
    let everything_else = ((1 << 28) - 1) & !(datasync | write | allocate | set_size);
    assert_eq!(run(everything_else, 0), i32::from(b'h'));
    for writing in [write, allocate, set_size, datasync] {
        assert_eq!(run(everything_else | writing, 0), EROFS_IN_WASI);
    }
    assert_eq!(run(everything_else, 1), EROFS_IN_WASI);
    assert_eq!(run(everything_else, 8), EROFS_IN_WASI);
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"host");
}

#[test]
fn no_path_or_link_leads_out_of_a_directory() {
    let dir = TempDir::new();
    let (outside, inside) = (dir.path().join("secret"), dir.path().join("box"));
    fs::create_dir_all(inside.join("sub")).unwrap();
    fs::write(&outside, "secret").unwrap();
    fs::write(inside.join("sub/file"), "mine").unwrap();
    symlink(&outside, inside.join("absolute")).unwrap();
    symlink("../secret", inside.join("relative")).unwrap();
    symlink("..", inside.join("up")).unwrap();
    symlink("sub/../../secret", inside.join("detour")).unwrap();
    symlink("relative", inside.join("chain")).unwrap();
    symlink("/", inside.join("root")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    symlink("../sub/./file", inside.join("sub/within")).unwrap();
    let Some(lines) = does(
        &[preopen("/box", &inside, false)],
        &[
            "read:/box/sub/within",
            "read:/box/../secret",
            "read:/box/sub/../../secret",
            "read:/secret",
            "read:/etc/passwd",
            "read:/box/absolute",
            "read:/box/relative",
            "read:/box/chain",
            "read:/box/detour",
            "read:/box/up/secret",
            "read:/box/root/etc/passwd",
            "read:/box/loop",
            "list:/box/up",
            "list:/box/up/",
            "list:/box/root/",
            "stat:/box/relative",
            "create:/box/relative",
            "create:/box/up/new",
            "append:/box/absolute",
            "touch:/box/relative",
            "mkdir:/box/up/dir",
            "unlink:/box/up/secret",
            "rename:/box/up/secret:/box/stolen",
            "rename:/box/sub:/box/up/sub",
            "link:/box/up/secret:/box/stolen",
            "symlink:x:/box/up/link",
        ],
    ) else {
        return;
    };
    assert_eq!(lines[0], "[mine] read /box/sub/within: ok");
    for line in &lines[1..] {
        assert!(!line.ends_with(": ok") && !line.contains('['), "{line}");
    }
    assert_eq!(fs::read(&outside).unwrap(), b"secret");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

/// What another thread of the guest could do while this one is between WAMR's look at a path and the
/// kernel's.
#[test]
fn a_link_put_there_at_the_last_moment_leads_nowhere() {
    let Some(wasm) = c(r#"
        #include <fcntl.h>
        #include <sys/stat.h>
        #include <unistd.h>
        int main(void) {
            int opened = 0;
            for (int i = 0; i < 60000; i++) {
                char c = 0;
                struct stat st;
                int fd = open("/box/door", O_RDONLY);
                if (fd >= 0) { read(fd, &c, 1); close(fd); opened++; }
                if (c == 's') return 1;
                if (stat("/box/door", &st) == 0 && st.st_size == 6) return 2;
                if ((fd = open("/box/gate/", O_RDONLY | O_DIRECTORY)) >= 0) {
                    int secret = openat(fd, "secret", O_RDONLY);
                    if (secret >= 0) return 3;
                    close(fd);
                }
                unlink("/box/stolen");
                if (linkat(AT_FDCWD, "/box/door", AT_FDCWD, "/box/stolen", AT_SYMLINK_FOLLOW) == 0
                    && (fd = open("/box/stolen", O_RDONLY)) >= 0) {
                    read(fd, &c, 1);
                    close(fd);
                    if (c == 's') return 4;
                }
            }
            return opened ? 0 : 5;
        }"#)
    else {
        return;
    };
    let dir = TempDir::new();
    let inside = dir.path().join("box");
    fs::create_dir_all(inside.join("gate")).unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    fs::write(inside.join("door"), "door").unwrap();
    symlink("../secret", inside.join("door-link")).unwrap();
    symlink("..", inside.join("gate-link")).unwrap();
    let stop = AtomicBool::new(false);
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| {
            let path = |name: &str| std::ffi::CString::new(inside.join(name).to_str().unwrap()).unwrap();
            let pairs = [(path("door"), path("door-link")), (path("gate"), path("gate-link"))];
            while !stop.load(Ordering::Relaxed) {
                for (a, b) in &pairs {
                    // SAFETY: both paths end with NUL.
                    unsafe {
                        let (here, exchange) = (libc::AT_FDCWD, libc::RENAME_EXCHANGE);
                        libc::renameat2(here, a.as_ptr(), here, b.as_ptr(), exchange);
                    }
                }
            }
        });
        let ended = Guest { preopens: &[preopen("/box", &inside, false)], ..Guest::new(&wasm) }.run();
        stop.store(true, Ordering::Relaxed);
        ended
    });
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn names_of_directories_are_taken_as_they_are() {
    let dir = TempDir::new();
    let odd = dir.path().join("a::b");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("file"), "odd").unwrap();
    let Some(lines) = does(&[preopen("/x::y", &odd, true)], &["list:/x::y"]) else { return };
    // The tool's own separator cuts the path; what counts is that the directory was opened.
    assert_eq!(lines.len(), 1);
    let Some(lines) = does(&[preopen("/", &odd, true)], &["read:/file"]) else { return };
    assert_eq!(lines, ["[odd] read /file: ok"]);
}

#[test]
fn a_directory_that_is_not_there_is_an_error_in_words() {
    let wasm = wat(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    let preopens = [Preopen { guest: "/data", host: "/nonexistent/dir", read_only: false }];
    let ended = Guest { preopens: &preopens, ..Guest::new(&wasm) }.run();
    assert_eq!(ended.code, NOT_RUN);
    assert_eq!(
        ended.stderr,
        "open directory \"/nonexistent/dir\" for the guest's \"/data\": No such file or directory (os error 2)"
    );
}

/// WAMR would wake a sleeping guest every second, and spin where the end is a point in time.
#[test]
fn sleeping_costs_no_wakeups() {
    let Some(wasm) = c(r#"
        #include <time.h>
        int main(void) {
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_sec += 1;
            if (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, 0)) return 1;
            struct timespec then = until, span = { 2, 100000000 };
            if (nanosleep(&span, 0)) return 2;
            clock_gettime(CLOCK_REALTIME, &until);
            long ms = (until.tv_sec - then.tv_sec) * 1000 + (until.tv_nsec - then.tv_nsec) / 1000000;
            return ms >= 2100 && ms < 3000 ? 0 : 3;
        }"#)
    else {
        return;
    };
    let ended = in_child(|| {
        let switches = || {
            // SAFETY: all-zero is a valid rusage, and the call fills it.
            unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                libc::getrusage(libc::RUSAGE_SELF, &mut usage);
                usage.ru_nvcsw
            }
        };
        let before = switches();
        let code = Guest::new(&wasm).run_here();
        assert!(switches() - before <= 2, "{} wakeups", switches() - before);
        code
    });
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}
