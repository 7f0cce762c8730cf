#!/usr/bin/env bash
# Runs studies in their smoke profile: one a day, as many as fit into the time, or all.
#
#   bench/studies.sh [--study NAME | --all | --seconds N] [--data FOLDER] [PROGRAM]
#
# FOLDER holds the data sets; $TIGHTROPE_DATA unless given. PROGRAM is target/release/tightrope unless given. Another study
# comes first each day; none is begun after N seconds. Exit code 0 if every trial ended well.
set -uo pipefail

study=
seconds=0
data=${TIGHTROPE_DATA:-}
program=
while [ $# -gt 0 ]; do
    case "$1" in
    --study) study=$2; shift ;;
    --all) seconds=1000000 ;;
    --seconds) seconds=$2; shift ;;
    --data) data=$2; shift ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "studies.sh: unknown option $1; see --help" >&2; exit 4 ;;
    *) program=$1 ;;
    esac
    shift
done
program=${program:-$(cd "$(dirname "$0")/.." && pwd)/target/release/tightrope}
[ -x "$program" ] || { echo "studies.sh: $program: no such program; run cargo build --release first" >&2; exit 4; }
[ -d "$data" ] || { echo "studies.sh: no folder of data sets; give --data FOLDER" >&2; exit 4; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mapfile -t names < <("$program" reproduce --list --json | tr '{' '\n' | sed -n 's/.*"study": *"\([^"]*\)".*/\1/p')
[ ${#names[@]} -gt 0 ] || { echo "studies.sh: no studies" >&2; exit 1; }
if [ -n "$study" ]; then
    names=("$study")
else
    first=$(($(date +%s) / 86400 % ${#names[@]}))
    names=("${names[@]:first}" "${names[@]:0:first}")
fi
failed=0
tried=0
for name in "${names[@]}"; do
    [ "$tried" = 0 ] || [ "$SECONDS" -lt "$seconds" ] || break
    start=$SECONDS
    tried=$((tried + 1))
    "$program" reproduce "$name" --profile smoke --data-dir "$data" --out "$work/$name" --jobs 2 --quiet >"$work/$name.txt"
    code=$?
    if [ $code -ne 0 ] || grep -q '^Failed: ' "$work/$name/results.md"; then
        echo "FAILED   $name (exit code $code)"
        grep '^Failed: ' "$work/$name/results.md" 2>/dev/null
        failed=$((failed + 1))
    else
        echo "ok       $name in $((SECONDS - start)) s"
    fi
done
echo "$tried of ${#names[@]} studies ran, $failed failed"
[ $failed -eq 0 ]
