//! Pods of RuntimeClass `wamr` on a real Kubernetes cluster: etcd, API server, controller manager, scheduler, kube-proxy,
//! kubelet and containerd, all real. One file per subject.

mod deploy;
mod deployments;
mod endings;
mod exec;
mod hooks;
mod overhead;
mod probes;
mod refusals;
mod restarts;
mod service;
mod summary;
mod volumes;
