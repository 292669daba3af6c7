#!/bin/sh
# From `pip install` to a swapped face, by the service: sh examples/first_swap.sh [FOLDER]
# Needs Python 3.11+ and curl. Installs into FOLDER/venv where there is no facefusion command yet.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-first_swap}
port=${PORT:-5000}
mkdir -p "$folder"
cd "$folder"
if ! command -v facefusion > /dev/null; then
    python3 -m venv venv
    venv/bin/pip install -q "$here[server]"
    PATH="$PWD/venv/bin:$PATH"
fi
samples="$here/src/facefusion/samples"

# The service, and the page that a browser would open.
facefusion serve --port "$port" --jobs-path jobs &
service=$!
trap 'kill $service' EXIT
url=http://127.0.0.1:$port
tries=0
until curl -fs "$url/v1/health"; do
    tries=$((tries + 1))
    if [ $tries -gt 600 ] || ! kill -0 $service; then echo "it did not start" >&2; exit 1; fi
    sleep 0.1
done
echo
curl -fs "$url/" -o page.html
echo "the page is open: $(grep -o '<title>.*</title>' page.html)"

# A key for programs, and the same command line as without a service.
FACEFUSION_SERVER_KEY=$(facefusion keys create --jobs-path jobs --tenant me --scopes jobs:write,assets:write --expires 1d \
    | grep '^ff_')
export FACEFUSION_SERVER_KEY
facefusion run --server "$url" -s "$samples/source.jpg" -t "$samples/target.mp4" -o swapped.mp4
ls -l swapped.mp4
