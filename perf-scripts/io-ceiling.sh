#!/usr/bin/env bash
# What the disk under a folder can do, by a bare io_uring loop (O_DIRECT, registered buffers) and, if it is installed,
# by fio: the ceiling that a cold scan is compared with.
#
#   perf-scripts/io-ceiling.sh [FOLDER] [-s SIZE_MIB]
#
# It writes one file of SIZE_MIB (default 2048) into FOLDER (default: the current one) and removes it afterwards.
set -euo pipefail

folder=. mib=2048
usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
  case "$1" in
    -s) mib=$2; shift 2 ;;
    -h|--help) usage; exit 0 ;;
    -*) echo "io-ceiling.sh: unknown option $1" >&2; exit 2 ;;
    *) folder=$1; shift ;;
  esac
done
[ -d "$folder" ] || { echo "io-ceiling.sh: $folder is not a folder" >&2; exit 2; }
free=$(df --output=avail -m "$folder" | tail -n 1)
if [ "$free" -lt $((mib + 64)) ]; then
  echo "io-ceiling.sh: $folder has $free MiB free, $mib are needed: give a smaller size with -s" >&2
  exit 1
fi

root=$(cd "$(dirname "$0")/.." && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/deltalite/target}
cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p deltalite-bench
file=$(mktemp "$folder/io-ceiling.XXXXXX")
trap 'rm -f "$file"' EXIT
# Random bytes: some disks and file systems are faster for zeros than for anything real.
dd if=/dev/urandom of="$file" bs=1M count="$mib" conv=fsync status=none
echo "disk: $(df --output=source,fstype "$folder" | tail -n 1)"
"$CARGO_TARGET_DIR/release/deltalite-bench" ceiling "$file"
if command -v fio >/dev/null; then
  echo
  echo "fio, the same file, 1 MiB reads at depth 16 (buffers without huge pages):"
  fio --name=ceiling --filename="$file" --readonly --rw=read --bs=1M --iodepth=16 --ioengine=io_uring --direct=1 \
    --runtime=5 --time_based --output-format=terse --terse-version=3 | awk -F';' '{printf "  %.2f GB/s\n", $7 * 1024 / 1e9}'
fi
