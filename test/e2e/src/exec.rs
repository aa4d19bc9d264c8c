//! Another process in a container that runs: what `ctr task exec` does, with every step and every answer at hand.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, GetRequest, KillRequest, StartRequest,
    WaitRequest,
};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Request, Status};
use prost_types::Any;
use serde_json::{Value, json};

use crate::stdio::{make_fifo, open_for_writing};
use crate::{Client, Finished, Namespace, Process, Reader};

/// An exec under construction.
#[derive(Debug, Clone)]
#[must_use]
pub struct Exec<'n> {
    namespace: &'n Namespace,
    container: String,
    id: String,
    /// `process` of an OCI spec, for what has no method here.
    pub process: Value,
    input: bool,
    stdout: Option<String>,
    terminal: bool,
}

impl Namespace {
    /// An exec under construction, in the container of that id.
    pub fn exec<'n>(&'n self, container: &str, id: &str, args: &[&str]) -> Exec<'n> {
        let process = json!({
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
        });
        let (container, id) = (container.to_owned(), id.to_owned());
        Exec { namespace: self, container, id, process, input: false, stdout: None, terminal: false }
    }
}

impl<'n> Exec<'n> {
    /// Gives it a stdin to be written to; without, it has none.
    pub fn input(mut self) -> Self {
        self.input = true;
        self
    }

    /// Where its stdout goes, instead of a FIFO that is read here.
    pub fn stdout(mut self, uri: &str) -> Self {
        self.stdout = Some(uri.to_owned());
        self
    }

    /// Asks for a terminal.
    pub fn terminal(mut self) -> Self {
        self.terminal = true;
        self.process["terminal"] = json!(true);
        self
    }

    /// Adds it. It does not run yet.
    ///
    /// # Errors
    /// What containerd and the shim say; nothing is left then.
    pub fn add(self) -> Result<ExecTask, Status> {
        let client = self.namespace.client.clone();
        let fifos = self.namespace.bed.fifos().join(&self.namespace.name);
        let fifo = |stream: &str| fifos.join(format!("{}-{}-{stream}", self.container, self.id));
        let mut exec = ExecTask {
            container: self.container.clone(),
            id: self.id.clone(),
            client,
            stdin: None,
            stdin_path: self.input.then(|| fifo("stdin")),
            stdout: self.stdout.is_none().then(|| Reader::new(fifo("stdout"))),
            stderr: (!self.terminal).then(|| Reader::new(fifo("stderr"))),
            // Nothing to be removed until it was added.
            removed: true,
        };
        if let Some(path) = &exec.stdin_path {
            make_fifo(path);
        }
        let path = |reader: &Option<Reader>| reader.as_ref().map(Reader::path).unwrap_or_default();
        let message = ExecProcessRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
            stdin: exec.stdin_path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            stdout: self.stdout.clone().unwrap_or_else(|| path(&exec.stdout)),
            stderr: path(&exec.stderr),
            terminal: self.terminal,
            spec: Some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
                value: self.process.to_string().into_bytes(),
            }),
        };
        exec.call(message, async |mut tasks, request| tasks.exec(request).await.map(drop))?;
        exec.removed = false;
        if let Some(path) = &exec.stdin_path {
            exec.stdin = Some(open_for_writing(path));
        }
        Ok(exec)
    }

    /// Adds and starts it; returns its process, too.
    ///
    /// # Panics
    /// With the error, if that fails.
    pub fn start(self) -> (ExecTask, Process) {
        let id = self.id.clone();
        let exec = self.add().unwrap_or_else(|e| panic!("add exec {id}: {}", e.message()));
        let pid = exec.start().unwrap_or_else(|e| panic!("start exec {id}: {}", e.message()));
        let process = Process::of(pid).unwrap_or_else(|| panic!("exec {id} has no process {pid}"));
        (exec, process)
    }

    /// Runs it to its end and removes it.
    pub fn run(self) -> Finished {
        let id = self.id.clone();
        let exec = self.add().unwrap_or_else(|e| panic!("add exec {id}: {}", e.message()));
        exec.start().unwrap_or_else(|e| panic!("start exec {id}: {}", e.message()));
        exec.finish()
    }

    /// How it is refused, by Exec or by Start.
    ///
    /// # Panics
    /// When it is not refused.
    pub fn refusal(self) -> Status {
        match self.add() {
            Err(e) => e,
            Ok(exec) => exec.start().expect_err("it should have been refused, but started"),
        }
    }
}

/// An exec that exists. Dropped, it is killed and removed.
#[derive(Debug)]
pub struct ExecTask {
    /// Id of its container.
    pub container: String,
    /// Its own id.
    pub id: String,
    client: Client,
    stdin: Option<File>,
    stdin_path: Option<PathBuf>,
    stdout: Option<Reader>,
    stderr: Option<Reader>,
    removed: bool,
}

impl ExecTask {
    /// Lets it run; returns its process id on the host.
    ///
    /// # Errors
    /// What the shim says.
    pub fn start(&self) -> Result<i32, Status> {
        let message = StartRequest { container_id: self.container.clone(), exec_id: self.id.clone() };
        self.call(message, async |mut tasks, request| Ok(tasks.start(request).await?.into_inner().pid as i32))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// What the shim says.
    pub fn kill(&self, signal: i32) -> Result<(), Status> {
        let message = KillRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
            signal: signal as u32,
            all: false,
        };
        self.call(message, async |mut tasks, request| tasks.kill(request).await.map(drop))
    }

    /// Waits for its end and returns the exit code.
    pub fn wait(&self) -> u32 {
        let message = WaitRequest { container_id: self.container.clone(), exec_id: self.id.clone() };
        let answer = self.call(message, async |mut tasks, request| {
            Ok(tasks.wait(request).await?.into_inner().exit_status)
        });
        answer.unwrap_or_else(|e| panic!("wait for exec {}: {}", self.id, e.message()))
    }

    /// Its state as containerd names it, and its exit code, if it has one.
    ///
    /// # Errors
    /// What containerd and the shim say.
    pub fn state(&self) -> Result<(String, u32), Status> {
        let message = GetRequest { container_id: self.container.clone(), exec_id: self.id.clone() };
        let process =
            self.call(message, async |mut tasks, request| Ok(tasks.get(request).await?.into_inner().process));
        process.map(|process| {
            let process = process.expect("an answer about a process");
            (process.status().as_str_name().to_owned(), process.exit_status)
        })
    }

    /// Deletes it and returns the exit code Delete tells.
    ///
    /// # Errors
    /// What the shim says, for one while it runs.
    pub fn delete(&self) -> Result<u32, Status> {
        let message = DeleteProcessRequest { container_id: self.container.clone(), exec_id: self.id.clone() };
        self.call(message, async |mut tasks, request| {
            Ok(tasks.delete_process(request).await?.into_inner().exit_status)
        })
    }

    /// Writes to its stdin.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("made with input()").write_all(bytes).expect("write to an exec");
    }

    /// Ends its stdin: closes the FIFO here and tells the shim.
    pub fn close_input(&mut self) {
        self.stdin = None;
        let message =
            CloseIoRequest { container_id: self.container.clone(), exec_id: self.id.clone(), stdin: true };
        let closed = self.call(message, async |mut tasks, request| tasks.close_io(request).await.map(drop));
        closed.unwrap_or_else(|e| panic!("close stdin of exec {}: {}", self.id, e.message()));
    }

    /// Its stdout.
    pub fn stdout(&self) -> &Reader {
        self.stdout.as_ref().expect("its stdout is read here")
    }

    /// Waits for its end, reads its streams to theirs and removes it.
    pub fn finish(mut self) -> Finished {
        let code = self.wait();
        let stdout = self.stdout.take().map(Reader::finish).unwrap_or_default();
        let stderr = self.stderr.take().map(Reader::finish).unwrap_or_default();
        let told = self.delete().unwrap_or_else(|e| panic!("delete exec {}: {}", self.id, e.message()));
        assert_eq!(told, code, "Wait and Delete tell different exit codes of exec {}", self.id);
        self.removed = true;
        Finished { code, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }

    /// Kills it, waits for its end and removes it.
    pub fn end(self) -> Finished {
        self.kill(9).unwrap_or_else(|e| panic!("kill exec {}: {}", self.id, e.message()));
        self.finish()
    }

    fn call<M, R>(
        &self,
        message: M,
        call: impl AsyncFnOnce(TasksClient<Channel>, Request<M>) -> Result<R, Status>,
    ) -> Result<R, Status> {
        self.client.call(message, async |channel, request| call(TasksClient::new(channel), request).await)
    }
}

impl Drop for ExecTask {
    fn drop(&mut self) {
        if !self.removed {
            // Whichever of these fails: it has ended, or its container is gone and it with it.
            let _ = self.kill(9);
            if self.state().is_ok_and(|(state, _)| state != "CREATED") && !std::thread::panicking() {
                self.wait();
            }
            let _ = self.delete();
        }
        if let Some(path) = &self.stdin_path {
            let _ = std::fs::remove_file(path);
        }
    }
}
