#!/usr/bin/env bash
# Measures Signalbox on this machine: agent cost, ingest, fault to webhook, TLS, churn of series.
#
#   tests/bench/run.sh [--data DIR] [--peers DIR] [--json FILE] [--secs N] [agent] [ingest] [alert] [tls] [churn]
#
#   --data DIR   folder with a recording (node_1s.txt.zst) for ingest
#   --peers DIR  folder with scripts that measure other products (agents/run_agents.sh)
#   --json FILE  one JSON line a figure is appended here
#   --secs N     how long agents are measured (default 120)
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/lib/build.sh
. deploy/lib/build.sh

data=() peers=() json=() secs=120 parts=()
while [ $# -gt 0 ]; do
  case "$1" in
    --data) data=(--data "$2"); shift ;;
    --peers) peers=(--peers "$2"); shift ;;
    --json) json=(--json "$(realpath "$2")"); shift ;;
    --secs) secs=$2; shift ;;
    agent | ingest | alert | tls | churn) parts+=("$1") ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 64 ;;
  esac
  shift
done
[ ${#parts[@]} -gt 0 ] || parts=(agent ingest alert tls churn)
[ ${#data[@]} -gt 0 ] || echo "no --data DIR: ingest uses a synthetic mix"

need_build_tools
build_products
cargo build --locked --release -p e2e
bench="$CARGO_TARGET_DIR/release/bench"
for part in "${parts[@]}"; do
  say "$part"
  case "$part" in
    agent) "$bench" "${json[@]}" agent --secs "$secs" "${peers[@]}" ;;
    ingest) "$bench" "${json[@]}" ingest "${data[@]}" ;;
    alert) "$bench" "${json[@]}" alert ;;
    tls) "$bench" "${json[@]}" tls --secs "$secs" ;;
    churn) cargo run --locked --release -p signalbox-collector --example churn ;;
  esac
done
