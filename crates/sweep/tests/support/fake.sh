#!/bin/sh
# Stands for the program: trains by counting to five, certifies by a formula, fails where the axis `fail` says so.
command=$1
shift
folder= x=0 y=0 seed=0 fail=no resume=no
case $command in certify) folder=$1 ;; esac
while [ $# -gt 0 ]; do
    case $1 in
        --set)
            case $2 in
                x=*) x=${2#x=} ;;
                y=*) y=${2#y=} ;;
                seed=*) seed=${2#seed=} ;;
                fail=*) fail=${2#fail=} ;;
            esac
            shift
            ;;
        --out) folder=$2; shift ;;
        --resume) resume=yes ;;
    esac
    shift
done
error() {
    for line in 1 2 3 4 5 6; do echo "line $line" >&2; done
    echo "error: $1" >&2
    rm -f "$folder/pid"
    exit 4
}
mkdir -p "$folder"
if [ -f "$folder/pid" ] && kill -0 "$(cat "$folder/pid")" 2>/dev/null; then error "two processes on one trial"; fi
events=$folder/../../events
case $command in
    train)
        if [ -f "$folder/config.toml" ]; then begun=yes; else begun=no; fi
        [ $begun = $resume ] || error "begun: $begun, resume: $resume"
        echo $$ >"$folder/pid"
        echo + >>"$events"
        trap 'rm -f "$folder/pid"; echo - >>"$events"; exit 143' TERM
        echo "x=$x y=$y seed=$seed fail=$fail" >"$folder/config.tmp"
        mv "$folder/config.tmp" "$folder/config.toml"
        step=0
        [ -f "$folder/step" ] && step=$(cat "$folder/step")
        while [ "$step" -lt 5 ]; do
            sleep 0.01
            step=$((step + 1))
            echo $step >"$folder/step.tmp"
            mv "$folder/step.tmp" "$folder/step"
            echo $step >>"$folder/steps"
        done
        [ "$fail" = train ] && error "no gradient"
        echo '{"seconds": 0.5}' >"$folder/metrics.jsonl"
        ;;
    certify)
        [ -f "$folder/metrics.jsonl" ] || error "nothing to certify"
        echo $$ >"$folder/pid"
        trap 'rm -f "$folder/pid"; echo - >>"$events"; exit 143' TERM
        . "$folder/config.toml"
        [ "$fail" = certify ] && error "no bound"
        if [ "$fail" = once ] && [ ! -f "$folder/failed" ]; then
            : >"$folder/failed"
            error "only once"
        fi
        sleep 0.01
        echo certified >>"$folder/certified"
        awk -v x="$x" -v y="$y" -v s="$seed" 'BEGIN {
            n = 0.9 - x * x / 2 - s / 1000; c = 0.2 + x / 2 - (y - 0.5) ^ 2 / 2 - s / 1000
            printf "{\"result\": {\"samples\": 10, \"natural\": {\"value\": %.6f}, \"adversarial\": {\"value\": %.6f}, ", n, c + 0.01
            printf "\"certified\": {\"value\": %.6f}, \"seconds\": 0.25}}\n", c
        }'
        echo - >>"$events"
        ;;
esac
rm -f "$folder/pid"
