//! Who a joined process is and what it may do.

use libcontainer::capabilities::CapabilityExt;
use oci_spec::runtime::{Capabilities, PosixRlimitType, Process, User};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// Capability sets and the flag that keeps them from growing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Powers {
    pub no_new_privs: bool,
    bounding: CapabilitySet,
    effective: CapabilitySet,
    permitted: CapabilitySet,
    inheritable: CapabilitySet,
    ambient: CapabilitySet,
}

impl Powers {
    /// Of a process that can do nothing and cannot change that.
    pub(crate) fn none() -> Powers {
        let none = CapabilitySet::empty();
        Powers {
            no_new_privs: true,
            bounding: none,
            effective: none,
            permitted: none,
            inheritable: none,
            ambient: none,
        }
    }

    /// As the spec has it. A set that is not there is empty.
    pub(crate) fn of(process: &Process) -> Powers {
        let set = |given: Option<&Capabilities>| {
            let bits = given.into_iter().flatten().map(|capability| 1 << capability.to_cap().index());
            CapabilitySet::from_bits_retain(bits.fold(0, |all, bit: u64| all | bit))
        };
        let given = process.capabilities().as_ref();
        Powers {
            no_new_privs: process.no_new_privileges().unwrap_or(false),
            bounding: set(given.and_then(|sets| sets.bounding().as_ref())),
            effective: set(given.and_then(|sets| sets.effective().as_ref())),
            permitted: set(given.and_then(|sets| sets.permitted().as_ref())),
            inheritable: set(given.and_then(|sets| sets.inheritable().as_ref())),
            ambient: set(given.and_then(|sets| sets.ambient().as_ref())),
        }
    }
}

/// Drops what is not in the bounding set. Before the user changes: it takes a capability.
pub(crate) fn drop_bounding(powers: &Powers) -> Result<(), String> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if powers.bounding.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no more.
            Err(Errno::INVAL) if number > 0 => break,
            Err(e) => return Err(format!("drop capability {number} from the bounding set: {e}")),
        }
    }
    Ok(())
}

/// No program the process executes gains anything.
pub(crate) fn no_new_privs() -> Result<(), String> {
    rustix::thread::set_no_new_privs(true).map_err(|e| format!("set no_new_privs: {e}"))
}

/// Becomes the user and keeps exactly these powers.
pub(crate) fn become_user(user: &User, powers: &Powers) -> Result<(), String> {
    set_keep_capabilities(true).map_err(|e| format!("keep capabilities: {e}"))?;
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups).map_err(|e| format!("set the supplementary groups: {e}"))?;
    let gid = Gid::from_raw(user.gid());
    set_thread_res_gid(gid, gid, gid).map_err(|e| format!("become group {}: {e}", user.gid()))?;
    let uid = Uid::from_raw(user.uid());
    set_thread_res_uid(uid, uid, uid).map_err(|e| format!("become user {}: {e}", user.uid()))?;
    set_keep_capabilities(false).map_err(|e| format!("keep capabilities: {e}"))?;
    if let Some(umask) = user.umask() {
        rustix::process::umask(Mode::from_raw_mode(umask));
    }
    let sets = CapabilitySets {
        effective: powers.effective,
        permitted: powers.permitted,
        inheritable: powers.inheritable,
    };
    set_capabilities(None, sets).map_err(|e| format!("set the capabilities {:?}: {e}", powers.permitted))?;
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if powers.ambient.contains(capability) {
            configure_capability_in_ambient_set(capability, true)
                .map_err(|e| format!("raise ambient capability {number}: {e}"))?;
        }
    }
    Ok(())
}

/// (`RLIMIT_*` number, soft, hard), as `asm-generic/resource.h` numbers them.
pub(crate) fn rlimits(process: &Process) -> Vec<(u32, u64, u64)> {
    let limits = process.rlimits().iter().flatten();
    limits.map(|limit| (number(limit.typ()), limit.soft(), limit.hard())).collect()
}

fn number(kind: PosixRlimitType) -> u32 {
    use PosixRlimitType as T;
    match kind {
        T::RlimitCpu => 0,
        T::RlimitFsize => 1,
        T::RlimitData => 2,
        T::RlimitStack => 3,
        T::RlimitCore => 4,
        T::RlimitRss => 5,
        T::RlimitNproc => 6,
        T::RlimitNofile => 7,
        T::RlimitMemlock => 8,
        T::RlimitAs => 9,
        T::RlimitLocks => 10,
        T::RlimitSigpending => 11,
        T::RlimitMsgqueue => 12,
        T::RlimitNice => 13,
        T::RlimitRtprio => 14,
        T::RlimitRttime => 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_capability_sets_has_none() {
        let process: Process = serde_json::from_str(
            r#"{"cwd":"/","user":{"uid":0,"gid":0},"capabilities":{"bounding":["CAP_KILL"]}}"#,
        )
        .unwrap();
        let powers = Powers::of(&process);
        assert_eq!(powers, Powers { no_new_privs: false, bounding: CapabilitySet::KILL, ..Powers::none() });
        let process: Process = serde_json::from_str(r#"{"cwd":"/","user":{"uid":0,"gid":0}}"#).unwrap();
        assert_eq!(Powers::of(&process), Powers { no_new_privs: false, ..Powers::none() });
    }
}
