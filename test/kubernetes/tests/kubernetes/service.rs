//! Guests that serve, behind a Service.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use e2e::{PATIENCE, test_folder};
use kubernetes::{BUSYBOX, Pod, PodStatus, Space, eventually, wasm};
use serde_json::json;

const GREETING: &str = "hello from wasm\n";

/// What a program on the node gets from an address.
fn fetch(space: &Space, address: &str) -> String {
    let output = space.cluster.node.run(&["busybox", "wget", "-q", "-O", "-", address]);
    output.succeeded().text()
}

/// Waits until kube-proxy knows a Service with this address.
fn wait_for_proxy(space: &Space, address: &str) {
    let address = SocketAddr::new(address.parse().unwrap(), 80);
    let network = space.cluster.node.network();
    eventually("the Service to be known to kube-proxy", || {
        network.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
    });
}

#[test]
fn the_sample_of_a_service_answers_from_every_replica() {
    let space = Space::new("sample-service");
    let sample = test_folder().parent().unwrap().join("deploy/kubernetes/service.yaml");
    space.kubectl(&["apply", "-f", &sample.display().to_string()]);
    space.kubectl(&["rollout", "status", "deployment/http", "--timeout=120s"]);
    let service = space.cluster.api.get(&space.path("services/http")).unwrap();
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    wait_for_proxy(&space, address);
    // kube-proxy spreads connections at random, and learns of each replica by itself.
    let pods = space.pods("http");
    let mut left: BTreeSet<&str> = pods.iter().map(PodStatus::name).collect();
    assert_eq!(left.len(), 3);
    eventually("every replica to have answered", || {
        left.remove(fetch(&space, &format!("http://{address}/name")).trim());
        left.is_empty()
    });
    assert_eq!(fetch(&space, &format!("http://{address}/")), GREETING);
    // Another pod reaches it by the address that Kubernetes tells every container of.
    let words = "wget -q -O - http://$HTTP_SERVICE_HOST:$HTTP_SERVICE_PORT/";
    let client = json!({ "name": "main", "image": BUSYBOX, "command": ["sh", "-c", words] });
    let client = space.pod(&Pod::new("client", &[client]).once());
    assert_eq!(space.ended(&client), (0, "Completed".to_owned()));
    assert_eq!(space.logs(&client), GREETING);
    assert!(space.pods("http").iter().all(|pod| pod.restarts() == 0), "no probe failed");
}

#[test]
fn a_thousand_connections_through_a_service_are_served_at_once_and_no_descriptor_is_left() {
    const MANY: usize = 1000;
    let space = Space::new("thousand");
    let mut pod = Pod::new("http", &[wasm("main", &["http"])])
        .annotation("wamr.containerd.io/listen", "tcp://0.0.0.0:8080");
    pod.0["metadata"]["labels"] = json!({ "app": "http" });
    let pod = space.pod(&pod);
    let status = space.ready(&pod);
    let service = json!({ "metadata": { "name": "http" }, "spec": { "selector": { "app": "http" }, "ports": [{ "port": 80, "targetPort": 8080 }] } });
    let service = space.create("services", &service);
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    wait_for_proxy(&space, address);
    let open = || fetch(&space, &format!("http://{}:8080/open", status.address()));
    eventually("the first connection to be gone", || open().starts_with("1 open"));
    // The test's own clients take descriptors too.
    let most = rustix::process::Rlimit { current: Some(4096), maximum: Some(4096) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most).unwrap();
    let mut clients: Vec<TcpStream> = space
        .cluster
        .node
        .network()
        .enter(|| (0..MANY).map(|_| TcpStream::connect((address, 80)).unwrap()).collect());
    eventually("all connections to be accepted", || open().starts_with(&format!("{} open", MANY + 1)));
    for client in &mut clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n").unwrap();
    }
    for client in &mut clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with(GREETING), "{answer}");
    }
    drop(clients);
    eventually("every connection to be closed", || open().starts_with("1 open"));
    assert_eq!(space.status(&pod).restarts(), 0);
}

#[test]
fn a_guest_that_stops_serving_is_taken_out_and_restarted() {
    let space = Space::new("unserved");
    // Nobody serves the second port.
    let probe = json!({ "tcpSocket": { "port": 8081 }, "periodSeconds": 1, "failureThreshold": 1 });
    let pod = Pod::new("http", &[wasm("main", &["http"])])
        .annotation("wamr.containerd.io/listen", "tcp://0.0.0.0:8080")
        .container("livenessProbe", probe)
        .container("readinessProbe", json!({ "httpGet": { "path": "/", "port": 8080 }, "periodSeconds": 1 }));
    let pod = space.pod(&pod);
    let status = space.wait(&pod, "to be restarted", |status| status.restarts() > 0);
    assert_eq!(status.last_end().map(|(code, _)| code), Some(143));
    // The next run gets its socket again.
    space.wait(&pod, "to serve again", |status| status.ready() && status.restarts() > 0);
}

#[test]
fn a_port_of_a_guest_is_forwarded_to_the_users_machine() {
    let space = Space::new("forwarded");
    let pod = Pod::new("http", &[wasm("main", &["http"])])
        .annotation("wamr.containerd.io/listen", "tcp://0.0.0.0:8080");
    let pod = space.pod(&pod);
    space.ready(&pod);
    let config = space.cluster.folder().join("etc/kubeconfig").display().to_string();
    let words = format!(
        "kubectl --kubeconfig {config} --namespace {} port-forward {pod} 18080:8080 >/dev/null & forward=$!
         for _ in $(seq 100); do busybox wget -q -O - http://127.0.0.1:18080/ && break; sleep 0.2; done
         kill $forward",
        space.name
    );
    assert_eq!(space.cluster.node.run(&["bash", "-c", &words]).succeeded().text(), GREETING);
}
