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
# Others install too (a new machine brings itself up to date), and hold one of apt's locks meanwhile. Not all of them are waited
# for by apt itself.
wait="-o DPkg::Lock::Timeout=300"
for try in 1 2 3 4 5; do
    apt-get $wait update -qq && DEBIAN_FRONTEND=noninteractive apt-get $wait install -y -qq --no-install-recommends $missing >/dev/null && exit 0
    [ "$try" = 5 ] || { echo "install_servers: apt-get failed ($try of 5), trying again in 20 s" >&2; sleep 20; }
done
echo "install_servers: apt-get failed; tests that need these are skipped (and fail with CI=true)" >&2
