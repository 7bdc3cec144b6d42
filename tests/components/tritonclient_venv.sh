#!/usr/bin/env bash
# Makes .venv-tritonclient, an environment with NVIDIA's client of the Open Inference Protocol.
# It pins protobuf below 7, so it cannot live beside us. Without a network there is none, and the
# tests that need it skip; in CI (CI=true) that is an error.
set -uo pipefail
cd "$(dirname "$0")/../.."

wanted="tritonclient[grpc]==2.73.0"
home=.venv-tritonclient
if [ "$(cat "$home/ready" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

python="${PYTHON:-python3}"
if [ -x .venv/bin/python ]; then python=.venv/bin/python; fi
if "$python" -m venv --clear "$home" && "$home/bin/pip" install --quiet "$wanted"; then
    echo "$wanted" >"$home/ready"
    exit 0
fi
rm -rf "$home"
echo "tritonclient could not be installed: the tests that need it will skip" >&2
if [ "${CI:-}" = true ]; then exit 1; fi
