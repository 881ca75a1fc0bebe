#!/usr/bin/env bash
# Everything that must hold before a change lands: format, lint, what is linked,
# tidiness, unit and property tests, and system tests with real processes. Installs
# what is missing; listens on loopback only (two network namespaces of its own where
# it is root); leaves nothing running.
#
#   tests/run.sh [--quick] [--data DIR] [--peers DIR]
#
#   --quick      no system tests, and nothing is installed to look at what is linked
#   --data DIR   larger recordings for the tests that can use them, and a snapshot of
#                the RustSec database (advisory-db.tar.zst)
#   --peers DIR  scripts that measure other products (used by tests/bench)
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib/build.sh
. deploy/lib/build.sh

quick=0
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=1 ;;
    --data | --peers)
      [ $# -ge 2 ] && [ -d "$2" ] || { echo "error: $1 needs a folder" >&2; exit 64; }
      case "$1" in --data) export SIGNALBOX_TEST_DATA=$2 ;; --peers) export SIGNALBOX_TEST_PEERS=$2 ;; esac
      shift ;;
    -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "error: unknown option $1" >&2; exit 64 ;;
  esac
  shift
done

need_build_tools
[ -n "${SIGNALBOX_TEST_DATA:-}" ] || echo "no --data: tests use the small recording in tests/data only"

# Crates without RocksDB are tested in dev, with debug assertions; those that link
# it, and the system tests, in release.
pure=(-p signalbox-proto -p signalbox-access -p signalbox-engine -p signalbox-tsdb -p signalbox-promql -p signalbox-ctl -p signalbox-agent)
linked=(-p signalbox-collector -p e2e)
passed=0 failed=0

# A real SMTP server for the mail tests, unpacked beside the build: nothing of it
# is installed, nothing is started but by the tests.
need_smtp_server() {
  need_packages python3
  python3 -c 'import aiosmtpd' 2>/dev/null && return 0
  local folder="$CARGO_TARGET_DIR/../debian" package
  export SIGNALBOX_TEST_PYTHON="$folder/usr/lib/python3/dist-packages"
  [ -d "$SIGNALBOX_TEST_PYTHON/aiosmtpd" ] && return 0
  mkdir -p "$folder"
  say "fetching aiosmtpd"
  (cd "$folder" && apt-get download -qq python3-aiosmtpd python3-public python3-attr) ||
    { as_root apt-get update -qq && (cd "$folder" && apt-get download -qq python3-aiosmtpd python3-public python3-attr); }
  for package in "$folder"/*.deb; do dpkg -x "$package" "$folder"; done
}

# A library that makes a program's wall clock jump, for F40. Without it that test
# says SKIPPED.
need_faketime() {
  local folder="$CARGO_TARGET_DIR/../debian/faketime" library
  library=$folder/usr/lib/$(uname -m)-linux-gnu/faketime/libfaketime.so.1
  if [ ! -e "$library" ]; then
    mkdir -p "$folder"
    say "fetching libfaketime"
    (cd "$folder" && apt-get download -qq libfaketime && dpkg -x libfaketime_*.deb .) || true
  fi
  export SIGNALBOX_TEST_FAKETIME=$library
}

# Prometheus and promtool: writers to us, clients of our API, and whom PromQL is compared
# with. Without them those tests say SKIPPED.
need_prometheus() {
  local folder="$CARGO_TARGET_DIR/../debian/prometheus"
  export SIGNALBOX_TEST_PROMETHEUS="$folder/usr/bin"
  [ -x "$SIGNALBOX_TEST_PROMETHEUS/promtool" ] && return 0
  mkdir -p "$folder"
  say "fetching prometheus"
  (cd "$folder" && apt-get download -qq prometheus) ||
    { as_root apt-get update -qq && (cd "$folder" && apt-get download -qq prometheus); } || return 0
  dpkg -x "$folder"/prometheus_*.deb "$folder"
  rm -f "$folder"/*.deb
}

# count WORDS FILE: the numbers before these words, added up; 0 when there are none.
count() {
  awk -v words="$1" '{ while (match($0, "[0-9]+ (" words ")")) { n += substr($0, RSTART); $0 = substr($0, RSTART + RLENGTH) } } END { print n + 0 }' "$2"
}

# tests NAME CARGO-ARGUMENTS... runs tests and adds up the runner's counts.
tests() {
  local name=$1 log status=0 n_failed
  shift
  log=$(mktemp)
  say "tests: $name"
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --no-fail-fast --config-file tests/nextest.toml "$@" 2>&1 | tee "$log" || status=$?
    sed -i -n '/^ *Summary/p' "$log"
  else
    cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?
    sed -i -n '/^test result/p' "$log"
  fi
  passed=$((passed + $(count 'passed' "$log")))
  n_failed=$(count 'failed|timed out' "$log")
  # A build that failed, or a runner that died, counts as one.
  [ "$status" = 0 ] || [ "$n_failed" -gt 0 ] || n_failed=1
  failed=$((failed + n_failed))
  rm -f "$log"
}

# tool NAME: true when cargo has it, from wherever.
tool() { command -v "cargo-$1" >/dev/null; }

# Once, kept beside the build. Without a network the looks that need them are skipped.
need_supply_tools() {
  local folder="$CARGO_TARGET_DIR/../tools" missing=()
  PATH="$folder/bin:$PATH"
  tool deny || missing+=(cargo-deny)
  tool audit || missing+=(cargo-audit)
  [ ${#missing[@]} -gt 0 ] && [ "$quick" = 0 ] || return 0
  say "installing ${missing[*]}: some minutes, once"
  timeout 900 cargo install --quiet --locked --root "$folder" "${missing[@]}" || echo "${missing[*]} could not be installed"
}

# The folder of a RustSec database: the snapshot that was given, or a fresh copy.
advisories() {
  local folder=$1
  if [ -r "${SIGNALBOX_TEST_DATA:-}/advisory-db.tar.zst" ]; then
    need_packages zstd
    tar --zstd -xf "$SIGNALBOX_TEST_DATA/advisory-db.tar.zst" -C "$folder"
  else
    timeout 60 git clone --quiet --depth 1 https://github.com/RustSec/advisory-db "$folder" 2>/dev/null
  fi
}

# What is linked: licences, banned crates, origins, known faults. A tool or database
# that cannot be had is said aloud and is no failure; a finding is one.
supply() {
  local folder
  need_supply_tools
  if tool deny; then
    say "what is linked: licences, bans, origins"
    if cargo deny --offline --log-level error check bans licenses sources; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  else
    echo "SKIPPED: cargo-deny is not installed (cargo install --locked cargo-deny)"
  fi
  folder=$(mktemp -d)
  if ! tool audit; then
    echo "SKIPPED: cargo-audit is not installed (cargo install --locked cargo-audit)"
  elif ! advisories "$folder"; then
    echo "SKIPPED: no RustSec database: no network, and no advisory-db.tar.zst in --data"
  else
    say "what is linked: known faults"
    if cargo audit --db "$folder" --no-fetch --stale --quiet; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  fi
  rm -rf "$folder"
}

say "format"
cargo fmt --all --check
say "lint (dev)"
cargo clippy --locked "${pure[@]}" --all-targets --all-features -- -D warnings
need_rocksdb
say "lint (release)"
cargo clippy --locked --release "${linked[@]}" --all-targets -- -D warnings

supply
tests "pure crates" "${pure[@]}" --all-features
if [ "$quick" = 1 ]; then
  tests "collector" --release -p signalbox-collector
  tests "tidiness" --release -p e2e --test tidy
else
  build_products
  need_smtp_server
  need_faketime
  need_prometheus
  tests "collector, tidiness, system" --release "${linked[@]}"
fi

echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
