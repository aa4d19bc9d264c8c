//! Publishing events to containerd, in order, whatever happens to containerd meanwhile.
//!
//! One queue, one task. An event that cannot be delivered is tried again until containerd is back; those
//! behind it wait, so the order holds. The queue is bounded in number: should containerd stay away for so
//! long that it fills, the oldest events are given up and the log says how many.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use containerd_shim_protos::api::ForwardRequest;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use protobuf::well_known_types::any::Any;
use protobuf::{MessageField, MessageFull};
use tokio::sync::Notify;
use ttrpc::context::Context;

use crate::exit::Instant;

/// Events kept while containerd is away: about 100 bytes each.
const MOST_WAITING: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(5);

/// Accepts events; cheap to clone, shared by every container.
#[derive(Clone, Debug)]
pub struct Publisher {
    queue: Arc<Queue>,
    namespace: Arc<str>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<VecDeque<Envelope>>,
    arrived: Notify,
}

impl Publisher {
    /// Starts the task that delivers to the ttrpc socket at `address`.
    pub fn start(address: String, namespace: &str) -> Publisher {
        let queue = Arc::new(Queue::default());
        tokio::spawn(deliver(Arc::clone(&queue), address));
        Publisher { queue, namespace: namespace.into() }
    }

    /// Queues one event. Never blocks, never fails.
    pub fn publish<M: MessageFull>(&self, topic: &str, event: &M) {
        let value = match event.write_to_bytes() {
            Ok(value) => value,
            Err(e) => return log::error!("encode an event for {topic}: {e}"),
        };
        // Bare message names, as containerd's typeurl has them: no `type.googleapis.com/` before.
        let type_url = M::descriptor().full_name().to_owned();
        let envelope = Envelope {
            timestamp: MessageField::some(Instant::now().timestamp()),
            namespace: self.namespace.to_string(),
            topic: topic.to_owned(),
            event: MessageField::some(Any { type_url, value, ..Any::default() }),
            ..Envelope::default()
        };
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == MOST_WAITING {
            waiting.pop_front();
            log::warn!("containerd has been away for {MOST_WAITING} events; the oldest was given up");
        }
        waiting.push_back(envelope);
        drop(waiting);
        self.queue.arrived.notify_one();
    }

    /// Whether everything was delivered.
    pub fn is_drained(&self) -> bool {
        self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

async fn deliver(queue: Arc<Queue>, address: String) {
    let address = if address.contains("://") { address } else { format!("unix://{address}") };
    let mut client: Option<EventsClient> = None;
    let mut pause = Duration::from_millis(10);
    loop {
        // Stays in the queue until it is delivered: `is_drained` must not be true too early.
        let next = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).front().cloned();
        let Some(envelope) = next else {
            queue.arrived.notified().await;
            continue;
        };
        match forward(&mut client, &address, envelope.clone()).await {
            Ok(()) => {
                pause = Duration::from_millis(10);
                let mut waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                // Unless the queue overflowed meanwhile and gave it up.
                if waiting.front() == Some(&envelope) {
                    waiting.pop_front();
                }
                // What a burst of events took is given back once they are told.
                if waiting.is_empty() {
                    waiting.shrink_to(64);
                }
            }
            Err(e) => {
                log::debug!("publish {}: {e}; trying again in {pause:?}", envelope.topic);
                client = None;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}

async fn forward(client: &mut Option<EventsClient>, address: &str, envelope: Envelope) -> ttrpc::Result<()> {
    let connected = match client.take() {
        Some(connected) => connected,
        None => EventsClient::new(Client::connect(address).await?),
    };
    let request = ForwardRequest { envelope: MessageField::some(envelope), ..ForwardRequest::default() };
    let context: Context = ttrpc::context::with_duration(PATIENCE);
    connected.forward(context, &request).await?;
    *client = Some(connected);
    Ok(())
}
