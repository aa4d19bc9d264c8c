#!/bin/bash
# Builds Kubernetes 1.20.2 of Debian's source package, which no binary package carries: the control plane, kube-proxy
# and two kubelets. About 15 minutes on two cores, once: the result is kept in the tests' cache, outside the checkout.
#
#   test/kubernetes/build.sh           build what is not there
#   test/kubernetes/build.sh path      print the folder; exit status 1 if it is not complete
#
# kubelet speaks CRI v1alpha2 as this release does, for containerd 1.x. kubelet-v1 is the same with the services called
# by their v1 names, for containerd 2.x: the messages of both versions are alike on the wire.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=test/bed/suite.sh
source "$here/../bed/suite.sh"

release=1.20.2
key=$(sha256sum "$here/build.sh" | cut -c1-16)
root=$cache/kubernetes/$release-$key

if [[ ${1:-} == path ]]; then
    echo "$root/bin"
    [[ -f $root/complete ]]
    exit
fi
[[ -f $root/complete ]] && exit
(($# == 0)) || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }

mkdir -p "$root/bin"
# One build at a time; a build that was cut short goes on where it stopped.
exec 8>"$root/lock"
flock 8
[[ -f $root/complete ]] && exit
work=$root/work
tree=$work/gopath/src/k8s.io/kubernetes

fetch_sources() {
    [[ -f $work/fetched ]] && return
    rm -rf "$work"
    mkdir -p "$work/packages" "$work/go" "$tree"
    exec 9>"$cache/lock"
    flock 9
    update bookworm-src
    say "sources of Kubernetes $release, Go 1.19"
    (cd "$work/packages" && download bookworm-src golang-1.19-{go,src} golang-github-modern-go-reflect2-dev &&
        suite_apt bookworm-src apt-get source --download-only kubernetes >&2)
    flock -u 9
    local package
    for package in "$work"/packages/*.deb; do dpkg -x "$package" "$work/go"; done
    [[ $(echo "$work"/packages/kubernetes_*.orig.tar.*) == *"$release".orig.tar* ]] ||
        die "bookworm's Kubernetes is not $release any more: $(ls "$work/packages")"
    tar -xf "$work"/packages/kubernetes_*.orig.tar.* --strip-components=1 -C "$tree"
    # The vendored release of this package looks into the insides of an older Go: with this one it overwrites memory.
    local reflect2=github.com/modern-go/reflect2
    rm -rf "${tree:?}/vendor/$reflect2"
    cp -r "$work/go/usr/share/gocode/src/$reflect2" "$tree/vendor/$reflect2"
    rm -rf "$work/packages"
    touch "$work/fetched"
}

# The tree is of the time before modules: it has its own vendor folder and wants GOPATH.
go() {
    (cd "$tree" && env -u GOFLAGS GOPATH="$work/gopath" GOCACHE="$work/cache" GOTMPDIR="$work/temporary" GO111MODULE=off \
        CGO_ENABLED=0 nice -n 19 "$work/go/usr/lib/go-1.19/bin/go" "$@")
}

# What `make generated_files` would make and the sources lack: the description of the API that the server hands out.
generate_openapi() {
    [[ -f $tree/pkg/generated/openapi/zz_generated.openapi.go ]] && return
    say "generating the API's description"
    go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    local inputs
    inputs=$(cd "$tree" && grep -rl --include='*.go' --exclude-dir={code-generator,sample-apiserver} \
        '^// +k8s:openapi-gen=' pkg staging/src | xargs -n 1 dirname | sort -u |
        sed -e 's#^staging/src/#k8s.io/kubernetes/vendor/#' -e 't' -e 's#^#k8s.io/kubernetes/#' | paste -sd,)
    (cd "$tree" && GOPATH=$work/gopath GO111MODULE=off GOCACHE=$work/cache PATH=$work/go/usr/lib/go-1.19/bin:$PATH \
        nice -n 19 "$work/openapi-gen" -v 0 -O zz_generated.openapi -h hack/boilerplate/boilerplate.generatego.txt \
        -p k8s.io/kubernetes/pkg/generated/openapi --output-base "$work/gopath/src" \
        -i "$inputs" -r "$work/violations") >&2
}

program() {
    local name=$1 package=$2 flags='-s -w' place began=$SECONDS
    [[ -x $root/bin/$name ]] && return
    say "building $name"
    for place in component-base/version client-go/pkg/version; do
        place=k8s.io/kubernetes/vendor/k8s.io/$place
        flags+=" -X $place.gitVersion=v$release -X $place.gitMajor=1 -X $place.gitMinor=20"
    done
    go build -trimpath -tags providerless,dockerless -o "$work/$name" -ldflags "$flags" "./cmd/$package"
    mv "$work/$name" "$root/bin/$name"
    say "$name took $((SECONDS - began)) s"
}

fetch_sources
mkdir -p "$work/temporary"
generate_openapi
program kube-apiserver kube-apiserver
program kubelet kubelet
program kube-controller-manager kube-controller-manager
program kube-scheduler kube-scheduler
program kube-proxy kube-proxy
sed -i 's#runtime\.v1alpha2\.\(RuntimeService\|ImageService\)#runtime.v1.\1#' \
    "$tree/staging/src/k8s.io/cri-api/pkg/apis/runtime/v1alpha2/api.pb.go"
program kubelet-v1 kubelet

"$root/bin/kubelet" --version >&2
rm -rf "$work"
touch "$root/complete"
# Those of another recipe are of no use any more.
find "$cache/kubernetes" -mindepth 1 -maxdepth 1 -name "$release-*" ! -name "${root##*/}" -exec rm -rf {} +
