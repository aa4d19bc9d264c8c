//! FIFOs, as containerd's clients make them for a container's streams.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{eventually, wait_for};

/// Reads one FIFO from beginning to end.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    bytes: Arc<Mutex<Vec<u8>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Makes the FIFO and begins to read it.
    pub fn new(path: PathBuf) -> Reader {
        make_fifo(&path);
        let flags = libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path).expect("open a FIFO");
        let (bytes, stop) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<AtomicBool>::default());
        let thread = std::thread::spawn({
            let (bytes, stop) = (Arc::clone(&bytes), Arc::clone(&stop));
            move || read_until_end(file, &bytes, &stop)
        });
        Reader { path, bytes, stop, thread: Some(thread) }
    }

    /// Its path.
    pub fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// What came so far.
    pub fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until a text has come.
    pub fn wait_until_it_says(&self, text: &str) {
        eventually(&format!("{text:?} in the container's output"), || self.so_far().contains(text));
    }

    /// Everything, once the last writer closed it.
    pub fn finish(mut self) -> Vec<u8> {
        let thread = self.thread.take().expect("finished once");
        eventually(&format!("the end of {}", self.path.display()), || thread.is_finished());
        thread.join().expect("a reader does not panic");
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn read_until_end(mut file: File, bytes: &Mutex<Vec<u8>>, stop: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        // Before the first writer there is neither input nor hang-up; after the last one there is a hang-up.
        let mut ready = [PollFd::new(&file, PollFlags::IN)];
        let pause = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        if poll(&mut ready, Some(&pause)).unwrap_or(0) == 0 {
            continue;
        }
        match file.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => panic!("read a FIFO: {e}"),
        }
    }
}

/// Makes a FIFO for a container's stdin.
pub fn make_fifo(path: &Path) {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).expect("make a folder of FIFOs");
    }
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    );
    made.unwrap_or_else(|e| panic!("make the FIFO {}: {e}", path.display()));
}

/// Opens a FIFO for writing once somebody reads it. Writes wait while it is full.
pub fn open_for_writing(path: &Path) -> File {
    let file = wait_for(&format!("a reader of {}", path.display()), || {
        OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path).ok()
    });
    // Non-blocking was for the opening only.
    rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::empty()).expect("make a FIFO blocking");
    std::thread::sleep(Duration::ZERO);
    file
}
