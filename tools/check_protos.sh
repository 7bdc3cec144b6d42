#!/usr/bin/env bash
# check_protos.sh BUF: lint, format and breaking changes of the protos, with the given buf.
set -euo pipefail
buf=$1
if ! [ -x "$buf" ]; then
    if [ "${CI:-}" = true ]; then
        echo "buf is missing, and in CI nothing is skipped" >&2
        exit 1
    fi
    echo "skipped: buf lint, format and breaking, because npm is not installed"
    exit 0
fi
"$buf" lint
"$buf" format --diff --exit-code
# What was committed before is what somebody may have generated clients from.
if git rev-parse --quiet --verify HEAD~1 >/dev/null && git cat-file -e HEAD~1:buf.yaml 2>/dev/null; then
    "$buf" breaking --against '.git#ref=HEAD~1'
fi
