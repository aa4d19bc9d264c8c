//! The API server, asked through `kubectl proxy` on a Unix socket, which adds what TLS and tokens need.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A client of the cluster's API server.
#[derive(Debug, Clone)]
pub struct Api {
    socket: PathBuf,
}

impl Api {
    pub(crate) fn new(socket: &Path) -> Api {
        Api { socket: socket.to_owned() }
    }

    /// What is at a path, such as `/api/v1/nodes`; None if nothing is.
    ///
    /// # Panics
    /// On any answer but success and "not found".
    pub fn get(&self, path: &str) -> Option<Value> {
        match self.ask("GET", path, None).expect("the API server answers") {
            (200, body) => Some(serde_json::from_str(&body).expect("the API speaks JSON")),
            (404, _) => None,
            (status, body) => panic!("GET {path}: {status} {body}"),
        }
    }

    /// Makes an object.
    ///
    /// # Panics
    /// When the server does not take it.
    pub fn create(&self, path: &str, object: &Value) -> Value {
        let (status, body) = self.ask("POST", path, Some(object)).expect("the API server answers");
        assert_eq!(status, 201, "POST {path}: {body}");
        serde_json::from_str(&body).expect("the API speaks JSON")
    }

    /// Takes an object in place of the one that is there.
    ///
    /// # Panics
    /// When the server does not take it.
    pub fn replace(&self, path: &str, object: &Value) {
        let (status, body) = self.ask("PUT", path, Some(object)).expect("the API server answers");
        assert_eq!(status, 200, "PUT {path}: {body}");
    }

    /// Deletes what is at a path. Whether it was there.
    ///
    /// # Panics
    /// On any answer but success and "not found".
    pub fn delete(&self, path: &str) -> bool {
        let (status, body) = self.ask("DELETE", path, None).expect("the API server answers");
        assert!([200, 202, 404].contains(&status), "DELETE {path}: {status} {body}");
        status != 404
    }

    /// Status code and body of one request.
    ///
    /// # Errors
    /// When the server does not answer.
    // HTTP/1.0, so that the end of the body is the end of the stream.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(crate::PATIENCE))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        let kind = "Content-Type: application/json";
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("not HTTP: {head:?}")))?;
        Ok((status, body.to_owned()))
    }
}
