//! A unix socket's stand-in, which can be taken away and put back.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Hands on what arrives at the path where a server's socket was. Whoever listens behind it notices nothing.
#[derive(Debug)]
pub struct Relay {
    path: PathBuf,
    behind: PathBuf,
    serving: Option<Serving>,
}

#[derive(Debug)]
struct Serving {
    over: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<UnixStream>>>,
    thread: JoinHandle<()>,
}

impl Relay {
    /// Takes the place of the socket at `path`, which is renamed.
    pub fn before(path: &Path) -> Relay {
        let behind = path.with_extension("behind");
        std::fs::rename(path, &behind).expect("move a socket");
        let mut relay = Relay { path: path.to_owned(), behind, serving: None };
        relay.restore();
        relay
    }

    /// Ends every connection; new ones are refused.
    pub fn cut(&mut self) {
        let Some(serving) = self.serving.take() else { return };
        std::fs::remove_file(&self.path).expect("remove a socket");
        serving.over.store(true, Ordering::Relaxed);
        serving.thread.join().expect("a relay does not panic");
        for stream in serving.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Fails when the other side was faster.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections again.
    pub fn restore(&mut self) {
        let listener = UnixListener::bind(&self.path).expect("listen in a server's place");
        listener.set_nonblocking(true).expect("make a socket non-blocking");
        let (over, open) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<UnixStream>>>::default());
        let thread = std::thread::spawn({
            let (over, open, behind) = (Arc::clone(&over), Arc::clone(&open), self.behind.clone());
            move || {
                while !over.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, _)) => join(stream, &behind, &open),
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            }
        });
        self.serving = Some(Serving { over, open, thread });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
    }
}

fn join(near: UnixStream, behind: &Path, open: &Mutex<Vec<UnixStream>>) {
    near.set_nonblocking(false).expect("make a socket blocking");
    let far = UnixStream::connect(behind).expect("connect to the server behind a relay");
    let copy = |stream: &UnixStream| stream.try_clone().expect("copy a socket");
    open.lock().unwrap_or_else(PoisonError::into_inner).extend([copy(&near), copy(&far)]);
    for (from, to) in [(copy(&near), copy(&far)), (far, near)] {
        std::thread::spawn(move || hand_on(from, to));
    }
}

fn hand_on(mut from: UnixStream, mut to: UnixStream) {
    let mut buffer = [0; 1 << 14];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
