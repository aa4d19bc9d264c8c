//! Pods: what is asked for, and what is said of them.

use serde_json::{Value, json};

use crate::GUESTS;

/// A pod to be made: its manifest.
#[derive(Debug, Clone)]
pub struct Pod(pub Value);

/// A container that runs a guest: `words` are the module's name and its arguments.
pub fn wasm(name: &str, words: &[&str]) -> Value {
    let module = format!("/{}.wasm", words.first().expect("a guest has a name"));
    let command: Vec<&str> = std::iter::once(module.as_str()).chain(words.iter().skip(1).copied()).collect();
    json!({ "name": name, "image": GUESTS, "command": command })
}

impl Pod {
    /// A pod of RuntimeClass `wamr` with these containers.
    pub fn new(name: &str, containers: &[Value]) -> Pod {
        Pod(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name },
            "spec": {
                "runtimeClassName": "wamr",
                "terminationGracePeriodSeconds": 5,
                "containers": containers,
            },
        }))
    }

    /// One that is not restarted.
    #[must_use]
    pub fn once(mut self) -> Pod {
        self.0["spec"]["restartPolicy"] = json!("Never");
        self
    }

    /// Sets a field of the pod's spec.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Pod {
        self.0["spec"][field] = value;
        self
    }

    /// Sets a field of the first container.
    #[must_use]
    pub fn container(mut self, field: &str, value: Value) -> Pod {
        self.0["spec"]["containers"][0][field] = value;
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Pod {
        self.0["metadata"]["annotations"][key] = json!(value);
        self
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.0["metadata"]["name"].as_str().expect("a pod has a name").to_owned()
    }
}

/// A pod as the API server has it.
#[derive(Debug, Clone)]
pub struct PodStatus(pub Value);

impl PodStatus {
    /// Its name.
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub fn phase(&self) -> &str {
        self.0["status"]["phase"].as_str().unwrap_or_default()
    }

    /// Whether all its containers are ready.
    pub fn ready(&self) -> bool {
        let conditions = self.0["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }

    /// Its address.
    pub fn address(&self) -> String {
        self.0["status"]["podIP"].as_str().expect("the pod has an address").to_owned()
    }

    /// Its unique id.
    pub fn uid(&self) -> &str {
        self.0["metadata"]["uid"].as_str().unwrap_or_default()
    }

    /// The status of a container.
    pub fn container(&self, name: &str) -> &Value {
        let all = self.0["status"]["containerStatuses"].as_array().into_iter().flatten();
        all.into_iter().find(|status| status["name"] == name).unwrap_or(&Value::Null)
    }

    /// How often the first container was restarted.
    pub fn restarts(&self) -> u64 {
        self.0["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
    }

    /// Exit code and reason of the first container's end, if it has ended.
    pub fn end(&self) -> Option<(i64, String)> {
        terminated(&self.0["status"]["containerStatuses"][0]["state"])
    }

    /// The same of its run before this one.
    pub fn last_end(&self) -> Option<(i64, String)> {
        terminated(&self.0["status"]["containerStatuses"][0]["lastState"])
    }

    /// Why the first container waits, if it does.
    pub fn waits_for(&self) -> &str {
        self.0["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap_or_default()
    }
}

fn terminated(state: &Value) -> Option<(i64, String)> {
    let end = state.get("terminated")?;
    Some((end["exitCode"].as_i64()?, end["reason"].as_str()?.to_owned()))
}
