//! What a file is, told by its first bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes looked at.
const HEAD: usize = 4096;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A core wasm module: what is run.
    CoreModule,
    /// A component (WASI preview 2 and later): layer 1 of the binary format.
    Component,
    /// Starts like wasm, in a version this engine does not know.
    OtherVersion(u32),
    /// Starts like wasm but ends before the version.
    Truncated,
    /// Machine code made by WAMR's compiler.
    Aot,
    /// Wasm as text.
    Wat,
    /// A native Linux program.
    Elf,
    /// A script with an interpreter line.
    Script,
    /// No bytes at all.
    Empty,
    /// None of these.
    Unknown,
}

impl Kind {
    /// Looks at the first 4 KiB; the file's position does not matter and is not changed.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn of(file: &File) -> io::Result<Kind> {
        let mut head = [0; HEAD];
        let mut length = 0;
        while let Some(rest) = head.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, length as u64) {
                Ok(0) => break,
                Ok(n) => length += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Kind::of_head(head.get(..length).unwrap_or_default()))
    }

    /// What a file that starts with these bytes is.
    pub fn of_head(head: &[u8]) -> Kind {
        match head {
            [] => Kind::Empty,
            // The core binary format's version is four bytes; the component model splits them into a version
            // and a layer, and keeps layer 0 for core modules.
            [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Kind::CoreModule,
            [0, b'a', b's', b'm', _, _, 1, 0, ..] => Kind::Component,
            [0, b'a', b's', b'm', a, b, c, d, ..] => Kind::OtherVersion(u32::from_le_bytes([*a, *b, *c, *d])),
            [0, b'a', b's', b'm', ..] => Kind::Truncated,
            [0, b'a', b'o', b't', ..] => Kind::Aot,
            [0x7f, b'E', b'L', b'F', ..] => Kind::Elf,
            [b'#', b'!', ..] => Kind::Script,
            _ if is_wat(head) => Kind::Wat,
            _ => Kind::Unknown,
        }
    }

    /// Why such a file is not run and what to do about it; the rest of a sentence that starts with its name.
    pub fn refusal(self) -> String {
        let words = match self {
            Kind::CoreModule => "is a core wasm module",
            Kind::Component => {
                "is a wasm component (WASI preview 2 or later), which this engine cannot run; build it as a preview 1 \
                 core module (target wasm32-wasip1)"
            }
            Kind::OtherVersion(version) => {
                return format!("is wasm of binary format version {version}; only version 1 can be run");
            }
            Kind::Truncated => "is cut off after the first bytes of a wasm module; build or copy it again",
            Kind::Aot => {
                "is compiled machine code (.aot); native code from an image is never loaded. Ship the .wasm it was made \
                 from: it is compiled on the node"
            }
            Kind::Wat => "is wasm as text; translate it with wat2wasm and ship the .wasm",
            Kind::Elf => "is a native Linux program where a wasm module is expected",
            Kind::Script => "is a script where a wasm module is expected; name the .wasm file itself",
            Kind::Empty => "is empty; build or copy the module again",
            Kind::Unknown => "is no wasm module: it does not start with the bytes 00 61 73 6d",
        };
        words.to_owned()
    }
}

/// Whether text starts, after white space and comments, with `(module` or `(component`.
fn is_wat(text: &[u8]) -> bool {
    let mut rest = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut depth = 0_usize;
    loop {
        rest = match rest {
            [b'(', b';', tail @ ..] => {
                depth += 1;
                tail
            }
            [b';', b')', tail @ ..] if depth > 0 => {
                depth -= 1;
                tail
            }
            [_, tail @ ..] if depth > 0 => tail,
            [b' ' | b'\t' | b'\r' | b'\n', tail @ ..] => tail,
            [b';', b';', ..] => {
                let Some(end) = rest.iter().position(|b| *b == b'\n') else { return false };
                rest.get(end..).unwrap_or_default()
            }
            [b'(', tail @ ..] => {
                let word = tail.trim_ascii_start();
                return [&b"module"[..], b"component"].iter().any(|keyword| {
                    let after = word.strip_prefix(*keyword);
                    after.is_some_and(|after| !after.first().is_some_and(u8::is_ascii_alphanumeric))
                });
            }
            _ => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_what_a_file_is() {
        let long_comment = format!(";; {}\n(module)", "x".repeat(2000));
        let cases: &[(&[u8], Kind)] = &[
            (b"", Kind::Empty),
            (b"\0asm\x01\0\0\0", Kind::CoreModule),
            (b"\0asm\x01\0\0\0\x01\x04", Kind::CoreModule),
            (b"\0asm\x0d\0\x01\0", Kind::Component),
            (b"\0asm\x0a\0\x01\0", Kind::Component),
            (b"\0asm\x02\0\0\0", Kind::OtherVersion(2)),
            (b"\0asm", Kind::Truncated),
            (b"\0asm\x01\0\0", Kind::Truncated),
            (b"\0as", Kind::Unknown),
            (b"\0aot\x05\0\0\0", Kind::Aot),
            (b"\x7fELF\x02", Kind::Elf),
            (b"#!/bin/sh\n", Kind::Script),
            (b"(module)", Kind::Wat),
            (b"\xef\xbb\xbf\r\n\t ( module $m", Kind::Wat),
            (b"(; a (; nested ;) comment ;) ;; and a line\n(component)", Kind::Wat),
            (long_comment.as_bytes(), Kind::Wat),
            (b"(modules)", Kind::Unknown),
            (b"(; never closed", Kind::Unknown),
            (b";; only a comment", Kind::Unknown),
            (b"(", Kind::Unknown),
            (b"MZ\x90", Kind::Unknown),
        ];
        for (head, kind) in cases {
            assert_eq!(Kind::of_head(head), *kind, "{:?}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn every_refusal_says_why_in_one_sentence_after_the_name() {
        for kind in
            [Kind::Component, Kind::Aot, Kind::Wat, Kind::Elf, Kind::Script, Kind::Empty, Kind::Unknown]
        {
            assert!(kind.refusal().starts_with("is "), "{kind:?}");
        }
    }
}
