//! Accepting connections on a host that may run out of descriptors.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Sleep;

/// Until the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// The connections of a listener. Whoever cannot be accepted waits, and is accepted once it is possible: asked again at
/// once, the kernel would say the same, many thousand times a second.
#[derive(Debug)]
pub struct Patient {
    listener: UnixListener,
    pause: Option<Pin<Box<Sleep>>>,
    /// Told once per shortage.
    told: bool,
}

impl Patient {
    /// Of a listener.
    pub fn new(listener: UnixListener) -> Patient {
        Patient { listener, pause: None, told: false }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<UnixStream> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(context)) {
                Ok((stream, _)) => {
                    self.told = false;
                    return Poll::Ready(stream);
                }
                Err(e) => {
                    if !std::mem::replace(&mut self.told, true) {
                        log::error!("accept a connection of containerd's: {e}; it waits");
                    }
                    self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
                }
            }
        }
    }
}

impl Stream for Patient {
    type Item = io::Result<UnixStream>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<UnixStream>>> {
        self.get_mut().poll(context).map(|stream| Some(Ok(stream)))
    }
}
