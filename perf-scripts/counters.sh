#!/usr/bin/env bash
# Counts cycles, instructions, cache and branch misses of a command with perf stat; where the machine offers no
# hardware counters it says so and counts what remains: task clock, page faults, context switches, migrations.
#
#   perf-scripts/counters.sh [-r REPEATS] -- COMMAND [ARGUMENT…]
set -euo pipefail

repeats=3
usage() { sed -n '2,5s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case "$1" in
    -r) repeats=$2; shift 2 ;;
    -h|--help) usage; exit 0 ;;
    --) shift; break ;;
    *) echo "counters.sh: unknown option $1 (before the command, write --)" >&2; exit 2 ;;
  esac
done
if [ $# -eq 0 ]; then usage >&2; exit 2; fi
command -v perf >/dev/null || { echo "counters.sh: perf is missing: apt-get install linux-perf (Debian) or linux-tools-generic (Ubuntu)" >&2; exit 1; }

software=task-clock,page-faults,minor-faults,major-faults,context-switches,cpu-migrations
hardware=cycles,instructions,branches,branch-misses,cache-references,cache-misses,L1-dcache-load-misses,dTLB-load-misses
if perf stat -e cycles -- true 2>&1 | grep -Eq '<not (supported|counted)>|not supported'; then
  echo "This machine offers no hardware counters (a virtual machine without a PMU, or they are switched off):"
  echo "cycles, instructions, cache and branch misses can't be counted here. Below is what the kernel itself counts."
  echo "For instruction counts, which don't vary from run to run, use perf-scripts/instructions.sh (valgrind)."
  events=$software
else
  events=$software,$hardware
fi
exec perf stat -r "$repeats" -e "$events" -- "$@"
