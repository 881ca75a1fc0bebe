# Shared by deploy/quickstart.sh and tests/run.sh: what the build needs, where it
# goes, and a sign of life while RocksDB compiles.
# shellcheck shell=bash

# Everything that links RocksDB is built under one profile (release), in one
# place, so that no checkout and no command compiles it twice.
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/signalbox/target}"
export CARGO_TARGET_DIR

# RocksDB's build script leaves this many object files behind.
ROCKSDB_OBJECTS=343
# Measured on two cores with nothing in the cache.
COLD_BUILD_MINUTES=30

# Bold on a terminal only: in a file or a pipe the codes would be noise.
say() { if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then printf '\033[1m==>\033[0m %s\n' "$*"; else printf '==> %s\n' "$*"; fi; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "need root to run: $* (install sudo, or run it yourself and start again)"; fi
}

# need_packages PACKAGE... installs those Debian packages that are missing.
need_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null || die "install these packages first: ${missing[*]}"
  say "installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

need_rust() {
  command -v cargo >/dev/null || { [ -r "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"; }
  command -v cargo >/dev/null || die "no Rust toolchain: install the stable one with rustup (1.95 or newer), then start again"
}

# What a build of everything needs on a bare Debian.
need_build_tools() {
  need_rust
  need_packages g++ libclang-dev
}

# The library as compiled once, kept under what it was made of. cargo would compile
# it again whenever the set of crates that are built changes a feature of some build
# tool; the kept library is linked instead.
rocksdb_kept() {
  local made_of
  made_of=$({ grep -A2 '^name = "librocksdb-sys"' Cargo.lock; cat .cargo/config.toml; grep '^rocksdb' Cargo.toml; g++ --version | head -n 1; } | sha256sum | cut -c1-16)
  echo "$CARGO_TARGET_DIR/rocksdb/$made_of"
}

link_kept_rocksdb() {
  [ -e "$(rocksdb_kept)/librocksdb.a" ] || return 1
  ROCKSDB_LIB_DIR=$(rocksdb_kept)
  ROCKSDB_STATIC=1
  export ROCKSDB_LIB_DIR ROCKSDB_STATIC
}

# Prints how far RocksDB is, every 20 s, until we are told to stop.
watch_rocksdb() {
  local n started=$SECONDS
  while sleep 20; do
    n=$(find "$CARGO_TARGET_DIR/release/build" -path '*librocksdb-sys-*' -name '*.o' -newer "$1" 2>/dev/null | wc -l)
    [ "$n" -gt 0 ] && printf '    RocksDB: %d of about %d files compiled, %d min so far\n' "$n" "$ROCKSDB_OBJECTS" $(((SECONDS - started) / 60))
  done
}

# Compiles RocksDB unless it is kept already, and keeps it.
need_rocksdb() {
  link_kept_rocksdb && return 0
  local kept watcher begun status=0 built
  kept=$(rocksdb_kept)
  say "first build: about $COLD_BUILD_MINUTES minutes on two cores, most of it RocksDB; kept in $CARGO_TARGET_DIR"
  mkdir -p "$kept"
  begun=$(mktemp)
  watch_rocksdb "$begun" & watcher=$!
  cargo build --locked --release -p rocksdb || status=$?
  kill "$watcher" 2>/dev/null
  wait "$watcher" 2>/dev/null || true
  rm -f "$begun"
  [ "$status" = 0 ] || return "$status"
  built=$(find "$CARGO_TARGET_DIR/release/build" -path '*librocksdb-sys-*/out/librocksdb.a' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
  [ -n "$built" ] || die "RocksDB was built, but $CARGO_TARGET_DIR/release/build holds no librocksdb.a"
  # Complete or not there: a cut short copy must never be linked.
  cp "$built" "$kept/librocksdb.a.new" && mv "$kept/librocksdb.a.new" "$kept/librocksdb.a"
  link_kept_rocksdb
}

build_products() {
  need_rocksdb
  say "building collector and command line (release)"
  cargo build --locked --release -p signalbox-collector -p signalbox-ctl
  say "building the agent (its own small profile)"
  cargo build --locked --profile agent -p signalbox-agent
}

COLLECTOR_BIN="$CARGO_TARGET_DIR/release/signalbox-collector"
CTL_BIN="$CARGO_TARGET_DIR/release/signalbox"
AGENT_BIN="$CARGO_TARGET_DIR/agent/signalbox-agent"
export COLLECTOR_BIN CTL_BIN AGENT_BIN
