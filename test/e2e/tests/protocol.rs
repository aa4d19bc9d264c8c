//! Promise: the shim's own command line says to every containerd what that containerd understands, and nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use containerd_shim_protos::api::{ConnectRequest, CreateTaskRequest, DeleteResponse, ShutdownRequest};
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::types::introspection::RuntimeInfo;
use e2e::{Bed, Output, Release, Server, eventually, run, shim_binary};
use protobuf::Message;

/// A bundle and a socket nobody listens at: the shim without containerd.
struct Alone {
    bed: std::sync::Arc<Bed>,
    name: String,
    bundle: PathBuf,
    socket: PathBuf,
}

impl Alone {
    fn new(name: &str) -> Alone {
        // Its folder ends everything that names it.
        let bed = Bed::shared();
        let bundle = bed.folder().join("alone").join(name);
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::write(bundle.join("config.json"), "{}").unwrap();
        let socket = bed.folder().join("alone").join("nobody.sock");
        Alone { bed, name: name.to_owned(), bundle, socket }
    }

    fn command(&self, daemon: &Path, action: &[&str]) -> Command {
        let mut command = Command::new(shim_binary());
        command.current_dir(&self.bundle).args(["-namespace", &self.name, "-address"]).arg(&self.socket);
        command.arg("-publish-binary").arg(daemon).args(action);
        command.env("TTRPC_ADDRESS", format!("{}.ttrpc", self.socket.display()));
        command
    }

    fn start(&self, daemon: &Path, id: &str, environment: &[(&str, &str)], input: &[u8]) -> Output {
        let mut command = self.command(daemon, &["-id", id, "start"]);
        command.env_remove("MAX_SHIM_VERSION").envs(environment.iter().copied());
        let output = run(&mut command, input);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
        output
    }

    fn delete(&self, id: &str) -> Output {
        run(
            &mut self.command(
                Path::new("/bin/false"),
                &["-id", id, "-bundle", &self.bundle.display().to_string(), "delete"],
            ),
            b"",
        )
    }

    fn servers(&self) -> Vec<Server> {
        Server::find(&self.socket, &self.name)
    }
}

/// The containerd under test.
fn daemon() -> PathBuf {
    Release::chosen().program("containerd")
}

const MODERN: [(&str, &str); 1] = [("MAX_SHIM_VERSION", "2")];

#[test]
fn version_and_info_are_answered_without_containerd() {
    let version = run(Command::new(shim_binary()).arg("-v"), b"").succeeded();
    assert!(
        version.text().contains("io.containerd.wamr.v1") && version.text().contains("WAMR"),
        "{version:?}"
    );
    let info = run(Command::new(shim_binary()).arg("-info"), b"").succeeded();
    assert_eq!(RuntimeInfo::parse_from_bytes(&info.stdout).unwrap().name, "io.containerd.wamr.v1");
}

#[test]
fn a_wrong_command_line_is_refused_in_words() {
    for args in [&["start"][..], &["-frobnicate", "start"], &["-id", "a", "frobnicate"], &["-id"]] {
        let output = run(Command::new(shim_binary()).args(args), b"");
        assert!(
            output.code != 0 && !output.stderr.is_empty() && output.stdout.is_empty(),
            "{args:?}: {output:?}"
        );
    }
}

#[test]
fn containerd_1_6_is_answered_with_a_plain_address() {
    let alone = Alone::new("plain");
    let output = alone.start(&daemon(), "a", &[], b"");
    let address = output.text();
    assert!(address.starts_with("unix:///run/containerd-shim-wamr/"), "{output:?}");
    assert_eq!(std::fs::read_to_string(alone.bundle.join("address")).unwrap(), address);
    alone.delete("a").succeeded();
}

#[test]
fn containerd_s_own_version_decides_between_plain_and_json() {
    let alone = Alone::new("json");
    let output = alone.start(&daemon(), "a", &MODERN, b"");
    if Release::chosen().is_2() {
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((answer["version"].as_i64(), answer["protocol"].as_str()), (Some(3), Some("ttrpc")));
        assert!(answer["address"].as_str().unwrap().starts_with("unix:///"));
    } else {
        assert!(output.text().starts_with("unix:///"), "{output:?}");
    }
    alone.delete("a").succeeded();
}

#[test]
fn bootstrap_params_on_stdin_are_answered_with_a_bootstrap_result() {
    let alone = Alone::new("bootstrap");
    let params = BootstrapParams {
        instance_id: "a".into(),
        namespace: alone.name.clone(),
        containerd_grpc_address: alone.socket.display().to_string(),
        containerd_ttrpc_address: format!("{}.ttrpc", alone.socket.display()),
        ..BootstrapParams::default()
    };
    let output = alone.start(&daemon(), "a", &MODERN, &params.write_to_bytes().unwrap());
    let result = BootstrapResult::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
    assert!(result.address.starts_with("unix:///"), "{result:?}");
    alone.delete("a").succeeded();
}

#[test]
fn a_second_start_meets_the_same_server_and_another_namespace_another_one() {
    let (alone, other) = (Alone::new("same"), Alone::new("other"));
    let first = alone.start(&daemon(), "a", &[], b"").text();
    assert_eq!(alone.start(&daemon(), "b", &[], b"").text(), first);
    assert_ne!(other.start(&daemon(), "a", &[], b"").text(), first);
    assert_eq!((alone.servers().len(), other.servers().len()), (1, 1));
    for (alone, id) in [(&alone, "a"), (&alone, "b"), (&other, "a")] {
        alone.delete(id).succeeded();
    }
}

#[test]
fn delete_answers_with_a_delete_response_and_the_server_ends_when_nothing_is_expected() {
    let alone = Alone::new("delete");
    alone.start(&daemon(), "a", &[], b"");
    let server = alone.servers().remove(0);
    let all = server.process.descendants();
    let output = alone.delete("a").succeeded();
    assert_eq!(output.stderr, "");
    assert_eq!(DeleteResponse::parse_from_bytes(&output.stdout).unwrap().exit_status, 137);
    eventually("the server to end", || !server.process.is_there() && !server.place.exists());
    eventually("its zygote to end", || all.iter().all(|process| !process.is_there()));
    // Without a server, and of a container nobody knows: still an answer.
    let output = alone.delete("never-was").succeeded();
    assert_eq!(DeleteResponse::parse_from_bytes(&output.stdout).unwrap().exit_status, 137);
}

#[test]
fn task_api_versions_2_and_3_are_served_on_one_socket() {
    let alone = Alone::new("versions");
    let address = alone.start(&daemon(), "a", &[], b"").text();
    for service in ["containerd.task.v2.Task", "containerd.task.v3.Task"] {
        let request = ConnectRequest { id: "nobody".into(), ..ConnectRequest::default() };
        let error = ask(&address, service, "Connect", &request).unwrap_err();
        assert_eq!(error.code(), ttrpc::Code::NOT_FOUND, "{service}: {error:?}");
        // "Exit if nothing is left": something is expected.
        ask(&address, service, "Shutdown", &ShutdownRequest::default()).unwrap();
    }
    assert_eq!(alone.servers().len(), 1);
    let unknown = ask(&address, "containerd.task.v3.Task", "Frobnicate", &ShutdownRequest::default());
    assert!(unknown.is_err());
    alone.delete("a").succeeded();
}

#[test]
fn ids_and_bundles_that_leave_their_folder_are_refused_by_the_shim_itself() {
    let alone = Alone::new("ids");
    let outside = alone.bed.folder().join("precious");
    std::fs::write(&outside, "here").unwrap();
    let address = alone.start(&daemon(), "a", &[], b"").text();
    for id in ["../precious", "..", "a/b", "", &"x".repeat(300)] {
        let request = CreateTaskRequest {
            id: id.to_owned(),
            bundle: alone.bundle.display().to_string(),
            ..CreateTaskRequest::default()
        };
        let error = ask(&address, "containerd.task.v3.Task", "Create", &request).unwrap_err();
        assert_eq!(error.code(), ttrpc::Code::INVALID_ARGUMENT, "{id:?}: {error:?}");
        if !id.is_empty() {
            let _ = alone.delete(id);
        }
    }
    assert!(outside.exists() && alone.bundle.exists());
    assert_eq!(alone.servers().len(), 1);
    alone.delete("a").succeeded();
}

/// What went wrong with a call.
#[derive(Debug)]
struct Refused(ttrpc::Error);

impl Refused {
    fn code(&self) -> ttrpc::Code {
        match &self.0 {
            ttrpc::Error::RpcStatus(status) => status.code(),
            _ => ttrpc::Code::OK,
        }
    }
}

/// One call by the service's name, as containerd makes it.
fn ask(address: &str, service: &str, method: &str, message: &impl Message) -> Result<Vec<u8>, Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = ttrpc::asynchronous::Client::connect(address).await.map_err(Refused)?;
        let request = ttrpc::Request {
            service: service.to_owned(),
            method: method.to_owned(),
            timeout_nano: Duration::from_secs(30).as_nanos() as i64,
            payload: message.write_to_bytes().unwrap(),
            ..ttrpc::Request::default()
        };
        let answer = client.request(request).await.map_err(Refused)?;
        Ok(answer.payload)
    })
}
