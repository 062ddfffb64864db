#!/bin/sh
# Unit and end-to-end tests beside the integration tests: most of their time is waiting, for brokers, clocks and disks.
# With arguments everything runs in one process, as pytest does: tests/run.sh PYTHON -k name
set -eu
python=$1
shift
if [ $# -gt 0 ]; then exec "$python" -m pytest -m "not long" "$@"; fi
output=$(mktemp)
trap 'rm -f "$output"' EXIT
"$python" -m pytest -m "not long" tests/integration >"$output" 2>&1 &
beside=$!
status=0
"$python" -m pytest -m "not long" tests/unit tests/e2e || status=$?
wait "$beside" || status=$?
cat "$output"
exit "$status"
