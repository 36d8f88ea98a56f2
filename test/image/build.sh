#!/usr/bin/env bash
# Executes the Dockerfile with buildah, which needs no container engine, and leaves the file system of the image in a folder.
# Images cannot be pulled here: in the place of the base there is one of Debian's packages, and npm's Node.
#
#   build.sh FOLDER    makes FOLDER/config.json and FOLDER/root
set -euo pipefail
folder=$1
source=$(cd "$(dirname "$0")/../.." && pwd)
export BUILDAH_ISOLATION=chroot
run() { buildah --root "$folder/storage" --runroot "$folder/run" "$@"; }

mkdir -p "$folder"
# Unpacked only: to set packages up takes longer than all the rest, and nothing here needs it.
mmdebstrap --quiet --variant=extract \
  --include=bash,dash,coreutils,findutils,grep,libc-bin,libstdc++6,libatomic1 bookworm "$folder/base.tar"
base=$(run from scratch)
run add --quiet "$base" "$folder/base.tar" /
run copy --quiet "$base" "$source/node_modules/node/bin/node" /usr/local/bin/node
run copy --quiet "$base" "$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")" /usr/local/lib/node_modules/npm
run run "$base" -- ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
run config --env PATH=/usr/local/bin:/usr/bin:/bin --env HOME=/root "$base"
run commit --quiet --rm "$base" localhost/base >/dev/null

# A machine may have authorities of its own in front of its registry.
volumes=()
if [ -n "${NODE_EXTRA_CA_CERTS:-}" ]; then
  echo 'cafile=/run/authorities.pem' >"$folder/npmrc"
  volumes=(--volume "$NODE_EXTRA_CA_CERTS:/run/authorities.pem:ro" --volume "$folder/npmrc:/root/.npmrc:ro")
fi
run bud --pull-never "${volumes[@]}" --tag localhost/parley \
  --build-arg NODE_IMAGE=localhost/base --build-arg VERSION=0.0.0-test --build-arg REVISION=0123456 "$source"

run inspect --type image localhost/parley >"$folder/config.json"
image=$(run from --pull-never localhost/parley)
# A copy, which needs no mount.
cp -a "$(run mount "$image")" "$folder/root"
run umount "$image" >/dev/null
run rm --all >/dev/null
