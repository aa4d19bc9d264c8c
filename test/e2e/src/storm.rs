//! Many containers at once, while something breaks.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::RemoveSnapshotRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    DeleteContainerRequest, DeleteTaskRequest, KillRequest, ListContainersRequest, WaitRequest,
};

use containerd_client::tonic::{Code, Status};

use crate::{Image, Namespace};

/// Creates, starts, kills and deletes containers on six threads, each as often as it can, until `disturb` is over.
/// Whatever is refused meanwhile is given up. The ids begin with `tag`.
pub fn storm(namespace: &Namespace, image: &Image, tag: &str, disturb: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let over = &over;
            scope.spawn(move || {
                for turn in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let id = format!("{tag}-{thread}-{turn}");
                    let container = namespace.container(image, &id, &["/bin/wait.wasm"]);
                    if let Ok(task) = container.stdout("").stderr("").create() {
                        // Some are deleted before their start.
                        if turn % 3 != 2 {
                            let _ = task.start();
                        }
                        drop(task);
                    }
                }
            });
        }
        disturb();
        over.store(true, Ordering::Relaxed);
    });
}

/// Waits for some time within the range, in milliseconds: another one every time.
pub fn sleep_a_little(milliseconds: Range<u64>) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time after 1970");
    let span = milliseconds.end - milliseconds.start;
    let pause = milliseconds.start + u64::from(now.subsec_micros()) % span;
    eprintln!("after {pause} ms");
    std::thread::sleep(Duration::from_millis(pause));
}

impl Namespace {
    /// Kills and removes every container that containerd knows of, but this one. What cannot be removed yet is left.
    pub fn remove_all_but(&self, keeper: &str) {
        let containers = self.client.call(ListContainersRequest::default(), async |channel, request| {
            Ok(ContainersClient::new(channel).list(request).await?.into_inner().containers)
        });
        for id in containers.into_iter().flatten().map(|found| found.id).filter(|id| id != keeper) {
            if self.remove_task(&id).is_ok_and(|removed| removed) {
                let _ = self.remove_record(&id);
            }
        }
    }

    /// Whether it has no task any more.
    fn remove_task(&self, id: &str) -> Result<bool, Status> {
        let kill = KillRequest { container_id: id.into(), signal: 9, ..KillRequest::default() };
        let killed = self
            .client
            .call(kill, async |channel, request| TasksClient::new(channel).kill(request).await.map(drop));
        if killed.is_ok() {
            let wait = WaitRequest { container_id: id.into(), ..WaitRequest::default() };
            self.client.call(wait, async |channel, request| {
                TasksClient::new(channel).wait(request).await.map(drop)
            })?;
        }
        let deleted =
            self.client.call(DeleteTaskRequest { container_id: id.into() }, async |channel, request| {
                TasksClient::new(channel).delete(request).await.map(drop)
            });
        Ok(deleted.is_ok() || deleted.is_err_and(|e| e.code() == Code::NotFound))
    }

    fn remove_record(&self, id: &str) -> Result<(), Status> {
        self.client.call(DeleteContainerRequest { id: id.into() }, async |channel, request| {
            ContainersClient::new(channel).delete(request).await.map(drop)
        })?;
        let snapshot = RemoveSnapshotRequest { snapshotter: "overlayfs".into(), key: id.into() };
        self.client.call(snapshot, async |channel, request| {
            SnapshotsClient::new(channel).remove(request).await.map(drop)
        })
    }
}
