//! Why a spec is refused, in words that lead to the line to change.

use std::fmt::Display;

/// A container that can not be made as its `config.json` asks.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// No OCI runtime spec at all, or a value of the wrong type.
    #[error("config.json is not a valid OCI runtime spec: {why}{near}")]
    Json {
        /// What the parser met.
        why: serde_json::Error,
        /// The text just before it; empty when unknown.
        near: String,
    },
    /// A field that must be there.
    #[error("config.json: {field} is missing: {advice}")]
    Missing {
        /// Path of the field.
        field: String,
        /// What to do.
        advice: &'static str,
    },
    /// A value that makes no sense whatever runs the container.
    #[error("config.json: {field} is {value:?}: {why}")]
    Invalid {
        /// Path of the field.
        field: String,
        /// The value found.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// A valid value that this runtime does not honour.
    #[error("config.json: {field} ({value:?}) is not supported: {advice}")]
    Unsupported {
        /// Path of the field.
        field: String,
        /// The value found.
        value: String,
        /// What to do.
        advice: &'static str,
    },
}

pub(super) type Result<T> = std::result::Result<T, SpecError>;

impl SpecError {
    /// Path of the field at fault, as `linux.namespaces[3].type`; none when the text itself could not be read.
    pub fn field(&self) -> Option<&str> {
        match self {
            SpecError::Json { .. } => None,
            SpecError::Missing { field, .. }
            | SpecError::Invalid { field, .. }
            | SpecError::Unsupported { field, .. } => Some(field),
        }
    }

    pub(super) fn missing(field: impl Into<String>, advice: &'static str) -> SpecError {
        SpecError::Missing { field: field.into(), advice }
    }

    pub(super) fn invalid(
        field: impl Into<String>,
        value: impl Display,
        why: impl Into<String>,
    ) -> SpecError {
        SpecError::Invalid { field: field.into(), value: value.to_string(), why: why.into() }
    }

    pub(super) fn unsupported(
        field: impl Into<String>,
        value: impl Display,
        advice: &'static str,
    ) -> SpecError {
        SpecError::Unsupported { field: field.into(), value: value.to_string(), advice }
    }
}

/// Reads JSON; an error shows the text before it, because containerd writes the whole spec in one line.
pub(super) fn parse<'a, T: serde::Deserialize<'a>>(json: &'a [u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|why| {
        let start = json.split_inclusive(|b| *b == b'\n').take(why.line().saturating_sub(1));
        let at = start.map(<[u8]>::len).sum::<usize>() + why.column();
        let before = json.get(at.saturating_sub(48)..at.min(json.len())).unwrap_or_default();
        let near = match String::from_utf8_lossy(before).trim() {
            "" => String::new(),
            text => format!(", after `{text}`"),
        };
        SpecError::Json { why, near }
    })
}
