//! A zygote that is there whenever one is needed: started with the server, again after a crash.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use zygote::{Error, ForkDescriptors, ForkRequest, Forked, Zygote};

/// The running image, also when the file it was started from has been replaced meanwhile.
const PROGRAM: &str = "/proc/self/exe";

/// What only the main thread can do: children of any other would be killed when that thread ends.
pub enum Duty {
    /// Start a zygote.
    Spawn(SyncSender<zygote::Result<Zygote>>),
    /// Start another program: containers made by it are the thread's children like those of a zygote.
    Run(Box<dyn FnOnce() + Send>),
    /// End the process.
    End,
}

/// The main thread's side.
pub struct MainThread(Receiver<Duty>);

/// The present zygote.
#[derive(Debug)]
pub struct WarmZygote {
    present: Mutex<Arc<Zygote>>,
    main_thread: Sender<Duty>,
}

impl MainThread {
    /// The duties that arrive at `receiver`.
    pub fn new(receiver: Receiver<Duty>) -> MainThread {
        MainThread(receiver)
    }

    /// Does what is asked until the end.
    pub fn run(self) {
        while let Ok(duty) = self.0.recv() {
            match duty {
                // Nobody waits any more if this fails.
                Duty::Spawn(reply) => drop(reply.send(Zygote::spawn(Path::new(PROGRAM)))),
                Duty::Run(work) => work(),
                Duty::End => return,
            }
        }
    }
}

impl WarmZygote {
    /// Starts the first one. On the main thread, before any other exists.
    ///
    /// # Errors
    /// [`Error::Spawn`].
    pub fn start(main_thread: Sender<Duty>) -> zygote::Result<WarmZygote> {
        let first = Zygote::spawn(Path::new(PROGRAM))?;
        Ok(WarmZygote { present: Mutex::new(Arc::new(first)), main_thread })
    }

    /// Forks, with a new zygote if the present one turns out to be dead. Blocks.
    ///
    /// # Errors
    /// Those of [`Zygote::fork`].
    pub fn fork(&self, request: &ForkRequest<'_>, fds: &ForkDescriptors<'_>) -> zygote::Result<Forked> {
        let present = self.present();
        match present.fork(request, fds) {
            Err(Error::Gone(why)) => {
                log::error!("the zygote (process {}) died: {why}; starting another", present.pid());
                self.replace(&present)?.fork(request, fds)
            }
            other => other,
        }
    }

    /// The present one, which may be dead.
    pub fn present(&self) -> Arc<Zygote> {
        Arc::clone(&self.lock())
    }

    /// Starts a program on the main thread. Blocks.
    ///
    /// # Errors
    /// Those of starting it.
    pub fn start_program(&self, mut command: std::process::Command) -> std::io::Result<std::process::Child> {
        let ending = || std::io::Error::other("the server is ending");
        let (reply, answer) = sync_channel(1);
        let work = Box::new(move || drop(reply.send(command.spawn())));
        self.main_thread.send(Duty::Run(work)).map_err(|_| ending())?;
        answer.recv().map_err(|_| ending())?
    }

    /// Ends the zygote, then the main thread's loop and with it the process.
    pub fn end(&self) {
        self.lock().end();
        // Fails only if it has ended.
        let _ = self.main_thread.send(Duty::End);
    }

    fn replace(&self, dead: &Arc<Zygote>) -> zygote::Result<Arc<Zygote>> {
        let mut present = self.lock();
        // Of several calls that saw it die, the first replaces it.
        if Arc::ptr_eq(&present, dead) {
            dead.end();
            let gone = || Error::Gone(std::io::Error::other("the server is ending"));
            let (reply, answer) = sync_channel(1);
            self.main_thread.send(Duty::Spawn(reply)).map_err(|_| gone())?;
            *present = Arc::new(answer.recv().map_err(|_| gone())??);
        }
        Ok(Arc::clone(&present))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<Zygote>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
