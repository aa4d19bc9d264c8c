//! Changes the limits of a task, which ctr cannot: `update_task SOCKET CONTAINER RESOURCES`, in the namespace `default`,
//! with resources as the OCI runtime spec has them. For test/cgroup2, whose emulated host has nothing else that can.

use std::path::Path;
use std::process::ExitCode;

use containerd_client::services::v1::UpdateTaskRequest;
use containerd_client::services::v1::tasks_client::TasksClient;
use e2e::Client;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, container, resources] = arguments.as_slice() else {
        eprintln!("update_task SOCKET CONTAINER RESOURCES");
        return ExitCode::FAILURE;
    };
    let resources = prost_types::Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
        value: resources.clone().into_bytes(),
    };
    let message = UpdateTaskRequest {
        container_id: container.clone(),
        resources: Some(resources),
        annotations: Default::default(),
    };
    let client = Client::new(Path::new(socket), "default");
    match client.call(message, async |channel, request| TasksClient::new(channel).update(request).await) {
        Ok(_) => ExitCode::SUCCESS,
        Err(status) => {
            eprintln!("{}", status.message());
            ExitCode::FAILURE
        }
    }
}
