#!/bin/bash
# Starts a component of the cluster in the background: component.sh NAME FOLDER
#
# To be run in the node's namespaces. Programs are taken from PATH; the folder has the configuration in `etc`, and gets
# each one's log in `log` and process id, as the node counts, in `pid`.
set -euo pipefail
name=${1:?name} folder=${2:?folder}
etc=$folder/etc
# Where the kubelet's cAdvisor looks for it, whatever it is told.
endpoint=unix:///run/containerd/containerd.sock

case $name in
    etcd)
        # Nobody needs the data after a power cut.
        command=(etcd --data-dir "$folder/etcd" --unsafe-no-fsync --log-level warn) ;;
    kube-apiserver)
        command=(kube-apiserver --etcd-servers http://127.0.0.1:2379 --cert-dir "$folder/certificates"
            --kubelet-preferred-address-types InternalIP --secure-port 6443 --bind-address 10.99.0.1 --advertise-address 10.99.0.1
            --service-cluster-ip-range 10.96.0.0/16 --token-auth-file "$etc/tokens.csv" --authorization-mode AlwaysAllow
            --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$etc/accounts.key"
            --service-account-signing-key-file "$etc/accounts.key" --allow-privileged --profiling=false) ;;
    kube-controller-manager)
        command=(kube-controller-manager --kubeconfig "$etc/kubeconfig" --leader-elect=false
            --service-account-private-key-file "$etc/accounts.key" --root-ca-file "$folder/certificates/apiserver.crt"
            --kube-api-qps 500 --kube-api-burst 500) ;;
    kube-scheduler)
        command=(kube-scheduler --kubeconfig "$etc/kubeconfig" --leader-elect=false
            --kube-api-qps 500 --kube-api-burst 500) ;;
    kube-proxy)
        command=(kube-proxy --config "$etc/kube-proxy.yaml") ;;
    kubelet | kubelet-v1)
        command=("$name" --config "$etc/kubelet.yaml" --kubeconfig "$etc/kubeconfig" --hostname-override node
            --node-ip 10.99.0.1 --container-runtime remote --container-runtime-endpoint "$endpoint"
            --image-service-endpoint "$endpoint") ;;
    # The API without TLS and tokens, on a Unix socket that the tests ask.
    kubectl)
        command=(kubectl --kubeconfig "$etc/kubeconfig" proxy --unix-socket "$folder/api.sock") ;;
    containerd)
        command=(containerd --config "$etc/containerd.toml") ;;
    *)
        echo "no component $name" >&2
        exit 2 ;;
esac

mkdir -p "$folder/log" "$folder/pid"
setsid "${command[@]}" </dev/null >>"$folder/log/$name" 2>&1 &
echo $! >"$folder/pid/$name"
