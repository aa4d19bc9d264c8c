//! An image's layers as one root: overlay file systems of any depth, whatever the kernel's limits on option
//! strings.
//!
//! `fsconfig(2)` takes 255 bytes per value but, since Linux 6.5, layers one by one (`lowerdir+`).
//! `mount(2)` takes one page for all options together.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use crate::Error;
use crate::detached::{NewFilesystem, mount_at, name_only};
use crate::error::Step;
use crate::mount_options::MountOptions;

/// Longest value of one `fsconfig(2)` parameter, in bytes.
const VALUE_LIMIT: usize = 255;

/// The overlay as a detached mount, never attached anywhere.
pub(crate) fn detached(options: &MountOptions) -> Result<OwnedFd, Error> {
    let mut overlay = NewFilesystem::open("overlay", "overlay")?;
    for (key, value) in &options.data {
        match value {
            Some(layers) if key == "lowerdir" && layers.len() > VALUE_LIMIT => {
                for layer in split_layers(layers) {
                    overlay.set("lowerdir+", Some(&layer))?;
                }
            }
            value => overlay.set(key, value.as_deref())?,
        }
    }
    overlay.mount(options)
}

/// The overlay by `mount(2)`, on the host's directory `target`.
pub(crate) fn attached(target: &Path, options: &MountOptions) -> Result<(), Error> {
    let plain = option_string(options, str::to_owned);
    if plain.len() < rustix::param::page_size() {
        return mount_at(target, "overlay", "overlay", options, &plain);
    }
    // A descriptor's name is shorter than any snapshot's path, and a server of many threads cannot change
    // its directory to shorten them otherwise.
    let mut layers = Vec::new();
    let mut refused = None;
    let short = option_string(options, |lowerdir| {
        let mut names = Vec::new();
        for layer in split_layers(lowerdir) {
            match name_only(Path::new(&layer)).step(|| format!("open the image layer {layer}")) {
                Ok(fd) => {
                    names.push(format!("/proc/self/fd/{}", fd.as_raw_fd()));
                    layers.push(fd);
                }
                Err(e) => refused = Some(e),
            }
        }
        names.join(":")
    });
    match refused {
        Some(error) => Err(error),
        None => mount_at(target, "overlay", "overlay", options, &short),
    }
}

fn option_string(options: &MountOptions, mut lowerdir: impl FnMut(&str) -> String) -> String {
    let words: Vec<String> = options
        .data
        .iter()
        .map(|(key, value)| match value {
            Some(layers) if key == "lowerdir" => format!("lowerdir={}", lowerdir(layers)),
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        })
        .collect();
    words.join(",")
}

/// Splits at colons; a backslash takes the meaning from the character behind it.
fn split_layers(lowerdir: &str) -> Vec<String> {
    let mut layers = vec![String::new()];
    let mut characters = lowerdir.chars();
    while let Some(c) = characters.next() {
        match (c, layers.last_mut()) {
            (':', _) => layers.push(String::new()),
            ('\\', Some(layer)) => layer.extend(characters.next()),
            (c, Some(layer)) => layer.push(c),
            (_, None) => {}
        }
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_split_at_bare_colons_only() {
        assert_eq!(split_layers("/a:/b"), ["/a", "/b"]);
        assert_eq!(split_layers(r"/a\:1:/b\\c"), ["/a:1", r"/b\c"]);
    }
}
