#!/bin/sh
# Installs FaceFusion into /opt/facefusion: install.sh onnxruntime|onnxruntime-gpu. Reads PIP_OPTIONS, OPENCV, MODELS,
# LICENCES.
set -eu
runtime=$1
python3 -m venv --without-pip /opt/facefusion
python3 -m venv /opt/pip
pip() { /opt/pip/bin/pip --python /opt/facefusion/bin/python --disable-pip-version-check --no-cache-dir "$@"; }
# Versions are those that were tested; for a GPU only its runtime is another one.
grep -v '^onnxruntime==' requirements-dev.lock >/tmp/locked
[ "$runtime" != onnxruntime ] || cp requirements-dev.lock /tmp/locked
# What is a word each is meant to be one.
# shellcheck disable=SC2086
pip install ${PIP_OPTIONS:-} -c /tmp/locked --no-compile '.[server,worker,report,storage,traces,models]'
if [ "$runtime" != onnxruntime ]; then
    pip uninstall -y onnxruntime
    # shellcheck disable=SC2086
    pip install ${PIP_OPTIONS:-} -c /tmp/locked --no-compile "$runtime"
fi
mkdir -p /opt/facefusion/models
if [ -n "${MODELS:-}" ]; then
    export XDG_DATA_HOME=/tmp/fetched
    # shellcheck disable=SC2086
    /opt/facefusion/bin/facefusion models fetch $MODELS --licences "${LICENCES:-commercial}"
    cp -R /tmp/fetched/facefusion/models/. /opt/facefusion/models/
fi
[ "${OPENCV:-}" = wheel ] || /opt/facefusion/bin/python deploy/image/opencv.py
/opt/facefusion/bin/python deploy/image/wash.py
chmod -R a+rX /opt/facefusion
