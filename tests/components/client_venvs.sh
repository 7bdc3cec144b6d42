#!/usr/bin/env bash
# Makes environments with other people's ends of the Open Inference Protocol: NVIDIA's client, the
# stubs of KServe without the server around them, and MLServer, stubs and server. Each brings a
# protobuf file of the same name as ours, so none can live beside us. Without a network there are
# none, and the tests that need them skip; in CI (CI=true) that is an error.
set -uo pipefail
cd "$(dirname "$0")/../.."

python="${PYTHON:-python3}"
if [ -x .venv/bin/python ]; then python=.venv/bin/python; fi

# Arguments: name, what pip installs with its dependencies, what it installs without.
make_venv() {
    local home=".venv-$1" wanted="$2 $3"
    if [ "$(cat "$home/ready" 2>/dev/null)" = "$wanted" ]; then return 0; fi
    # shellcheck disable=SC2086  # several requirements
    if "$python" -m venv --clear "$home" && "$home/bin/pip" install --quiet $2 &&
        { [ -z "$3" ] || "$home/bin/pip" install --quiet --no-deps $3; }; then
        echo "$wanted" >"$home/ready"
        return 0
    fi
    rm -rf "$home"
    echo "$1 could not be installed: the tests that need it will skip" >&2
    [ "${CI:-}" != true ]
}

# MLServer does not start with uvloop 0.22 or later.
make_venv tritonclient "tritonclient[grpc]==2.73.0" "" &&
    make_venv kserve "grpcio==1.76.0 protobuf==6.33.6 numpy" "kserve==0.21.0" &&
    make_venv mlserver "mlserver==1.7.1 uvloop<0.22 onnxruntime" ""
