#!/usr/bin/env bash
# Measures Signalbox on this machine: agent cost, ingest, fault to webhook, TLS, churn of series; and
# the store beside VictoriaMetrics and Prometheus. docs/benchmarks.md says how each
# figure is got.
#
#   tests/bench/run.sh [OPTIONS] [agent] [ingest] [alert] [tls] [churn] [store] [-- OPTION...]
#
#   --data DIR   folder with a recording (node_1s.txt.zst) for ingest and store
#   --peers DIR  folder that measures other products: agents/run_agents.sh, and for
#                store the source of a load generator, gen/
#   --json FILE  one JSON line a figure is appended here
#   --secs N     how long agents are measured (default 120)
#   --rounds N   how often store is measured (default 1; 3 for the record)
#
# What follows -- goes to the one part that is named: `store -- --parts s1,kill`.
# Without a part: all but store.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/lib/build.sh
. deploy/lib/build.sh

data=() peers=() json=() secs=120 rounds=1 parts=() more=()
while [ $# -gt 0 ]; do
  case "$1" in
    --data) data=(--data "$(realpath "$2")"); shift ;;
    --peers) peers=(--peers "$(realpath "$2")"); shift ;;
    --json) json=(--json "$(realpath "$2")"); shift ;;
    --secs) secs=$2; shift ;;
    --rounds) rounds=$2; shift ;;
    agent | ingest | alert | tls | churn | store) parts+=("$1") ;;
    --) shift; more=("$@"); break ;;
    *) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 64 ;;
  esac
  shift
done
[ ${#parts[@]} -gt 0 ] || parts=(agent ingest alert tls churn)
[ ${#data[@]} -gt 0 ] || echo "no --data DIR: ingest uses a synthetic mix, store measures nothing"

# The peers of store: their Debian packages unpacked beside the build, nothing of them
# installed; and the generator that feeds them, built there.
need_store_peers() {
  local folder="$CARGO_TARGET_DIR/../debian/peers" generator="$CARGO_TARGET_DIR/../peers" package
  if [ ! -x "$folder/usr/bin/prometheus" ] || [ ! -x "$folder/usr/bin/victoria-metrics" ]; then
    mkdir -p "$folder"
    say "fetching prometheus and victoria-metrics"
    (cd "$folder" && apt-get download -qq prometheus victoria-metrics) ||
      { as_root apt-get update -qq && (cd "$folder" && apt-get download -qq prometheus victoria-metrics); } ||
      { echo "prometheus and victoria-metrics cannot be had: ours is measured alone"; return 0; }
    for package in "$folder"/*.deb; do dpkg -x "$package" "$folder"; done
  fi
  export PROMETHEUS_BIN="$folder/usr/bin/prometheus" VICTORIA_METRICS_BIN="$folder/usr/bin/victoria-metrics"
  [ ${#peers[@]} -gt 0 ] || { echo "no --peers DIR: nothing feeds the other servers"; return 0; }
  say "building the peers' load generator"
  CARGO_TARGET_DIR=$generator cargo build --locked --release --manifest-path "${peers[1]}/gen/Cargo.toml"
  export PEERBENCH_BIN="$generator/release/peerbench"
}

need_build_tools
build_products
cargo build --locked --release -p e2e
bench="$CARGO_TARGET_DIR/release/bench"
for part in "${parts[@]}"; do
  say "$part"
  case "$part" in
    agent) "$bench" "${json[@]}" agent --secs "$secs" "${peers[@]}" "${more[@]}" ;;
    ingest) "$bench" "${json[@]}" ingest "${data[@]}" "${more[@]}" ;;
    alert) "$bench" "${json[@]}" alert "${more[@]}" ;;
    tls) "$bench" "${json[@]}" tls --secs "$secs" "${more[@]}" ;;
    churn) cargo run --locked --release -p signalbox-collector --example churn -- "${more[@]}" ;;
    store)
      need_packages zstd
      need_store_peers
      "$bench" "${json[@]}" store "${data[@]}" --rounds "$rounds" "${more[@]}"
      ;;
  esac
done
