#!/usr/bin/env bash
# Trains recipes in their smoke profile, as many as fit into the time, beginning each day with others.
#
#   bench/recipes.sh [--seconds N] [--from N] [--data FOLDER] [PROGRAM]
#
# FOLDER holds the data sets (mnist, cifar10, tinyimagenet; archives of image folders, *.tar.xz, are unpacked aside);
# $TIGHTROPE_DATA unless given. Recipes whose data set is not there are skipped and counted. PROGRAM is
# target/release/tightrope unless given; N seconds are 120. Recipe number --from comes first, by default one that depends on
# the date, then every 37th. Those over ℓ2 and ℓ1 balls certify some samples, too. Exit code 0 if all that were tried ended
# with a model.
set -uo pipefail

seconds=120
from=$(($(date +%s) / 86400 * 101))
data=${TIGHTROPE_DATA:-}
program=
while [ $# -gt 0 ]; do
    case "$1" in
    --seconds) seconds=$2; shift ;;
    --from) from=$2; shift ;;
    --data) data=$2; shift ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "recipes.sh: unknown option $1; see --help" >&2; exit 4 ;;
    *) program=$1 ;;
    esac
    shift
done
program=${program:-$(cd "$(dirname "$0")/.." && pwd)/target/release/tightrope}
[ -x "$program" ] || { echo "recipes.sh: $program: no such program; run cargo build --release first" >&2; exit 4; }
program=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
[ -d "$data" ] || { echo "recipes.sh: no folder of data sets; give --data FOLDER" >&2; exit 4; }
data=$(cd "$data" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 4

# Image folders come as archives.
mkdir data
for set in "$data"/*/; do
    name=$(basename "$set")
    archive=$(compgen -G "$set*.tar.xz" | head -1)
    if [ -n "$archive" ]; then
        mkdir "data/$name" && tar -xf "$archive" -C "data/$name" || { echo "recipes.sh: $archive cannot be unpacked" >&2; exit 4; }
        # Down to the folder that holds the splits.
        top=$(find "data/$name" -maxdepth 3 -type d -name train | head -1)
        [ -z "$top" ] || [ "$(dirname "$top")" = "data/$name" ] || { mv "$(dirname "$top")" "data/$name.top"; rm -rf "data/$name"; mv "data/$name.top" "data/$name"; }
    else
        ln -s "$set" "data/$name"
    fi
done

mapfile -t names < <("$program" recipe list --json | tr '{' '\n' | sed -n 's/.*"name": *"\([^"]*\)".*/\1/p')
count=${#names[@]}
[ "$count" -gt 0 ] || { echo "recipes.sh: no recipes" >&2; exit 1; }
end=$(($(date +%s) + seconds))
tried=0 skipped=0 failed=0
for ((i = 0; i < count; i++)); do
    [ "$(date +%s)" -lt "$end" ] || break
    name=${names[(from + 37 * i) % count]}
    "$program" recipe show "$name" --profile smoke >recipe.toml || { echo "FAILED   $name: not shown"; failed=$((failed + 1)); continue; }
    set=$(sed -n 's/^dataset = "\(.*\)"/\1/p' recipe.toml)
    if [ ! -e "data/$set" ]; then
        skipped=$((skipped + 1))
        continue
    fi
    rm -rf run
    begun=$(date +%s)
    # Balls of other norms have bounds of their own, which certification takes as well.
    certify=(true)
    ! grep -q '^norm = ' recipe.toml || certify=("$program" certify run --data-dir data --limit 4 --timeout 5)
    if "$program" train recipe.toml --data-dir data --out run >log 2>&1 && [ -s run/model.onnx ] &&
        "${certify[@]}" >>log 2>&1; then
        tried=$((tried + 1))
        echo "ok       $name ($(($(date +%s) - begun)) s)"
    else
        failed=$((failed + 1))
        echo "FAILED   $name"
        tail -5 log | sed 's/^/         /'
    fi
done
echo "$tried of $count recipes ran, $failed failed, $skipped had no data, from number $((from % count))"
[ "$failed" = 0 ] && [ "$tried" -gt 0 ]
