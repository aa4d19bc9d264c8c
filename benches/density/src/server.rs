//! Our server asked directly, as containerd would: its own part of a start, without containerd's.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use containerd_shim_protos::api::{
    CreateTaskRequest, DeleteRequest, KillRequest, Mount, StartRequest, WaitRequest,
};
use containerd_shim_protos::shim_async::TaskClient;
use ttrpc::asynchronous::Client;
use ttrpc::context;

use crate::bed::Bed;
use crate::containers::{Containers, Output};

/// Times of one container as the server's client sees them.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// Create.
    pub create: Duration,
    /// Start.
    pub start: Duration,
    /// From the answer to Start to the first line.
    pub line: Duration,
}

/// Makes containers one after the other, each deleted before the next.
pub async fn create_and_start(
    bed: &Bed,
    containers: &Containers,
    socket: &Path,
    count: usize,
) -> Result<Vec<Own>> {
    let client =
        Client::connect(&format!("unix://{}", socket.display())).await.context("connect to the server")?;
    let client = TaskClient::new(client);
    let mut all = Vec::with_capacity(count);
    for number in 1..=count {
        let id = format!("own-{number}");
        all.push(one(bed, containers, &client, &id).await.with_context(|| format!("container {id}"))?);
    }
    Ok(all)
}

async fn one(bed: &Bed, containers: &Containers, client: &TaskClient, id: &str) -> Result<Own> {
    let bundle = bed.folder.join("own").join(id);
    fs::create_dir_all(bundle.join("rootfs"))?;
    fs::write(bundle.join("config.json"), containers.spec(id))?;
    let output = Output::make(&bed.folder.join("fifo"), id)?;
    let rootfs = containers.prepare(id).await?.into_iter().map(|mount| Mount {
        type_: mount.r#type,
        source: mount.source,
        target: mount.target,
        options: mount.options,
        ..Mount::default()
    });
    let create = CreateTaskRequest {
        id: id.into(),
        bundle: bundle.display().to_string(),
        rootfs: rootfs.collect(),
        stdout: output.stdout.display().to_string(),
        stderr: output.stderr.display().to_string(),
        ..CreateTaskRequest::default()
    };
    // The wait for answers is bounded by the library.
    let patience = || context::with_duration(Duration::from_secs(60));
    let begun = Instant::now();
    client.create(patience(), &create).await.context("Create")?;
    let created = begun.elapsed();
    client
        .start(patience(), &StartRequest { id: id.into(), ..StartRequest::default() })
        .await
        .context("Start")?;
    let started = begun.elapsed();
    output.first_line().await?;
    let line = begun.elapsed();

    client
        .kill(patience(), &KillRequest { id: id.into(), signal: 9, ..KillRequest::default() })
        .await
        .context("Kill")?;
    client
        .wait(patience(), &WaitRequest { id: id.into(), ..WaitRequest::default() })
        .await
        .context("Wait")?;
    client
        .delete(patience(), &DeleteRequest { id: id.into(), ..DeleteRequest::default() })
        .await
        .context("Delete")?;
    containers.unprepare(id).await?;
    Ok(Own { create: created, start: started - created, line: line - started })
}
