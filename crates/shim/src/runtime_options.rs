//! Runtime options as containerd hands them on: `runtimeoptions.v1.Options` with a file or a text.

use protobuf::CodedInputStream;
use protobuf::well_known_types::any::Any;

use crate::error::{Error, Result};

/// Settings text found in the options, if any.
///
/// `runtimeoptions.v1.Options` has three strings: 1 `type_url`, 2 `config_path`, 3 `config_body`; a body wins
/// over a path, as in containerd's own use of it. Options for runc are passed over: tools send them to any runtime.
///
/// # Errors
/// For options of a type this runtime does not know, and for a file that cannot be read.
pub fn text<'a>(options: impl IntoIterator<Item = &'a Any>) -> Result<Option<String>> {
    for option in options {
        match option.type_url.rsplit('/').next().unwrap_or_default() {
            "runtimeoptions.v1.Options" => {
                let (path, body) =
                    decode(&option.value).map_err(|e| Error::Invalid(format!("runtime options: {e}")))?;
                if !body.is_empty() {
                    return Ok(Some(body));
                }
                if !path.is_empty() {
                    let read = std::fs::read_to_string(&path);
                    return read
                        .map(Some)
                        .map_err(|e| Error::Invalid(format!("runtime options: read {path:?}: {e}")));
                }
            }
            "" | "containerd.runc.v1.Options" | "io.containerd.runc.v1.Options" => {}
            // What containerd 2.3 tells every shim beside its options.
            other if other.starts_with("containerd.runtime.") || other.starts_with("runtime.v1.") => {}
            other => {
                let known = "runtimeoptions.v1.Options with ConfigPath or ConfigBody";
                return Err(Error::Invalid(format!(
                    "runtime options of type {other:?} are unknown; use {known}"
                )));
            }
        }
    }
    Ok(None)
}

fn decode(bytes: &[u8]) -> protobuf::Result<(String, String)> {
    let (mut path, mut body) = (String::new(), String::new());
    let mut input = CodedInputStream::from_bytes(bytes);
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        match tag {
            // (field number << 3) | 2, "length-delimited".
            0x12 => path = input.read_string()?,
            0x1a => body = input.read_string()?,
            other => protobuf::rt::skip_field_for_tag(other, &mut input)?,
        }
    }
    Ok((path, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(type_url: &str, fields: &[(u8, &str)]) -> Any {
        let mut value = Vec::new();
        for (number, text) in fields {
            value.extend([number << 3 | 2, text.len() as u8]);
            value.extend(text.as_bytes());
        }
        Any { type_url: type_url.into(), value, ..Any::default() }
    }

    #[test]
    fn a_body_wins_over_a_path() {
        let any = options("runtimeoptions.v1.Options", &[(1, "x"), (2, "/nonexistent"), (3, "a = 1")]);
        assert_eq!(text([&any]).unwrap().as_deref(), Some("a = 1"));
    }

    #[test]
    fn a_path_that_cannot_be_read_is_named() {
        let any = options("runtimeoptions.v1.Options", &[(2, "/nonexistent")]);
        assert!(text([&any]).unwrap_err().to_string().contains("/nonexistent"));
    }

    #[test]
    fn options_for_runc_are_passed_over_and_others_are_not() {
        assert_eq!(text([&options("containerd.runc.v1.Options", &[(1, "x")])]).unwrap(), None);
        assert!(text([&options("some.other.Options", &[])]).is_err());
        assert!(
            text([&Any {
                type_url: "runtimeoptions.v1.Options".into(),
                value: vec![0xff],
                ..Any::default()
            }])
            .is_err()
        );
    }
}
