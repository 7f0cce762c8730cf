#!/usr/bin/env bash
# Breaks what can be broken around the program and looks whether anything is lost: kill -9 at random moments of training,
# certification, sweeps and the verification of lists, full disks, read-only folders, two processes on one folder.
#
#   bench/faults.sh [--long] [--seconds N] [--seed S] [PROGRAM]
#
# PROGRAM is target/release/tightrope unless given. The kills come last and take N seconds (90; with --long 1800), without
# --long no more than the rest leaves of five minutes. What a machine does not allow (mounting a small disk) is skipped and
# said. Exit code 0 if nothing was lost.
set -uo pipefail

arguments=("$@")
seconds=90
long=
# Seconds after which no round of kills begins; one takes up to twenty.
budget=270
seed=$$
program=
while [ $# -gt 0 ]; do
    case "$1" in
    --long) long=yes seconds=1800 ;;
    --seconds) seconds=$2; shift ;;
    --seed) seed=$2; shift ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "faults.sh: unknown option $1; see --help" >&2; exit 4 ;;
    *) program=$1 ;;
    esac
    shift
done
program=${program:-$(cd "$(dirname "$0")/.." && pwd)/target/release/tightrope}
[ -x "$program" ] || { echo "faults.sh: $program: no such program; run cargo build --release first" >&2; exit 4; }
program=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")

# Who may not mount a small disk may in a name space of their own, where the system has such.
probe=$(mktemp -d)
if mount -t tmpfs tmpfs "$probe" 2>/dev/null; then
    umount "$probe"
elif [ -z "${FAULTS_APART:-}" ] && unshare -rm true 2>/dev/null; then
    rmdir "$probe"
    FAULTS_APART=yes exec unshare -rm "$0" "${arguments[@]}"
fi
rmdir "$probe"

RANDOM=$seed
work=$(mktemp -d)
disk=$work/disk
mounted=
child=
cleanup() {
    [ -z "$child" ] || kill -9 "$child" 2>/dev/null
    [ -z "$mounted" ] || umount -l "$disk"
    rm -rf "$work"
}
trap cleanup EXIT
cd "$work" || exit 4

passed=0 skipped=0 failed=0
pass() { passed=$((passed + 1)); echo "ok       $1"; }
skip() { skipped=$((skipped + 1)); echo "SKIPPED  $1"; }
fail() {
    failed=$((failed + 1))
    echo "FAILED   $1 (seed $seed)"
    [ -z "${2:-}" ] || sed 's/^/         /' "$2" | tail -5
}
# Runs quietly; what was said is in log.
run() { "$program" "$@" >out 2>log; }
# The milliseconds of a wait as `sleep` takes them.
pause() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }
temporaries() { find "$1" -name '*.tmp' | grep -c .; }

# Kills "$@" at random moments and goes on by --resume once the file $1 is there, until it ends by itself.
killed=0
kill_until_done() {
    local begun=$1 longest=$2 resume
    shift 2
    while :; do
        resume=()
        [ ! -e "$begun" ] || resume=(--resume)
        "$program" "$@" "${resume[@]}" >out 2>log &
        child=$!
        pause $((RANDOM % longest + 20))
        if kill -9 "$child" 2>/dev/null; then
            killed=$((killed + 1))
            # Ever longer, so that the end comes.
            longest=$((longest + longest / 4))
        fi
        wait "$child" 2>/dev/null
        local code=$?
        child=
        case $code in
        137) ;;
        *) return $code ;;
        esac
    done
}

tiny=(--dataset digits --model cnn3-tiny --batch 32 --set train.eval_limit=64)
settings=(--limit-train 640 --epochs 12 --smoothing rgs --set train.checkpoint_steps=3)
# A certification's log without its times, the results of a list likewise, and those of a sweep.
timeless() { sed -E 's/"seconds":[^,]*,"stage_seconds":\{[^}]*\}//' "$1"; }
verdicts() { cut -d, -f1-3,5 "$1"; }
trials() { sed -E 's/"(train|certify)_seconds":[^,]*,//g' "$1"; }

echo "faults with seed $seed, $seconds s of kills, in $work"
run train --out whole "${tiny[@]}" "${settings[@]}" || { fail "undisturbed training" log; exit 1; }
certify=(--limit 600 --timeout 1000 --eps 0.01)
stages=(--stages ibp,crown)
run certify whole "${certify[@]}" "${stages[@]}" --out certified || { fail "undisturbed certification" log; exit 1; }
timeless certified/certify.jsonl >certified.timeless

# A list of boxes around grey of growing width: the first hold, the last are violated.
mkdir list
run export whole --to onnx -o list/net.onnx || { fail "exporting" log; exit 1; }
for width in $(seq 30); do
    awk -v r="$width" 'BEGIN {
        for (i = 0; i < 784; i++) printf "(declare-const X_%d Real)\n(assert (<= %.4f X_%d %.4f))\n", i, 0.5 - r / 200, i, 0.5 + r / 200
        for (k = 0; k < 10; k++) printf "(declare-const Y_%d Real)\n", k
        printf "(assert (or"; for (k = 1; k < 10; k++) printf " (and (>= Y_%d (+ Y_0 2.0)))", k; print "))"
    }' >"list/box$width.vnnlib"
    echo "net.onnx,box$width.vnnlib,1000" >>list/list.csv
done
verify=(verify list/list.csv --results-file)
run "${verify[@]}" whole.csv || { fail "undisturbed verification of a list" log; exit 1; }
verdicts whole.csv >whole.verdicts

# Four trials.
printf 'dataset = "digits"\nmodel = "cnn3-tiny"\nlimit_train = 320\n[train]\nepochs = 2\neval_limit = 64\n' >recipe.toml
sweep=(sweep recipe.toml --grid train.lr=1e-3,2e-3 --seeds 2 --limit 100 --stages ibp)
run "${sweep[@]}" --out whole-sweep || { fail "undisturbed sweep" log; exit 1; }
trials whole-sweep/results.jsonl >whole.trials

# Runs "$@", which must end with exit code 4 and say $1.
refused() {
    local part=$1 what=$2
    shift 2
    run "$@"
    local code=$?
    if [ $code -ne 4 ]; then
        fail "$what: exit code $code instead of 4" log
    elif ! grep -q -- "$part" log; then
        fail "$what: says nothing of: $part" log
    else
        pass "$what: refused with a message"
    fi
}

mkdir -p "$disk"
if mount -t tmpfs -o size=256k tmpfs "$disk" 2>/dev/null; then
    mounted=yes
    refused 'No space left' 'training on a full disk' train --out disk/run --dataset digits --model cnn3 \
        --set train.eval_limit=64 --limit-train 640 --epochs 2
    [ "$(temporaries disk)" -eq 0 ] && pass 'no temporary file is left on it' || fail 'temporary files are left on a full disk'
    mount -o remount,size=64m "$disk"
    if run train --out disk/run --resume; then pass 'with space again, the training goes on'; else
        fail 'resuming after a full disk' log
    fi
    dd if=/dev/zero of=disk/filler bs=1k count=70000 2>/dev/null
    refused 'No space left' 'exporting to a full disk' export disk/run --to onnx -o disk/copy.onnx
    refused 'space' 'an attack that writes to a full disk' attack disk/run --limit 50 --steps 1 -o disk/worst.safetensors
    refused 'No space left' 'certifying on a full disk' certify disk/run --limit 600 --stages ibp
    refused 'No space left' 'the results of a list on a full disk' "${verify[@]}" disk/results.csv
    [ "$(temporaries disk)" -eq 0 ] && pass 'no temporary file is left on it' || fail 'temporary files are left on a full disk'
    rm disk/filler
    if run certify disk/run --limit 600 --stages ibp --resume; then pass 'with space again, the certification goes on'; else
        fail 'resuming a certification after a full disk' log
    fi
    run "${verify[@]}" disk/results.csv --resume
    if verdicts disk/results.csv | cmp -s - whole.verdicts; then pass 'and so does the verification of the list'; else
        fail 'resuming a list after a full disk' log
    fi
    mount -o remount,ro "$disk"
    readonly_folder=disk
else
    skip 'full disk: no small disk can be mounted here (it takes root)'
    if [ "$(id -u)" -ne 0 ]; then
        cp -r whole locked
        chmod -R a-w locked
        readonly_folder=locked
    else
        readonly_folder=
    fi
fi

if [ -n "$readonly_folder" ]; then
    before=$(find "$readonly_folder" | sort)
    model=whole
    refused "$readonly_folder" 'training in a read-only folder' train --out "$readonly_folder/new" "${tiny[@]}"
    refused "$readonly_folder" 'certifying in a read-only folder' certify $model --limit 5 --out "$readonly_folder"
    refused "$readonly_folder" 'exporting to a read-only folder' export $model --to onnx -o "$readonly_folder/copy.onnx"
    refused "$readonly_folder" 'a quickstart in a read-only folder' quickstart --out "$readonly_folder/quick"
    refused "$readonly_folder" 'a list in a read-only folder' "${verify[@]}" "$readonly_folder/new.csv"
    refused "$readonly_folder" 'a witness in a read-only folder' verify list/net.onnx list/box1.vnnlib --witness "$readonly_folder/w"
    refused "$readonly_folder" 'a sweep in a read-only folder' "${sweep[@]}" --out "$readonly_folder/sweep"
    [ "$before" = "$(find "$readonly_folder" | sort)" ] && pass 'nothing in it has changed' || fail 'a read-only folder has changed'
    [ "$readonly_folder" = disk ] || chmod -R u+w "$readonly_folder"
else
    skip 'read-only folders: root can write everywhere, and nothing can be mounted here'
fi

# Two at once: one of them does the work, the other is told.
at_once() {
    local what=$1
    shift
    "$program" "$@" >out1 2>log1 &
    child=$!
    "$program" "$@" >out2 2>log2
    local second=$?
    wait "$child"
    local first=$?
    child=
    case $first$second in
    04 | 40) pass "$what: one works, one is refused" ;;
    *) fail "$what: exit codes $first and $second" log2 ;;
    esac
}
for _ in 1 2 3 4; do
    rm -rf both
    at_once 'two trainings in one folder' train --out both "${tiny[@]}" "${settings[@]}"
    at_once 'two certifications into one log' certify both "${certify[@]}" "${stages[@]}"
    rm -f both.csv
    at_once 'two verifications into one file of results' "${verify[@]}" both.csv
    rm -rf both-sweep
    at_once 'two sweeps in one folder' "${sweep[@]}" --out both-sweep
    # Long enough that the second begins before the first ends.
    at_once 'two that replace one log' certify both "${certify[@]}" --stages pgd,ibp,crown --steps 400 --overwrite
    [ "$(wc -l <both/certify.jsonl)" -eq 601 ] && pass 'the log is whole' || fail 'the log is not whole'
done

rounds=0
until=$((SECONDS + seconds))
[ -n "$long" ] || [ $until -le $budget ] || until=$budget
while [ $rounds -eq 0 ] || [ $SECONDS -lt $until ] && [ $failed -eq 0 ]; do
    rounds=$((rounds + 1))
    rm -rf broken broken-certified
    kill_until_done broken/config.toml 300 train --out broken "${tiny[@]}" "${settings[@]}" || fail "resumed training" log
    for file in checkpoint.safetensors model.safetensors network.json model.onnx config.toml; do
        cmp -s whole/$file broken/$file || fail "training killed at random: $file differs"
    done
    [ "$(temporaries broken)" -eq 0 ] || fail "training killed at random leaves temporary files"
    kill_until_done broken-certified/certify.jsonl 150 certify whole "${certify[@]}" "${stages[@]}" --out broken-certified ||
        fail "resumed certification" log
    timeless broken-certified/certify.jsonl | cmp -s - certified.timeless || fail "certification killed at random differs"
    rm -f broken.csv
    kill_until_done broken.csv 150 "${verify[@]}" broken.csv || fail "resumed verification of a list" log
    verdicts broken.csv | cmp -s - whole.verdicts || fail "the results of a list killed at random differ"
    rm -rf broken-sweep
    kill_until_done broken-sweep/journal.jsonl 300 "${sweep[@]}" --out broken-sweep || fail "resumed sweep" log
    trials broken-sweep/results.jsonl | cmp -s - whole.trials || fail "a sweep killed at random differs"
done
[ $failed -gt 0 ] || pass "$killed kills in $rounds rounds of training, certification, lists and sweeps: the same results"

echo "$passed passed, $failed failed, $skipped skipped, $SECONDS s"
[ $failed -eq 0 ]
