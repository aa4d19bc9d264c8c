//! containerd, by its gRPC API.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::services::v1::{Plugin, PluginsRequest};
use containerd_client::tonic::transport::Channel;

/// containerd answers these in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

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
        self.wait(PATIENCE, async { client.version(()).await }).map(|answer| answer.version)
    }

    /// Its plugins, and how each fares.
    ///
    /// # Errors
    /// In words.
    pub fn plugins(&self) -> Result<Vec<Plugin>, String> {
        let mut client = IntrospectionClient::new(self.channel.clone());
        let request = PluginsRequest::default();
        self.wait(PATIENCE, async { client.plugins(request).await }).map(|answer| answer.plugins)
    }

    /// One call, so long at most.
    fn wait<T>(
        &self,
        patience: Duration,
        call: impl Future<
            Output = Result<containerd_client::tonic::Response<T>, containerd_client::tonic::Status>,
        >,
    ) -> Result<T, String> {
        match self.runtime.block_on(async { tokio::time::timeout(patience, call).await }) {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(format!("containerd at {}: {}", self.address, status.message())),
            Err(_) => Err(format!("containerd at {} gives no answer within {patience:?}", self.address)),
        }
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
