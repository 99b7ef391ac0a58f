#!/usr/bin/env bash
# Records where a command spends its time and draws it as a flame graph.
#
#   perf-scripts/flamegraph.sh [-o OUT.svg] [-F HZ] [--title TEXT] -- COMMAND [ARGUMENT…]
#   perf-scripts/flamegraph.sh [-o OUT.svg] [-F HZ] --pid PID [--seconds N]
#
# For example, one scan of lineitem again and again for ten seconds:
#   perf-scripts/flamegraph.sh -o decode.svg -- \
#     deltalite-bench loop --format deltalite --case decode --data lineitem --seconds 10
#
# It samples the cpu-clock event, which also works on machines (and virtual ones) without hardware counters.
set -euo pipefail

out=flamegraph.svg hz=499 title="" pid="" seconds=10
usage() { sed -n '2,12s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case "$1" in
    -o) out=$2; shift 2 ;;
    -F) hz=$2; shift 2 ;;
    --title) title=$2; shift 2 ;;
    --pid) pid=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    -h|--help) usage; exit 0 ;;
    --) shift; break ;;
    *) echo "flamegraph.sh: unknown option $1 (before the command, write --)" >&2; exit 2 ;;
  esac
done
if [ -z "$pid" ] && [ $# -eq 0 ]; then usage >&2; exit 2; fi
command -v perf >/dev/null || { echo "flamegraph.sh: perf is missing: apt-get install linux-perf (Debian) or linux-tools-generic (Ubuntu)" >&2; exit 1; }
paranoid=$(cat /proc/sys/kernel/perf_event_paranoid 2>/dev/null || echo 0)
if [ "$(id -u)" != 0 ] && [ "$paranoid" -gt 2 ]; then
  echo "flamegraph.sh: the kernel refuses profiling to ordinary users: sudo sysctl kernel.perf_event_paranoid=1" >&2
  exit 1
fi

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Call graphs by DWARF: optimised Rust code keeps no frame pointers. 16 KiB of stack reach through deep generic code.
record=(perf record --quiet -e cpu-clock -F "$hz" --call-graph dwarf,16384 -o "$work/perf.data")
if [ -n "$pid" ]; then
  "${record[@]}" --pid "$pid" -- sleep "$seconds"
  title=${title:-"process $pid"}
else
  "${record[@]}" -- "$@"
  title=${title:-"$*"}
fi
# Resolving inlined frames takes perf minutes on large binaries; functions are enough to see where time goes.
perf script --no-inline -i "$work/perf.data" 2>"$work/script.log" > "$work/samples" || { cat "$work/script.log" >&2; exit 1; }
if command -v inferno-collapse-perf >/dev/null && command -v inferno-flamegraph >/dev/null; then
  inferno-collapse-perf < "$work/samples" 2>/dev/null | inferno-flamegraph --title "$title" > "$out"
else
  perl "$here/fold-and-draw.pl" --title "$title" < "$work/samples" > "$out"
fi
echo "flame graph: $out"
echo "hottest functions, self time:"
perf report --no-inline --no-children -i "$work/perf.data" --stdio -g none --percent-limit 1 2>/dev/null \
  | grep -v '^#' | grep -v '^$' | head -n 20
