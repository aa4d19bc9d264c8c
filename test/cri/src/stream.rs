//! Exec, attach and port-forward with streams: what `kubectl` sees of a pod, by Kubernetes' protocol
//! `v4.channel.k8s.io`, in which the first byte of a message says whose it is.

use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use e2e::{Network, eventually};
use serde_json::Value;

use crate::websocket::{self, Sender};

const PROTOCOL: &str = "v4.channel.k8s.io";

/// Channels of a process: stdin to it, the others from it. The last but one tells how it ended.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;

/// What came by each channel.
type Received = [Vec<u8>; 5];

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    sender: Sender,
    received: Arc<Mutex<Received>>,
    reader: JoinHandle<()>,
    /// Where output comes by.
    output: u8,
    /// Bytes to pass over there.
    head: usize,
}

impl Stream {
    /// To a process, by the URL that containerd gave out.
    pub(crate) fn open_process(network: &Network, url: &str) -> Stream {
        Stream::open(network, url, STDOUT, 0)
    }

    /// To a port. The channels' first message is the port's number.
    pub(crate) fn open_ports(network: &Network, url: &str, port: u16) -> Stream {
        let stream = Stream::open(network, url, 0, 2);
        eventually("the port's number", || stream.received()[0].len() >= 2);
        assert_eq!(stream.received()[0][..2], port.to_le_bytes());
        stream
    }

    fn open(network: &Network, url: &str, output: u8, head: usize) -> Stream {
        let (address, path) =
            url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a URL");
        // containerd listens inside the node's network.
        let connection =
            network.enter(|| TcpStream::connect(address)).expect("connect to the streaming server");
        let opened = websocket::open(connection, &format!("/{path}"), PROTOCOL);
        let (sender, mut receiver) = opened.unwrap_or_else(|e| panic!("open {url}: {e}"));
        let received = Arc::<Mutex<Received>>::default();
        let reader = std::thread::spawn({
            let received = Arc::clone(&received);
            move || {
                while let Some(message) = receiver.receive() {
                    let Some((channel, bytes)) = message.split_first() else { continue };
                    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
                    received[usize::from(*channel)].extend(bytes);
                }
            }
        });
        Stream { sender, received, reader, output, head }
    }

    /// Writes to its stdin or port.
    pub fn write(&mut self, bytes: &[u8]) {
        self.send(STDIN, bytes);
    }

    /// Tells the size of the terminal.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.send(RESIZE, format!("{{\"Width\":{columns},\"Height\":{rows}}}").as_bytes());
    }

    fn send(&mut self, channel: u8, bytes: &[u8]) {
        self.sender.send(&[&[channel], bytes].concat()).expect("write to a stream");
    }

    /// What came out so far.
    pub fn output(&self) -> String {
        self.text(self.output, self.head)
    }

    /// What came by stderr so far.
    pub fn errors(&self) -> String {
        self.text(STDERR, 0)
    }

    /// Waits until something has come out.
    pub fn wait_until_it_says(&self, text: &str) {
        eventually(&format!("{text:?} in a stream that says {:?}", self.output()), || {
            self.output().contains(text)
        });
    }

    /// Waits until the far end closes it. Returns the exit code of a process.
    pub fn finish(&self) -> i32 {
        eventually("the end of a stream", || self.reader.is_finished());
        let text = self.text(STATUS, 0);
        let status: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("status {text:?}: {e}"));
        if status["status"] == "Success" {
            return 0;
        }
        let code = status.pointer("/details/causes/0/message").and_then(Value::as_str);
        code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no exit code in {status}"))
    }

    /// Leaves without waiting for anything.
    pub fn close(mut self) {
        // The far end may be gone.
        let _ = self.sender.close();
    }

    fn received(&self) -> Received {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn text(&self, channel: u8, skip: usize) -> String {
        String::from_utf8_lossy(self.received()[usize::from(channel)].get(skip..).unwrap_or_default())
            .into_owned()
    }
}
