//! What the host's security modules and its out-of-memory killer are told about the process: files below
//! `/proc/self` that a process can only write for itself.

use std::os::fd::BorrowedFd;

use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat};
use rustix::io::Errno;

use crate::{Error, error::Step};

/// Sets `oom_score_adj`. Lowering it takes CAP_SYS_RESOURCE; a server without it leaves the process more
/// likely to be killed than asked for, and says so. `proc_dir` is a proc file system of this process's pid namespace.
///
/// # Errors
/// [`Error::Kernel`].
pub fn set_oom_score_adj(
    proc_dir: BorrowedFd<'_>,
    value: i32,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    match write(proc_dir, "self/oom_score_adj", &value.to_string()) {
        Err(Errno::ACCESS | Errno::PERM) => {
            warnings.push(format!("oom_score_adj {value} is below the server's own, which is kept"));
            Ok(())
        }
        done => done.step(|| format!("set oom_score_adj to {value}")),
    }
}

/// Changes the AppArmor profile of this process at once; there is no exec to wait for.
pub(crate) fn change_apparmor_profile(proc_dir: BorrowedFd<'_>, profile: &str) -> Result<(), Error> {
    if matches!(profile, "" | "unconfined") {
        return Ok(());
    }
    apparmor(proc_dir, "current", "changeprofile", profile)
}

/// Makes the next `execve` of this process enter an AppArmor profile.
///
/// # Errors
/// [`Error::Label`].
pub fn set_apparmor_on_exec(proc_dir: BorrowedFd<'_>, profile: &str) -> Result<(), Error> {
    apparmor(proc_dir, "exec", "exec", profile)
}

fn apparmor(proc_dir: BorrowedFd<'_>, file: &str, command: &str, profile: &str) -> Result<(), Error> {
    let command = format!("{command} {profile}");
    let done = match write(proc_dir, &format!("self/attr/apparmor/{file}"), &command) {
        // Before Linux 5.8 there is only the file that all modules share.
        Err(Errno::NOENT) => write(proc_dir, &format!("self/attr/{file}"), &command),
        done => done,
    };
    done.map_err(|errno| {
        let directory = "self/attr/apparmor";
        let enabled = accessat(proc_dir, directory, Access::EXISTS, AtFlags::empty()).is_ok();
        let reason = match errno {
            Errno::NOENT if enabled => "not loaded on this host: load it with apparmor_parser".to_owned(),
            Errno::NOENT | Errno::INVAL => {
                "AppArmor is not enabled on this host: take the profile out of the spec".to_owned()
            }
            errno => format!("cannot change to it: {errno}"),
        };
        Error::Label { module: "AppArmor", label: profile.to_owned(), reason }
    })
}

/// Makes the next `execve` of this process enter an SELinux context (setexeccon(3)).
///
/// # Errors
/// [`Error::Label`].
pub fn set_selinux_on_exec(proc_dir: BorrowedFd<'_>, label: &str) -> Result<(), Error> {
    write(proc_dir, "self/attr/exec", label).map_err(|errno| {
        let reason = format!("cannot be entered: {errno} (is SELinux enabled on this host?)");
        Error::Label { module: "SELinux", label: label.to_owned(), reason }
    })
}

/// Changes the SELinux context of this process at once (setcon(3)); the policy has to allow the server's
/// domain `setcurrent` and `dyntransition`.
pub(crate) fn change_selinux_context(proc_dir: BorrowedFd<'_>, label: &str) -> Result<(), Error> {
    if label.is_empty() {
        return Ok(());
    }
    write(proc_dir, "self/attr/current", label).map_err(|errno| {
        let reason = match errno {
            Errno::NOENT => "SELinux is not enabled on this host: take the label out of the spec".to_owned(),
            Errno::INVAL => "SELinux is not enabled on this host or does not know the label".to_owned(),
            Errno::ACCESS => {
                "the policy does not let the shim change to it (setcurrent, dyntransition)".to_owned()
            }
            errno => format!("cannot change to it: {errno}"),
        };
        Error::Label { module: "SELinux", label: label.to_owned(), reason }
    })
}

fn write(proc_dir: BorrowedFd<'_>, path: &str, value: &str) -> rustix::io::Result<()> {
    let file = rustix::fs::openat(proc_dir, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value.as_bytes()).map(drop)
}
