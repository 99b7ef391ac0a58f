#!/usr/bin/env bash
# Counts the instructions of a command by function, with callgrind: slow, but the same number every time, so a change
# of half a percent shows. Made for kernels and small inputs.
#
#   perf-scripts/instructions.sh [-o OUT] [-n LINES] -- COMMAND [ARGUMENT…]
#
# For example: perf-scripts/instructions.sh -- deltalite-bench loop --format deltalite --case decode --data lineitem \
#   --sf 0.01 --count 3
# callgrind knows AVX2 but not AVX-512: code chosen at run time takes the path of a machine without it.
set -euo pipefail

out=callgrind.out lines=25
usage() { sed -n '2,9s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case "$1" in
    -o) out=$2; shift 2 ;;
    -n) lines=$2; shift 2 ;;
    -h|--help) usage; exit 0 ;;
    --) shift; break ;;
    *) echo "instructions.sh: unknown option $1 (before the command, write --)" >&2; exit 2 ;;
  esac
done
if [ $# -eq 0 ]; then usage >&2; exit 2; fi
command -v valgrind >/dev/null || { echo "instructions.sh: valgrind is missing: apt-get install valgrind" >&2; exit 1; }

valgrind --quiet --tool=callgrind --callgrind-out-file="$out" --dump-instr=no -- "$@"
echo
echo "instructions by function ($out; open it in kcachegrind for call graphs):"
callgrind_annotate --threshold=99 "$out" | sed -n '/Ir/,$p' | head -n "$lines"
