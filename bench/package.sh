#!/usr/bin/env bash
# Packs a release: the program with its manual pages, shell completions, licences and documents.
#
#   bench/package.sh NAME [PROGRAM]
#
# Writes NAME.tar.gz into the current folder. PROGRAM is target/release/tightrope unless given; it must run on this machine,
# through $RUNNER if that is set (such as "qemu-aarch64 -L /usr/aarch64-linux-gnu").
set -euo pipefail

case "${1:-}" in
"" | -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
name=$1
root=$(cd "$(dirname "$0")/.." && pwd)
program=${2:-$root/target/release/tightrope}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
folder=$work/$(basename "$name")
mkdir -p "$folder/completions"
cp "$program" "$folder/tightrope"
cp "$root"/{README.md,CHANGELOG.md,LICENSE-*} "$folder"
cp -r "$root/docs" "$folder/docs"
# One word each of what stands before the program.
run() { ${RUNNER:-} "$program" "$@"; }
run man "$folder/man/man1" >/dev/null
for shell in bash zsh fish powershell elvish; do
    run completions $shell >"$folder/completions/tightrope.$shell"
done
tar -czf "$name.tar.gz" -C "$work" "$(basename "$name")"
echo "$name.tar.gz: $(tar -tzf "$name.tar.gz" | grep -c '/man1/.*\.1$') manual pages, $(stat -c %s "$name.tar.gz") bytes"
