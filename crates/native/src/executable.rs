//! From a process's first argument to the file that is executed, as `execvp` would find it.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Looks for the program and checks that the present user may execute it. Runs inside the container, as its user.
pub(crate) fn find(args0: &str, path: Option<&str>) -> Result<PathBuf, String> {
    if args0.contains('/') {
        let path = PathBuf::from(args0);
        return check(&path).map(|()| path).map_err(|why| format!("exec {args0:?}: {why}"));
    }
    let mut denied = None;
    for directory in path.unwrap_or_default().split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(args0);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(why) if candidate.exists() => denied = Some(format!("exec {:?}: {why}", candidate.display())),
            Err(_) => {}
        }
    }
    Err(denied.unwrap_or_else(|| format!("exec {args0:?}: executable file not found in $PATH")))
}

fn check(path: &Path) -> Result<(), String> {
    let words = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => e.to_string(),
    };
    if path.metadata().map_err(words)?.is_dir() {
        return Err("is a directory".to_owned());
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(|e| words(e.into()))
}

/// The last value of a variable in a list of `NAME=value`.
pub(crate) fn variable<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// Adds `HOME` as the container's `/etc/passwd` has it where the spec names none, as `runc` does. Runs inside the container.
pub(crate) fn add_home(env: &mut Vec<String>, uid: u32) {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    default_home(env, home_of(&passwd, uid).unwrap_or("/"));
}

/// Adds `HOME` where there is none.
pub(crate) fn default_home(env: &mut Vec<String>, home: &str) {
    if !names_home(env) {
        env.retain(|entry| entry != "HOME=");
        env.push(format!("HOME={home}"));
    }
}

/// Whether a list of variables names a home directory.
pub fn names_home(env: &[String]) -> bool {
    variable(env, "HOME").is_some_and(|home| !home.is_empty())
}

/// passwd(5): `name:password:uid:gid:comment:home:shell`.
fn home_of(passwd: &str, uid: u32) -> Option<&str> {
    let mut lines = passwd.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| (fields.nth(2)?.parse() == Ok(uid)).then(|| fields.nth(2)).flatten())
}

/// Replaces this process. Returns only with the reason why not.
pub(crate) fn execute(program: &Path, args: &[String], env: &[String]) -> String {
    let strings =
        |list: &[String]| list.iter().map(|text| CString::new(text.as_str())).collect::<Result<Vec<_>, _>>();
    let (Ok(path), Ok(args), Ok(env)) =
        (CString::new(program.as_os_str().as_encoded_bytes()), strings(args), strings(env))
    else {
        return format!("exec {:?}: an argument or a variable holds a NUL byte", program.display());
    };
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&args), pointers(&env));
    // Rust's runtime ignores it in every program, and what is ignored stays so in the next one: `yes | head` would never end.
    // SAFETY: the default disposition, in a process of one thread.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: a path and two null-terminated arrays of strings, all of which outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    let error = io::Error::last_os_error();
    let why = match error.raw_os_error() {
        Some(libc::ENOEXEC) => {
            "exec format error: it is a program for another machine, or no program".to_owned()
        }
        Some(libc::ENOENT) => "no such file, or its interpreter is not in the image".to_owned(),
        _ => error.to_string(),
    };
    format!("exec {:?}: {why}", program.display())
}

/// In the order in which it was given, which a map has lost.
pub(crate) fn in_order(env: HashMap<String, String>, given: &[String]) -> Vec<String> {
    let mut rest = env;
    let mut ordered = Vec::new();
    for entry in given {
        let name = entry.split('=').next().unwrap_or_default();
        if let Some(value) = rest.remove(name) {
            ordered.push(format!("{name}={value}"));
        }
    }
    ordered.extend(rest.into_iter().map(|(name, value)| format!("{name}={value}")));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_looked_for_along_path_and_a_path_is_taken_as_it_is() {
        assert_eq!(find("sh", Some("/nonexistent:/bin")).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("/bin/sh", None).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("sh", None).unwrap_err(), "exec \"sh\": executable file not found in $PATH");
        assert_eq!(
            find("/nonexistent/x", None).unwrap_err(),
            "exec \"/nonexistent/x\": no such file or directory"
        );
        assert_eq!(find("/bin", None).unwrap_err(), "exec \"/bin\": is a directory");
        assert_eq!(find("/etc/passwd", None).unwrap_err(), "exec \"/etc/passwd\": permission denied");
    }

    #[test]
    fn home_is_found_by_user_id() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nme:x:1000:1000::/home/me:/bin/sh\n";
        assert_eq!(home_of(passwd, 0), Some("/root"));
        assert_eq!(home_of(passwd, 1000), Some("/home/me"));
        assert_eq!(home_of(passwd, 7), None);
        let mut env = vec!["HOME=".to_owned(), "A=1".to_owned()];
        default_home(&mut env, "/");
        assert_eq!(env, ["A=1", "HOME=/"]);
        default_home(&mut env, "/root");
        assert_eq!(env, ["A=1", "HOME=/"], "what is given stays");
    }

    #[test]
    fn the_environment_keeps_its_order_and_what_was_added_comes_last() {
        let env =
            HashMap::from([("B".into(), "2".into()), ("A".into(), "1".into()), ("HOME".into(), "/".into())]);
        assert_eq!(in_order(env, &["B=0".into(), "A=1".into()]), ["B=2", "A=1", "HOME=/"]);
        assert_eq!(variable(&["PATH=/a".into(), "PATH=/b".into()], "PATH"), Some("/b"));
    }
}
