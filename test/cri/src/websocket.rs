//! A WebSocket client (RFC 6455), as far as containerd's streaming server needs one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// Any 16 bytes in Base64; the server's answer to them is of interest to proxies only.
const KEY: &str = "d2FtciBjcmkgdGVzdHMhIQ==";

/// Kinds of frames.
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The half that sends.
#[derive(Debug)]
pub struct Sender(TcpStream);

/// The half that receives.
#[derive(Debug)]
pub struct Receiver {
    from: BufReader<TcpStream>,
    pongs: Sender,
}

/// Asks for `path` and for the sub-protocol.
///
/// # Errors
/// Of the connection.
///
/// # Panics
/// When the server refuses.
pub fn open(connection: TcpStream, path: &str, protocol: &str) -> std::io::Result<(Sender, Receiver)> {
    let address = connection.peer_addr()?;
    let mut sender = Sender(connection.try_clone()?);
    write!(
        sender.0,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )?;
    let mut from = BufReader::new(connection.try_clone()?);
    let mut answer = String::new();
    while from.read_line(&mut answer)? > 2 {}
    assert!(answer.starts_with("HTTP/1.1 101 "), "no WebSocket at {path}: {answer}");
    Ok((sender, Receiver { from, pongs: Sender(connection) }))
}

impl Sender {
    /// Sends one message.
    ///
    /// # Errors
    /// Of the connection.
    pub fn send(&mut self, message: &[u8]) -> std::io::Result<()> {
        self.frame(BINARY, message)
    }

    /// Says that nothing more will come.
    ///
    /// # Errors
    /// Of the connection.
    pub fn close(&mut self) -> std::io::Result<()> {
        self.frame(CLOSE, &1000u16.to_be_bytes())
    }

    /// Frames of a client are masked, here by zeros, which change nothing.
    fn frame(&mut self, kind: u8, payload: &[u8]) -> std::io::Result<()> {
        let mut frame = vec![0x80 | kind];
        match u16::try_from(payload.len()) {
            Ok(short) if short < 126 => frame.push(0x80 | payload.len() as u8),
            Ok(medium) => {
                frame.push(0x80 | 126);
                frame.extend(medium.to_be_bytes());
            }
            Err(_) => {
                frame.push(0x80 | 127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.0.write_all(&frame)
    }
}

impl Receiver {
    /// The next message; nothing once the server closed or the connection ended.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            let (kind, payload) = self.frame().ok()?;
            match kind {
                CLOSE => return None,
                PING => self.pongs.frame(PONG, &payload).ok()?,
                PONG => {}
                _ => return Some(payload),
            }
        }
    }

    /// One frame. The server does not split messages.
    fn frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let [first, second] = self.bytes()?;
        let length = match second & 0x7f {
            126 => u16::from_be_bytes(self.bytes()?).into(),
            127 => u64::from_be_bytes(self.bytes()?),
            short => short.into(),
        };
        let mut payload = vec![0; length as usize];
        self.from.read_exact(&mut payload)?;
        Ok((first & 0x0f, payload))
    }

    fn bytes<const N: usize>(&mut self) -> std::io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
