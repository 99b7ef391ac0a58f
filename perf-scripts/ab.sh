#!/usr/bin/env bash
# Compares two revisions: builds each in a worktree of its own, lets them take turns, and prints the medians and
# their ratio, with the spread of each revision against itself so that noise is not taken for a result.
#
#   perf-scripts/ab.sh REVISION_A REVISION_B [-r ROUNDS] [-- LOOP_ARGUMENT…]
#
# The arguments go to `deltalite-bench loop`; without any it decodes lineitem at scale factor 0.1. For example:
#   perf-scripts/ab.sh main HEAD -r 15 -- --case filter --data lineitem --sf 1
set -euo pipefail

rounds=9
usage() { sed -n '2,9s/^# \{0,1\}//p' "$0"; }
revisions=()
while [ $# -gt 0 ]; do
  case "$1" in
    -r) rounds=$2; shift 2 ;;
    -h|--help) usage; exit 0 ;;
    --) shift; break ;;
    -*) echo "ab.sh: unknown option $1" >&2; exit 2 ;;
    *) revisions+=("$1"); shift ;;
  esac
done
if [ ${#revisions[@]} -ne 2 ]; then usage >&2; exit 2; fi
arguments=("$@")
[ ${#arguments[@]} -gt 0 ] || arguments=(--case decode --data lineitem --sf 0.1)

root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
base=${CARGO_TARGET_DIR:-$HOME/.cache/deltalite/target}
data=$root/target/bench-data
work=$(mktemp -d)
cleanup() {
  for side in a b; do git -C "$root" worktree remove --force "$work/$side" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT

binaries=()
for side in 0 1; do
  name=$([ $side = 0 ] && echo a || echo b)
  commit=$(git -C "$root" rev-parse --verify --quiet "${revisions[$side]}^{commit}") \
    || { echo "ab.sh: no revision ${revisions[$side]}" >&2; exit 2; }
  git -C "$root" worktree add --quiet --detach "$work/$name" "$commit"
  echo "building ${revisions[$side]} ($(git -C "$root" log -1 --format='%h %s' "$commit"))" >&2
  # Dependencies are shared through the target folder; the binary is copied out before the other one replaces it.
  CARGO_TARGET_DIR=$base cargo build --quiet --release --manifest-path "$work/$name/Cargo.toml" -p deltalite-bench
  cp "$base/release/deltalite-bench" "$work/bench-$name"
  binaries+=("$work/bench-$name")
done

# Both sides work on files of their own: a revision may have changed the format.
once() {
  local name
  name=$([ "$1" = 0 ] && echo a || echo b)
  "${binaries[$1]}" loop "${arguments[@]}" --data-dir "$work/data-$name" --quiet
}
for name in a b; do
  mkdir -p "$work/data-$name" "$data"
  for cached in "$data"/*.arrow; do [ -e "$cached" ] && ln -s "$cached" "$work/data-$name/"; done
done
once 0 >/dev/null; once 1 >/dev/null
for round in $(seq "$rounds"); do
  first=$((round % 2))
  for side in $first $((1 - first)); do once "$side" >> "$work/times-$side"; done
  printf '\rround %d of %d' "$round" "$rounds" >&2
done
echo >&2

awk -v a="${revisions[0]}" -v b="${revisions[1]}" '
  function median(values, n,   i, j, t) {
    for (i = 2; i <= n; i++) { t = values[i]; for (j = i - 1; j >= 1 && values[j] > t; j--) values[j + 1] = values[j]; values[j + 1] = t }
    return n % 2 ? values[(n + 1) / 2] : (values[n / 2] + values[n / 2 + 1]) / 2
  }
  FNR == 1 { file++ }
  { if (file == 1) x[++n] = $1; else y[++m] = $1 }
  END {
    ma = median(x, n); mb = median(y, m)
    printf "%-24s median %10.3f ms   quartiles %.3f to %.3f\n", a, ma, x[int((n + 3) / 4)], x[int((3 * n + 3) / 4)]
    printf "%-24s median %10.3f ms   quartiles %.3f to %.3f\n", b, mb, y[int((m + 3) / 4)], y[int((3 * m + 3) / 4)]
    printf "%s is %.3f times as fast as %s", b, ma / mb, a
    overlap = x[int((3 * n + 3) / 4)] >= y[int((m + 3) / 4)] && y[int((3 * m + 3) / 4)] >= x[int((n + 3) / 4)]
    print overlap ? "; the middle halves overlap: this may be noise" : ""
  }' "$work/times-0" "$work/times-1"
