#!/usr/bin/env bash
# Builds the image (target cpu) on a machine without docker: a base by mmdebstrap, buildah in a chroot, vfs storage. `make image`
#   build.sh FOLDER [wheels]   FOLDER keeps the storage; with "wheels" pip gets them from this machine instead of the network
# Says with 3 and a message where it cannot be built.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(realpath -m "$1")
python=${PYTHON:-python3}
missing=""
[ "$(id -u)" = 0 ] || missing="root"
for tool in mmdebstrap buildah podman runc; do command -v $tool >/dev/null || missing="$missing $tool"; done
if [ -n "$missing" ]; then
    echo "build.sh: THE IMAGE IS NOT BUILT: missing here: $missing (apt-get install buildah podman runc mmdebstrap)" >&2
    exit 3
fi
mkdir -p "$folder/xdg" "$folder/wheels"
export XDG_RUNTIME_DIR="$folder/xdg"
storage=(--root "$folder/root" --runroot "$folder/rr" --storage-driver vfs)
if ! podman "${storage[@]}" image exists localhost/debian-base:bookworm; then
    # As debian:slim is: no manuals, no translations, nothing that is only recommended, and merged from the start: usrmerge,
    # which would do it otherwise, brings all of Perl (50 MB).
    mmdebstrap --quiet --variant=minbase --include=usr-is-merged \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --aptopt='Apt::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        bookworm "$folder/base.tar"
    podman "${storage[@]}" import -q "$folder/base.tar" localhost/debian-base:bookworm
    rm "$folder/base.tar"
fi
options=()
if [ "${2-}" = wheels ]; then
    # async-timeout is what redis wants of the Python of Debian 12.
    "$python" -m pip download -q -c requirements-dev.lock --only-binary :all: -d "$folder/wheels" \
        '.[server,worker,report,storage,traces,models]' hatchling async-timeout
    options=(-v "$folder/wheels:/wheels:ro" --build-arg "PIP_OPTIONS=--no-index --find-links /wheels")
fi
buildah "${storage[@]}" bud --isolation chroot --network host --format docker --quiet \
    --ignorefile deploy/Dockerfile.dockerignore --build-arg BASE=localhost/debian-base:bookworm "${options[@]}" \
    --target cpu -t localhost/facefusion:test -f deploy/Dockerfile .
echo "$folder/root" >"$folder/built"
