#!/usr/bin/env bash
# Builds Signalbox and watches this very host: a collector with its own store, an
# agent, and the default rules. Everything listens on loopback and lives in one
# folder. The agent and the command line go over Unix sockets there, where the kernel
# says who calls; the page asks for a login, for which a link is printed.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib/build.sh
. deploy/lib/build.sh

usage() {
  cat <<EOF
usage: deploy/quickstart.sh [--detach | --stop] [--data DIR] [--http PORT] [--grpc PORT]

  (no option)  builds, starts, shows the live board; both stop when you leave it
  --detach     builds, starts, returns once the board shows real levels
  --stop       ends what an earlier call left running in DIR
  --data DIR   where everything lives (default: ${XDG_DATA_HOME:-$HOME/.local/share}/signalbox)
  --http PORT  page and API (default 8440, then what DIR/collector.yaml says)
  --grpc PORT  agents (default 8441, likewise)
EOF
}

data="${XDG_DATA_HOME:-$HOME/.local/share}/signalbox" mode=show http='' grpc=''
while [ $# -gt 0 ]; do
  case "$1" in
    --detach) mode=detach ;;
    --stop) mode=stop ;;
    --data | --http | --grpc)
      [ $# -ge 2 ] || { printf 'error: %s needs a value\n' "$1" >&2; usage >&2; exit 64; }
      case "$1" in --data) data=$2 ;; --http) http=$2 ;; --grpc) grpc=$2 ;; esac
      shift ;;
    -h | --help) usage; exit 0 ;;
    *) printf 'error: unknown option %s\n' "$1" >&2; usage >&2; exit 64 ;;
  esac
  shift
done
[ -n "$data" ] || { echo "error: --data is empty: name a folder" >&2; exit 64; }
# An earlier call has written its ports down; a port that is given replaces them.
port_kept() { # KEY DEFAULT
  local port
  port=$(sed -n "s|^$1: *127\.0\.0\.1:\([0-9][0-9]*\).*|\1|p" "$data/collector.yaml" 2>/dev/null | tail -n 1) || true
  echo "${port:-$2}"
}
[ -n "$http" ] || http=$(port_kept listen_http 8440)
[ -n "$grpc" ] || grpc=$(port_kept listen_grpc 8441)
case "$http$grpc" in *[!0-9]*) die "ports are numbers: --http $http --grpc $grpc" ;; esac

# A pid file names a process only while that process runs our binary.
running() { # NAME
  local pid
  pid=$(cat "$data/run/$1.pid" 2>/dev/null) || return 1
  [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && grep -aq "signalbox-$1" "/proc/$pid/cmdline" 2>/dev/null && echo "$pid"
}

stop_one() { # NAME
  local pid
  pid=$(running "$1") || { rm -f "$data/run/$1.pid"; return 0; }
  kill "$pid"
  for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -0 "$pid" 2>/dev/null && die "$1 (pid $pid) does not stop; see $data/log/$1.log"
  rm -f "$data/run/$1.pid"
  echo "$1 stopped"
}

stop_all() { stop_one agent; stop_one collector; }

if [ "$mode" = stop ]; then
  [ -d "$data/run" ] || { echo "nothing runs in $data"; exit 0; }
  stop_all
  exit 0
fi

need_build_tools
build_products

if running collector >/dev/null || running agent >/dev/null; then
  say "restarting what runs in $data"
  stop_all
fi
mkdir -p "$data"/{run,log,rules,collector,agent}
chmod 700 "$data"
# Defaults are ours and renewed; what you add to rules/ beside them stays yours.
cp deploy/rules/*.yaml "$data/rules/"
for file in collector agent; do
  [ -e "$data/$file.yaml" ] || sed "s|@DATA@|$data|g" "deploy/examples/quickstart-$file.yaml" > "$data/$file.yaml"
done
# What is started by hand from these files meets the same ports.
sed -i "s|^listen_http:.*|listen_http: 127.0.0.1:$http|; s|^listen_grpc:.*|listen_grpc: 127.0.0.1:$grpc|" "$data/collector.yaml"
sed -i "s|^collector:.*|collector: unix:$data/collector/agent.sock|" "$data/agent.yaml"

start_one() { # NAME COMMAND...
  local name=$1
  shift
  nohup setsid "$@" >>"$data/log/$name.log" 2>&1 </dev/null &
  echo $! >"$data/run/$name.pid"
  sleep 0.3
  running "$name" >/dev/null || { tail -n 5 "$data/log/$name.log" >&2; die "$name did not start; the whole log: $data/log/$name.log"; }
}

address="http://127.0.0.1:$http" socket="$data/collector/operator.sock"
# The kernel takes no longer name of a socket.
[ ${#socket} -le 107 ] || die "$socket is longer than a socket's name may be: take a shorter --data"
ctl() { "$CTL_BIN" --socket "$socket" "$@"; }
say "starting"
start_one collector "$COLLECTOR_BIN" run --config "$data/collector.yaml" --http "127.0.0.1:$http" --grpc "127.0.0.1:$grpc"
start_one agent "$AGENT_BIN" run --config "$data/agent.yaml"

# Real levels: every machine subject was sampled and judged. Rates take two samples.
missing=''
for _ in $(seq 300); do
  running collector >/dev/null || { tail -n 5 "$data/log/collector.log" >&2; die "the collector ended; see $data/log/collector.log"; }
  running agent >/dev/null || { tail -n 5 "$data/log/agent.log" >&2; die "the agent ended; see $data/log/agent.log"; }
  board=$(ctl status --all --output json 2>/dev/null) || board=''
  missing=''
  for subject in cpu memory filesystem swap network; do
    grep -qE "\"metric\": ?\"signalbox_${subject}_" <<<"$board" || missing="$missing $subject"
  done
  [ -z "$missing" ] && break
  sleep 0.1
done
[ -z "$missing" ] || die "after 30 s the board shows no level for:$missing; see $data/log"

# A link of an earlier version must not be written through.
rm -f "$data/signalbox"
printf '#!/bin/sh\nexec "%s" --socket "%s" "$@"\n' "$CTL_BIN" "$socket" >"$data/signalbox"
chmod 755 "$data/signalbox"
link=$(ctl --output json login-link admin | sed -n 's/.*"secret": *"\([^"]*\)".*/\1/p') || link=''
[ -n "$link" ] || die "the collector gave no login link; see $data/log/collector.log"
cat <<EOF

  page      $address/
  log in    $link
            (once, within 15 minutes; another one: $data/signalbox login-link admin)
  command   $data/signalbox status
  rules     $data/rules   (edit, then: kill -HUP \$(cat $data/run/collector.pid))
  logs      $data/log
  stop      deploy/quickstart.sh --stop --data $data

EOF
if [ "$mode" = detach ]; then
  ctl status --all
  exit 0
fi
trap stop_all EXIT
if [ -t 0 ] && [ -t 1 ]; then
  ctl top
else
  ctl status --all
fi
