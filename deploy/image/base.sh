#!/bin/sh
# What the image itself has: Python, an init that reaps, folders and a user. Run once while it is built.
set -eu
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3 tini
# Nobody reads manuals here; licences stay.
find /usr/share/doc -mindepth 2 -type f ! -name copyright -delete
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/log/apt /var/log/dpkg.log \
    /usr/share/man /usr/share/info /usr/share/locale /usr/share/i18n /usr/share/zoneinfo/right /usr/share/zoneinfo/posix
rm -rf /usr/lib/python3*/pydoc_data
find /usr/lib/python3 /usr/lib/python3.* -name __pycache__ -type d -prune -exec rm -rf {} +
groupadd --gid 10001 facefusion
useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin facefusion
# As /tmp: whoever runs it (--user) may make files there, and only its own.
mkdir -p /data /input /output /models /config
chown 10001:10001 /data /output
chmod 1777 /data /output
rm -f "$0"
