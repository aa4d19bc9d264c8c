//! The shim's own socket, without containerd between: exactly what is asked, when.

use std::path::PathBuf;
use std::time::Duration;

use containerd_client::services::v1::snapshots::MountsRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_shim_protos::api::{
    CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse, KillRequest, Mount, StartRequest,
    StateRequest, StateResponse, Status as Phase,
};
use protobuf::Message;
use ttrpc::{Code, Status};

use crate::{Image, Namespace, Task, eventually};

/// A container that containerd has prepared and the shim is asked to create directly.
#[derive(Debug)]
pub struct Prepared {
    /// Its id.
    pub id: String,
    /// The shim's socket.
    pub address: String,
    /// Its bundle, which is not containerd's.
    pub bundle: PathBuf,
    /// What its root is made of, as containerd has it.
    pub rootfs: Vec<containerd_client::types::Mount>,
    /// Its record and snapshot in containerd.
    pub kept: Task,
}

impl Prepared {
    /// Prepares one that waits, in a namespace that has a server. Its bundle is in the bed's folder.
    pub fn new(namespace: &Namespace, image: &Image, id: &str) -> Prepared {
        let bed = &namespace.bed;
        let kept =
            namespace.container(image, id, &["/bin/wait.wasm"]).stdout("").stderr("").create().unwrap();
        let known = bed.state().join("io.containerd.runtime.v2.task").join(&namespace.name).join(id);
        let bundle = bed.folder().join("direct").join(&namespace.name).join(id);
        std::fs::create_dir_all(bundle.join("rootfs")).unwrap();
        std::fs::copy(known.join("config.json"), bundle.join("config.json")).unwrap();
        let address = format!("unix://{}", namespace.server().place.join("task.sock").display());
        kept.delete().unwrap();
        let message = MountsRequest { snapshotter: "overlayfs".into(), key: id.to_owned() };
        let rootfs = namespace.client.call(message, async |channel, request| {
            Ok(SnapshotsClient::new(channel).mounts(request).await?.into_inner().mounts)
        });
        Prepared { id: id.to_owned(), address, bundle, rootfs: rootfs.unwrap(), kept }
    }

    /// What Create is asked.
    pub fn request(&self) -> CreateTaskRequest {
        let mount = |mount: &containerd_client::types::Mount| Mount {
            type_: mount.r#type.clone(),
            source: mount.source.clone(),
            target: mount.target.clone(),
            options: mount.options.clone(),
            ..Mount::default()
        };
        CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.bundle.display().to_string(),
            rootfs: self.rootfs.iter().map(mount).collect(),
            ..CreateTaskRequest::default()
        }
    }

    /// Creates it; returns its process id.
    ///
    /// # Errors
    /// What the shim says.
    pub fn try_create(&self) -> Result<u32, Status> {
        ask(&self.address, "Create", &self.request(), None)
            .map(|bytes| parse::<CreateTaskResponse>(&bytes).pid)
    }

    /// The same.
    ///
    /// # Errors
    /// The code alone.
    pub fn create(&self) -> Result<u32, Code> {
        self.try_create().map_err(|refusal| refusal.code())
    }

    /// Deletes it; returns its process id and exit code.
    ///
    /// # Errors
    /// The code alone.
    pub fn delete(&self) -> Result<(u32, u32), Code> {
        let message = DeleteRequest { id: self.id.clone(), ..DeleteRequest::default() };
        let answer = ask(&self.address, "Delete", &message, None).map_err(|refusal| refusal.code())?;
        let answer = parse::<DeleteResponse>(&answer);
        Ok((answer.pid, answer.exit_status))
    }

    /// Lets its guest run.
    ///
    /// # Errors
    /// The code alone.
    pub fn start(&self) -> Result<(), Code> {
        let message = StartRequest { id: self.id.clone(), ..StartRequest::default() };
        ask(&self.address, "Start", &message, None).map(drop).map_err(|refusal| refusal.code())
    }

    /// Sends it SIGKILL.
    ///
    /// # Errors
    /// The code alone.
    pub fn kill(&self) -> Result<(), Code> {
        let message = KillRequest { id: self.id.clone(), signal: 9, ..KillRequest::default() };
        ask(&self.address, "Kill", &message, None).map(drop).map_err(|refusal| refusal.code())
    }

    /// Where it stands.
    ///
    /// # Errors
    /// The code alone.
    pub fn state(&self) -> Result<Phase, Code> {
        let message = StateRequest { id: self.id.clone(), ..StateRequest::default() };
        let answer = ask(&self.address, "State", &message, None).map_err(|refusal| refusal.code())?;
        Ok(parse::<StateResponse>(&answer).status.unwrap())
    }

    /// The state once no Create is on its way.
    ///
    /// # Errors
    /// The code alone.
    pub fn settled(&self) -> Result<Phase, Code> {
        let mut state = self.state();
        eventually("a Create to be over", || {
            state = self.state();
            state != Err(Code::FAILED_PRECONDITION)
        });
        state
    }

    /// Whatever it does, it is ended and deleted; nothing of the shim's is in its bundle then.
    pub fn discard(&self) {
        eventually("a container to be deleted", || {
            let _ = self.kill();
            matches!(self.delete(), Ok(_) | Err(Code::NOT_FOUND))
        });
        assert_eq!(self.state(), Err(Code::NOT_FOUND));
        self.bundle_is_as_it_was();
    }

    /// Nothing of the shim's is in the bundle.
    pub fn bundle_is_as_it_was(&self) {
        let entries = std::fs::read_dir(&self.bundle).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = entries.filter(|name| name != "filler").collect();
        left.sort();
        assert_eq!(left, ["config.json", "rootfs"], "the shim's own files are gone");
    }
}

/// Reads an answer of [`ask`].
pub fn parse<M: Message>(bytes: &[u8]) -> M {
    M::parse_from_bytes(bytes).unwrap()
}

/// One call as containerd makes it. With `patience` its client goes away after that time, and the code is CANCELLED.
///
/// # Errors
/// What the shim says.
pub fn ask(
    address: &str,
    method: &str,
    message: &impl Message,
    patience: Option<Duration>,
) -> Result<Vec<u8>, Status> {
    call(address, method, message, patience, None)
}

/// The same with a deadline, which the shim's side keeps too. When it passes the code is CANCELLED.
///
/// # Errors
/// What the shim says.
pub fn ask_until(
    address: &str,
    method: &str,
    message: &impl Message,
    deadline: Duration,
) -> Result<Vec<u8>, Status> {
    call(address, method, message, None, Some(deadline))
}

fn call(
    address: &str,
    method: &str,
    message: &impl Message,
    patience: Option<Duration>,
    deadline: Option<Duration>,
) -> Result<Vec<u8>, Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = ttrpc::asynchronous::Client::connect(address).await;
        let client = client.map_err(|e| ttrpc::get_status(Code::UNAVAILABLE, e.to_string()))?;
        let request = ttrpc::Request {
            service: "containerd.task.v3.Task".to_owned(),
            method: method.to_owned(),
            timeout_nano: deadline.unwrap_or(Duration::from_secs(60)).as_nanos() as i64,
            payload: message.write_to_bytes().unwrap(),
            ..ttrpc::Request::default()
        };
        let answer = match patience {
            None => client.request(request).await,
            Some(time) => match tokio::time::timeout(time, client.request(request)).await {
                Ok(answer) => answer,
                Err(_) => return Err(ttrpc::get_status(Code::CANCELLED, "the client went away")),
            },
        };
        answer.map(|answer| answer.payload).map_err(|error| match error {
            ttrpc::Error::RpcStatus(status) if status.code() != Code::DEADLINE_EXCEEDED => status,
            // Whichever side noticed first.
            _ if deadline.is_some() => ttrpc::get_status(Code::CANCELLED, "the deadline has passed"),
            other => panic!("{method}: {other}"),
        })
    })
}

/// A namespace with a server that lives as long as the returned container. The image has `wait`, `cat`, `hello` and
/// `flood`.
pub fn keep(namespace: &Namespace) -> (Image, Task) {
    let image = namespace.import_guests(&["wait", "cat", "hello", "flood"]);
    let keeper = namespace.container(&image, "keeper", &["/bin/wait.wasm"]).start();
    keeper.stdout().wait_until_it_says("ready");
    (image, keeper)
}

/// Only the keeper is there, and after it nothing.
pub fn nothing_leaked(namespace: &Namespace, keeper: Task) {
    only_the_keeper(namespace, &keeper);
    keeper.end();
    let left = crate::Traces::of_containers(namespace);
    assert!(left.is_empty(), "{left:?}");
}

/// The keeper runs, and there is nothing else.
pub fn only_the_keeper(namespace: &Namespace, keeper: &Task) {
    let server = namespace.server();
    assert_eq!(keeper.state().0, "RUNNING");
    assert_eq!(server.process.children().len(), 2, "{:?}", server.process.children());
    assert_eq!(namespace.bed.cgroups.processes(&namespace.name), [keeper.pid]);
    let cgroups = namespace.bed.cgroups.below(&namespace.name);
    assert!(cgroups.iter().all(|directory| directory.ends_with(&keeper.id)), "{cgroups:?}");
}
