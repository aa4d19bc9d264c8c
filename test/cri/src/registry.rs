//! A read-only image registry: the two requests of the OCI distribution specification that a pull consists of.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use e2e::{Blob, Image};

/// Content by what stands behind `/v2/NAME/` in a request: `manifests/TAG`, `manifests/DIGEST`, `blobs/DIGEST`.
type Content = HashMap<String, Blob>;

/// Serves the images it was given, until the process ends.
#[derive(Debug, Clone)]
pub struct Registry {
    content: Arc<Mutex<Content>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// Serves on a listener.
    pub fn serve(listener: TcpListener) -> Registry {
        let registry = Registry { content: Arc::default(), asked: Arc::default() };
        let this = registry.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let this = this.clone();
                std::thread::spawn(move || this.answer_all(connection));
            }
        });
        registry
    }

    /// Adds an image under its name.
    pub fn add(&self, image: &Image) {
        let contents = image.contents();
        let (_, path) = image.name().split_once('/').expect("image names begin with a host");
        let (repository, tag) = path.rsplit_once(':').expect("image names end with a tag");
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in contents.blobs {
            let kind = if blob.media_type.ends_with("layer.v1.tar") || blob.media_type.contains("config") {
                "blobs"
            } else {
                "manifests"
            };
            if contents.top["digest"] == blob.digest.as_str() {
                content.insert(format!("{repository}/manifests/{tag}"), blob.clone());
            }
            content.insert(format!("{repository}/{kind}/{}", blob.digest), blob);
        }
    }

    /// Paths asked for so far by GET, without `/v2/`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers the requests of one connection, as many as come (RFC 9112).
    fn answer_all(&self, connection: TcpStream) {
        let Ok(mut answers) = connection.try_clone() else { return };
        let mut requests = BufReader::new(connection).lines();
        while let Some(Ok(request)) = requests.next() {
            // Headers end with an empty line; what is asked has no body.
            while requests.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let mut words = request.split(' ');
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let path = target.split('?').next().unwrap_or_default();
            if self.answer(&mut answers, method, path).is_err() {
                return;
            }
        }
    }

    fn answer(&self, to: &mut TcpStream, method: &str, path: &str) -> std::io::Result<()> {
        if path == "/v2/" {
            return to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        let wanted = path.strip_prefix("/v2/").unwrap_or_default();
        if method == "GET" {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(wanted.to_owned());
        }
        let blob = self.content.lock().unwrap_or_else(PoisonError::into_inner).get(wanted).cloned();
        let Some(Blob { digest, media_type, bytes }) = blob else {
            return to.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        };
        write!(
            to,
            "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nDocker-Content-Digest: {digest}\r\n\r\n",
            bytes.len()
        )?;
        if method == "GET" { to.write_all(&bytes) } else { Ok(()) }
    }
}
