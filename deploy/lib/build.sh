# Shared by deploy/quickstart.sh and tests/run.sh: what the build needs, where it
# goes, and a sign of life while RocksDB compiles.
# shellcheck shell=bash

# Everything that links RocksDB is built under one profile (release), in one
# place, so that no checkout and no command compiles it twice.
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/signalbox/target}"
export CARGO_TARGET_DIR

# RocksDB's build script leaves this many object files behind.
ROCKSDB_OBJECTS=340
# Measured on two cores with nothing in the cache.
COLD_BUILD_MINUTES=25

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
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

rocksdb_is_built() {
  compgen -G "$CARGO_TARGET_DIR/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null
}

# Prints how far RocksDB is, every 20 s, until it is built or we are told to stop.
watch_rocksdb() {
  local n started=$SECONDS
  while sleep 20; do
    rocksdb_is_built && { printf '    RocksDB is built after %d min\n' $(((SECONDS - started) / 60)); return; }
    n=$(find "$CARGO_TARGET_DIR/release/build" -path '*librocksdb-sys-*' -name '*.o' 2>/dev/null | wc -l)
    [ "$n" -gt 0 ] && printf '    RocksDB: %d of about %d files compiled, %d min so far\n' "$n" "$ROCKSDB_OBJECTS" $(((SECONDS - started) / 60))
  done
}

# with_progress COMMAND... runs a cargo command and shows RocksDB's progress beside it.
with_progress() {
  local watcher='' status=0
  if ! rocksdb_is_built; then
    say "first build: about $COLD_BUILD_MINUTES minutes on two cores, most of it RocksDB; kept in $CARGO_TARGET_DIR"
    watch_rocksdb & watcher=$!
  fi
  "$@" || status=$?
  [ -n "$watcher" ] && { kill "$watcher" 2>/dev/null; wait "$watcher" 2>/dev/null; }
  return $status
}

build_products() {
  say "building collector and command line (release)"
  with_progress cargo build --locked --release -p signalbox-collector -p signalbox-ctl
  say "building the agent (its own small profile)"
  cargo build --locked --profile agent -p signalbox-agent
}

COLLECTOR_BIN="$CARGO_TARGET_DIR/release/signalbox-collector"
CTL_BIN="$CARGO_TARGET_DIR/release/signalbox"
AGENT_BIN="$CARGO_TARGET_DIR/agent/signalbox-agent"
export COLLECTOR_BIN CTL_BIN AGENT_BIN
