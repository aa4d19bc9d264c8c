#!/bin/bash
# Makes an OCI image of one file: test/sample/image.sh MODULE NAME TAR
# What `FROM scratch`, `COPY module /app.wasm`, `ENTRYPOINT ["/app.wasm"]` would make, without a builder.
set -euo pipefail
module=${1:?module} name=${2:?name} tar=${3:?tar}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root" "$work/layout/blobs/sha256"
cp "$module" "$work/root/app.wasm"
chmod 0755 "$work/root/app.wasm"

# Moves a file among the blobs; prints its descriptor.
blob() {
    local digest size
    digest=$(sha256sum "$2" | cut -d' ' -f1)
    size=$(stat -c %s "$2")
    mv "$2" "$work/layout/blobs/sha256/$digest"
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%s%s}' "$1" "$digest" "$size" "${3:-}"
}

oci=application/vnd.oci.image
arch=$(dpkg --print-architecture)
tar --sort=name --owner=0 --group=0 --mtime=@0 -C "$work/root" -cf "$work/layer" app.wasm
diff=sha256:$(sha256sum "$work/layer" | cut -d' ' -f1)
layer=$(blob "$oci.layer.v1.tar" "$work/layer")
cat >"$work/config" <<END
{"architecture":"$arch","os":"linux","config":{"Entrypoint":["/app.wasm"]},"rootfs":{"type":"layers","diff_ids":["$diff"]}}
END
config=$(blob "$oci.config.v1+json" "$work/config")
cat >"$work/manifest" <<END
{"schemaVersion":2,"mediaType":"$oci.manifest.v1+json","config":$config,"layers":[$layer]}
END
extra=",\"platform\":{\"os\":\"linux\",\"architecture\":\"$arch\"},\"annotations\":{\"io.containerd.image.name\":\"$name\"}"
manifest=$(blob "$oci.manifest.v1+json" "$work/manifest" "$extra")
printf '{"schemaVersion":2,"manifests":[%s]}' "$manifest" >"$work/layout/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/layout/oci-layout"
tar -C "$work/layout" -cf "$tar" .
