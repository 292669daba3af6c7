#!/usr/bin/env bash
# Servers that the tests of the cluster start, and a browser for those of the page: installed where apt-get works as root,
# left out with a message elsewhere.
set -uo pipefail
packages="rabbitmq-server redis-server postgresql ceph-mon ceph-osd radosgw ceph-common chromium prometheus prometheus-alertmanager"
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "install_servers: not root or no apt-get; tests that need $packages are skipped (and fail with CI=true)" >&2
    exit 0
fi
missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
echo "install_servers: installing$missing" >&2
apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
    echo "install_servers: apt-get failed; tests that need these are skipped (and fail with CI=true)" >&2
