#!/bin/bash
# Packs the files of a folder into an OCI image of one layer, `guests:latest`.
#
#   test/cgroup2/oci-image.sh FOLDER FILE.tar
set -euo pipefail
folder=$1 out=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/blobs/sha256"

# Puts standard input into the image and prints its descriptor.
blob() {
    local type=$1 file=$work/blob digest
    cat >"$file"
    digest=$(sha256sum "$file" | cut -c1-64)
    printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s' \
        "$type" "$digest" "$(stat -c %s "$file")"
    mv "$file" "$work/blobs/sha256/$digest"
}

layer="$(tar --owner=0 --group=0 --mtime=@0 -C "$folder" -c . | blob layer.v1.tar)}"
diff=$(sed 's/.*"\(sha256:[0-9a-f]*\)".*/\1/' <<<"$layer")
config="$(printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":[],"Cmd":["/hello.wasm"]},"rootfs":{"type":"layers","diff_ids":["%s"]}}' "$diff" | blob config.v1+json)}"
manifest=$(printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' "$config" "$layer" | blob manifest.v1+json)
printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"io.containerd.image.name":"docker.io/library/guests:latest"}}]}' \
    "$manifest" >"$work/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$work/oci-layout"
tar -C "$work" -cf "$out" oci-layout index.json blobs
