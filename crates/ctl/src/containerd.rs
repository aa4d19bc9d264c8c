//! containerd, by its gRPC API.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, SystemTime};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{RemoveSnapshotRequest, ViewSnapshotRequest};
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::services::v1::{
    CreateRequest, DeleteRequest, GetImageRequest, Plugin, PluginsRequest, ReadContentRequest,
};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, Request, Status};
use containerd_client::types::Mount;

/// containerd answers these in milliseconds; a busy disk takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Manifests are smaller.
const LARGEST_BLOB: usize = 8 << 20;
/// How long a view may stay if this process dies.
const LEASE: Duration = Duration::from_secs(900);

/// A connection, and the thread's runtime for it.
#[derive(Debug)]
pub struct Containerd {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    address: String,
}

impl Containerd {
    /// Connects.
    ///
    /// # Errors
    /// In words.
    pub fn connect(address: &Path) -> Result<Containerd, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("start a runtime: {e}"))?;
        let connecting = async { tokio::time::timeout(PATIENCE, containerd_client::connect(address)).await };
        let text = address.display().to_string();
        match runtime.block_on(connecting) {
            Ok(Ok(channel)) => Ok(Containerd { runtime, channel, address: text }),
            // tonic's own words are "transport error".
            Ok(Err(e)) => Err(format!("connect to {text}: {}", root_cause(&e))),
            Err(_) => Err(format!("connect to {text}: no answer within {PATIENCE:?}")),
        }
    }

    /// Its version, as it writes it.
    ///
    /// # Errors
    /// In words.
    pub fn version(&self) -> Result<String, String> {
        let mut client = VersionClient::new(self.channel.clone());
        self.wait(PATIENCE, async { client.version(()).await }).map(|answer| answer.into_inner().version)
    }

    /// Its plugins, and how each fares.
    ///
    /// # Errors
    /// In words.
    pub fn plugins(&self) -> Result<Vec<Plugin>, String> {
        let mut client = IntrospectionClient::new(self.channel.clone());
        let request = PluginsRequest::default();
        self.wait(PATIENCE, async { client.plugins(request).await }).map(|answer| answer.into_inner().plugins)
    }

    /// What it has under one of its namespaces.
    pub fn namespace<'c>(&'c self, name: &'c str) -> Namespace<'c> {
        Namespace { containerd: self, name }
    }

    /// One call, so long at most.
    fn wait<T>(
        &self,
        patience: Duration,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, String> {
        self.ask(patience, call)?.map_err(|status| format!("containerd: {}", status.message()))
    }

    fn ask<T>(
        &self,
        patience: Duration,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<Result<T, Status>, String> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(patience, call).await });
        answer.map_err(|_| format!("containerd at {} gives no answer within {patience:?}", self.address))
    }
}

/// A namespace of a containerd.
#[derive(Debug)]
pub struct Namespace<'c> {
    containerd: &'c Containerd,
    name: &'c str,
}

impl Namespace<'_> {
    /// Digest that an image's name stands for; `None` if there is no such image.
    ///
    /// # Errors
    /// In words.
    pub fn image(&self, name: &str) -> Result<Option<String>, String> {
        let mut client = ImagesClient::new(self.containerd.channel.clone());
        let request = self.request(GetImageRequest { name: name.to_owned() }, None)?;
        match self.containerd.ask(PATIENCE, client.get(request))? {
            Ok(answer) => {
                let target = answer.into_inner().image.and_then(|image| image.target);
                target.map(|target| Some(target.digest)).ok_or_else(|| format!("image {name} names nothing"))
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(format!("containerd: {}", status.message())),
        }
    }

    /// A blob of the content store that is meant to be read, such as a manifest.
    ///
    /// # Errors
    /// In words; also for one that is larger than any of these.
    pub fn blob(&self, digest: &str) -> Result<Vec<u8>, String> {
        let mut client = ContentClient::new(self.containerd.channel.clone());
        let request = ReadContentRequest { digest: digest.to_owned(), ..ReadContentRequest::default() };
        let request = self.request(request, None)?;
        self.containerd.wait(PATIENCE, async {
            let mut parts = client.read(request).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(part) = parts.message().await? {
                bytes.extend(part.data);
                if bytes.len() > LARGEST_BLOB {
                    return Err(Status::out_of_range(format!("{digest} is too large to be a manifest")));
                }
            }
            Ok(bytes)
        })
    }

    /// Makes a lease that ends by itself after a quarter of an hour.
    ///
    /// # Errors
    /// In words.
    pub fn lease(&self, id: &str) -> Result<(), String> {
        let mut client = LeasesClient::new(self.containerd.channel.clone());
        let end = prost_types::Timestamp::from(SystemTime::now() + LEASE).to_string();
        let labels = HashMap::from([("containerd.io/gc.expire".to_owned(), end)]);
        let request = self.request(CreateRequest { id: id.to_owned(), labels }, None)?;
        self.containerd.wait(PATIENCE, client.create(request)).map(drop)
    }

    /// Ends a lease.
    ///
    /// # Errors
    /// In words.
    pub fn end_lease(&self, id: &str) -> Result<(), String> {
        let mut client = LeasesClient::new(self.containerd.channel.clone());
        let request = self.request(DeleteRequest { id: id.to_owned(), sync: false }, None)?;
        self.containerd.wait(PATIENCE, client.delete(request)).map(drop)
    }

    /// A read-only view of a snapshot, under the lease of the same name.
    ///
    /// # Errors
    /// In words.
    pub fn view(&self, snapshotter: &str, key: &str, parent: &str) -> Result<Vec<Mount>, String> {
        let mut client = SnapshotsClient::new(self.containerd.channel.clone());
        let request = ViewSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            ..ViewSnapshotRequest::default()
        };
        let request = self.request(request, Some(key))?;
        self.containerd.wait(PATIENCE, client.view(request)).map(|answer| answer.into_inner().mounts)
    }

    /// Removes a view.
    ///
    /// # Errors
    /// In words.
    pub fn remove_view(&self, snapshotter: &str, key: &str) -> Result<(), String> {
        let mut client = SnapshotsClient::new(self.containerd.channel.clone());
        let request = RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        let request = self.request(request, None)?;
        self.containerd.wait(PATIENCE, client.remove(request)).map(drop)
    }

    fn request<M>(&self, message: M, lease: Option<&str>) -> Result<Request<M>, String> {
        let mut request = Request::new(message);
        for (name, value) in [("containerd-namespace", Some(self.name)), ("containerd-lease", lease)] {
            let Some(value) = value else { continue };
            let parsed = value.parse().map_err(|_| format!("{value:?} is no namespace"))?;
            request.metadata_mut().insert(name, parsed);
        }
        Ok(request)
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
