//! Serves with nothing but the standard library, on the listener it was given: answers as many connections as its
//! argument says, each with what it was sent, in capitals.
#![feature(wasi_ext)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::wasi::io::FromRawFd;

fn main() {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    assert_eq!(number("LISTEN_FDS"), Some(1));
    let count = std::env::args().nth(1).unwrap().parse().unwrap();
    // SAFETY: it was handed over for this, and nobody else has it.
    let listener = unsafe { TcpListener::from_raw_fd(number("LISTEN_FDS_FIRST_FD").unwrap()) };
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody has come yet");
    listener.set_nonblocking(false).unwrap();
    println!("serving");
    for stream in listener.incoming().take(count) {
        let mut stream = stream.unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        stream.write_all(line.to_uppercase().as_bytes()).unwrap();
    }
}
