//! Option words of an OCI mount, sorted by who understands them: the mount, the file system, or the caller.

use crate::Error;

/// `MOUNT_ATTR_*` of `linux/mount.h`.
pub(crate) mod attribute {
    pub const RDONLY: u64 = 0x0000_0001;
    pub const NOSUID: u64 = 0x0000_0002;
    pub const NODEV: u64 = 0x0000_0004;
    pub const NOEXEC: u64 = 0x0000_0008;
    /// The field that holds one of RELATIME (0), NOATIME and STRICTATIME.
    pub const ATIME: u64 = 0x0000_0070;
    pub const NOATIME: u64 = 0x0000_0010;
    pub const STRICTATIME: u64 = 0x0000_0020;
    pub const NODIRATIME: u64 = 0x0000_0080;
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// Whether mounts that the host makes later below a mount's source are seen in the container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They are not.
    #[default]
    Private,
    /// They are. `shared` asks for this too: the other direction would need a container that can mount,
    /// and with a true share our own mounts below this one would show up on the host.
    FromHost,
}

/// A change of mount attributes, as `mount_setattr(2)` takes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub clear: u64,
}

impl Attributes {
    /// A later word wins over an earlier one.
    fn apply(&mut self, set: u64, clear: u64) {
        self.set = (self.set & !clear) | set;
        self.clear = (self.clear & !set) | clear;
        // The kernel wants the whole field cleared whenever one of its values is set (mount_setattr(2)).
        if (set | clear) & attribute::ATIME != 0 {
            self.clear |= attribute::ATIME;
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The options of one mount, parsed by [`parse_options`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// For the mount itself.
    pub top: Attributes,
    /// For the mount and all below it (`rro`, `rnosuid`, …).
    pub recursive: Attributes,
    /// `private`, `slave`, `shared` and their recursive forms.
    pub propagation: Propagation,
    /// `Some(true)` for `rbind`, `Some(false)` for `bind`.
    pub bind: Option<bool>,
    /// What only the file system understands: (`size`, `Some("64k")`), (`volatile`, `None`).
    pub data: Vec<(String, Option<String>)>,
}

impl MountOptions {
    /// Whether the mount is to be read-only.
    #[must_use]
    pub fn read_only(&self) -> bool {
        (self.top.set | self.recursive.set) & attribute::RDONLY != 0
    }
}

/// Sorts the option words of an OCI mount (runtime-spec, "Mounts").
///
/// As with runc, `ro` on an `rbind` covers the mount named and none below it; `rro` covers all.
///
/// # Errors
/// [`Error::UnsupportedOption`] for id-mapped mounts and `tmpcopyup`.
pub fn parse_options(words: &[String]) -> Result<MountOptions, Error> {
    let mut options = MountOptions::default();
    for word in words {
        match word.as_str() {
            "" | "defaults" => {}
            "bind" => options.bind = Some(options.bind.unwrap_or(false)),
            "rbind" => options.bind = Some(true),
            "private" | "rprivate" | "unbindable" | "runbindable" => {
                options.propagation = Propagation::Private;
            }
            "slave" | "rslave" | "shared" | "rshared" => options.propagation = Propagation::FromHost,
            "idmap" | "ridmap" | "tmpcopyup" | "remount" => {
                return Err(Error::UnsupportedOption(word.clone()));
            }
            word => {
                if let Some((set, clear)) = attribute_word(word) {
                    options.top.apply(set, clear);
                } else if let Some((set, clear)) = word.strip_prefix('r').and_then(attribute_word) {
                    options.recursive.apply(set, clear);
                } else {
                    options.data.push(match word.split_once('=') {
                        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                        None => (word.to_owned(), None),
                    });
                }
            }
        }
    }
    Ok(options)
}

/// What a word sets and clears.
fn attribute_word(word: &str) -> Option<(u64, u64)> {
    use attribute::*;
    Some(match word {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "noatime" => (NOATIME, STRICTATIME),
        // Relative access times are the value zero of the field.
        "relatime" | "atime" | "nostrictatime" | "norelatime" => (0, ATIME),
        "strictatime" => (STRICTATIME, NOATIME),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> MountOptions {
        parse_options(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn words_reach_the_mount_or_the_file_system() {
        let options = parse(&["ro", "nosuid", "rnoexec", "rbind", "rslave"]);
        assert_eq!(options.top.set, attribute::RDONLY | attribute::NOSUID);
        assert_eq!(options.recursive.set, attribute::NOEXEC);
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.propagation, Propagation::FromHost);
        assert!(options.data.is_empty());

        let options = parse(&["size=64k", "mode=1777", "huge", "rro"]);
        let owned = |k: &str, v: Option<&str>| (k.to_owned(), v.map(str::to_owned));
        assert_eq!(
            options.data,
            [owned("size", Some("64k")), owned("mode", Some("1777")), owned("huge", None)]
        );
        assert_eq!(options.recursive.set, attribute::RDONLY);
    }

    #[test]
    fn the_last_word_on_a_matter_wins() {
        let options = parse(&["ro", "rw", "noatime", "relatime"]);
        assert_eq!(options.top, Attributes { set: 0, clear: attribute::RDONLY | attribute::ATIME });
        let options = parse(&["rw", "ro", "strictatime", "noatime"]);
        assert_eq!(options.top.set, attribute::RDONLY | attribute::NOATIME);
        assert_eq!(options.top.clear, attribute::ATIME);
    }

    #[test]
    fn relatime_and_recursive_words_are_not_confused() {
        assert_eq!(parse(&["relatime"]).recursive, Attributes::default());
        assert_eq!(parse(&["rw"]).recursive, Attributes::default());
        assert_eq!(parse(&["rrelatime"]).recursive.clear, attribute::ATIME);
    }

    #[test]
    fn id_mapping_is_refused_by_name() {
        let error = parse_options(&["bind".into(), "ridmap".into()]).unwrap_err();
        assert!(error.to_string().contains("\"ridmap\""), "{error}");
    }
}
