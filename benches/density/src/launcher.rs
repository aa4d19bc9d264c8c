//! Starts and ends containers, through whichever interface, so many at a time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bed::Bed;
use crate::containers::Containers;
use crate::options::{Options, Through};
use crate::pods::Pods;
use crate::stack::Stack;

/// How many are deleted at a time.
const DELETED_AT_A_TIME: usize = 8;

/// Makes what is measured.
#[derive(Debug)]
pub enum Launcher {
    /// Through the Task API.
    Containers(Containers),
    /// Through CRI.
    Pods(Pods),
}

/// Times of one container.
#[derive(Debug, Clone)]
pub struct Times {
    /// Each call, in the order of [`Launcher::steps`].
    pub steps: Vec<Duration>,
    /// From the first call that the runtime hears of to the first line on stdout.
    pub line: Duration,
}

/// Containers started together.
#[derive(Debug)]
pub struct Batch {
    /// How many at a time.
    pub at_a_time: usize,
    /// Each one's times.
    pub times: Vec<Times>,
    /// From the first call to the last one's first line.
    pub wall: Duration,
}

impl Launcher {
    /// Connects to the bed's containerd and imports the image of `stack`.
    pub async fn connect(bed: &Bed, stack: &Stack, options: &Options) -> Result<Arc<Launcher>> {
        Ok(Arc::new(match options.through {
            Through::Ctr => Launcher::Containers(Containers::connect(bed, stack, options).await?),
            Through::Cri => Launcher::Pods(Pods::connect(bed, stack, options).await?),
        }))
    }

    /// The calls that make one: short names for JSON, and for people.
    pub fn steps(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Launcher::Containers(containers) => {
                let all = &[
                    ("prepare", "record and snapshot before it"),
                    ("create", "Create"),
                    ("start", "Start"),
                    ("answer", "a line of stdin answered after it"),
                ];
                if containers.answer() { all } else { all.split_last().map_or(&[], |(_, rest)| rest) }
            }
            Launcher::Pods(_) => {
                &[("sandbox", "RunPodSandbox"), ("create", "CreateContainer"), ("start", "StartContainer")]
            }
        }
    }

    /// What [`Times::line`] begins with.
    pub fn first_call(&self) -> &'static str {
        match self {
            Launcher::Containers(_) => "Create",
            Launcher::Pods(_) => "RunPodSandbox",
        }
    }

    /// Starts so many, so many at a time, and waits until each has said its line.
    pub async fn start(self: &Arc<Self>, names: &[String], at_a_time: usize) -> Result<Batch> {
        let begun = Instant::now();
        let work = |this: Arc<Self>, name: String| async move {
            match &*this {
                Launcher::Containers(containers) => containers.start(&name).await,
                Launcher::Pods(pods) => pods.start(&name).await,
            }
        };
        let times = self.each(names, at_a_time, work).await?;
        Ok(Batch { at_a_time, times, wall: begun.elapsed() })
    }

    /// Kills and deletes them.
    pub async fn delete(self: &Arc<Self>, names: &[String]) -> Result<()> {
        let work = |this: Arc<Self>, name: String| async move {
            match &*this {
                Launcher::Containers(containers) => containers.delete(&name).await,
                Launcher::Pods(pods) => pods.delete(&name).await,
            }
        };
        self.each(names, DELETED_AT_A_TIME, work).await.map(drop)
    }

    /// Does something for each name, so many at a time.
    async fn each<T, F, Fut>(self: &Arc<Self>, names: &[String], at_a_time: usize, work: F) -> Result<Vec<T>>
    where
        T: Send + 'static,
        F: Fn(Arc<Self>, String) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<T>> + Send,
    {
        let names: Arc<[String]> = names.into();
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..at_a_time.min(names.len()) {
            let (this, names, next, work) =
                (Arc::clone(self), Arc::clone(&names), Arc::clone(&next), work.clone());
            workers.spawn(async move {
                let mut done = Vec::new();
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = work(Arc::clone(&this), name.clone()).await;
                    done.push(one.with_context(|| name.clone())?);
                }
                Ok::<_, anyhow::Error>(done)
            });
        }
        let mut all = Vec::with_capacity(names.len());
        while let Some(done) = workers.join_next().await {
            all.extend(done.context("a worker of the harness ended")??);
        }
        Ok(all)
    }
}
