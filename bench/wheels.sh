#!/usr/bin/env bash
# Builds the wheels of the Python package for Linux on x86-64 and 64-bit ARM, on either, and tries them.
#
#   bench/wheels.sh [--test] [--out FOLDER] [ARCHITECTURE...]
#
# ARCHITECTURE is x86_64 or aarch64; both unless given. The wheels go to FOLDER, target/wheels unless given; each serves
# Python 3.10 and newer and systems whose C library is glibc 2.28 or newer, which is checked, as is that it takes less than
# 15 MB. --test also installs each and runs the package's tests on it but those that need torch: in a virtual environment
# where the machine can run it, otherwise those of networks and bounds under qemu, with a Python of this Debian release for
# that architecture, unpacked aside. Needs the Rust toolchain and a Debian machine; what is missing there is installed if root asks.
set -euo pipefail

fail() { echo "wheels.sh: $*" >&2; exit 4; }
test=
out=
architectures=()
while [ $# -gt 0 ]; do
    case "$1" in
    --test) test=yes ;;
    --out) [ $# -ge 2 ] || fail "--out needs a folder"; out=$2; shift ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    x86_64 | aarch64) architectures+=("$1") ;;
    -*) fail "unknown option $1; see --help" ;;
    *) fail "no wheels are built for $1; the architectures are x86_64 and aarch64" ;;
    esac
    shift
done
[ ${#architectures[@]} -gt 0 ] || architectures=(x86_64 aarch64)
root=$(cd "$(dirname "$0")/.." && pwd)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"
mkdir -p "$CARGO_TARGET_DIR" "${out:=$CARGO_TARGET_DIR/wheels}"
CARGO_TARGET_DIR=$(cd "$CARGO_TARGET_DIR" && pwd)
out=$(cd "$out" && pwd)
policy=manylinux_2_28
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Installs the packages of those PROGRAM:PACKAGE whose program is missing.
need() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || fail "missing here: ${missing[*]}; install it, or run this as root"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# A virtual environment at $1 with the packages that follow; one that is there is used again.
environment() {
    if [ ! -x "$1/bin/pip" ] && ! { rm -rf "$1" && python3 -m venv "$1" 2>/dev/null; }; then
        # Debian keeps pip for new environments apart.
        need no-such-program:python3-venv
        rm -rf "$1"
        python3 -m venv "$1"
    fi
    pip "$1" install "${@:2}"
}
pip() { "$1/bin/python3" -m pip "${@:2}" --quiet --disable-pip-version-check; }

command -v cargo >/dev/null || fail "no Rust toolchain here; see https://rustup.rs"
need cc:gcc python3:python3
# The compiler's path is part of what C code is built with: at another one, crates with such code would be compiled again.
tools=$CARGO_TARGET_DIR/wheel-tools
environment "$tools" "maturin[zig]>=1.9,<2" auditwheel

build() {
    local target=$1-unknown-linux-gnu wheel size
    if ! compgen -G "$(rustc --print sysroot)/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null; then
        command -v rustup >/dev/null || fail "Rust has no standard library for $target here"
        rustup target add "$target"
    fi
    # Zig links against an old enough C library, whatever this machine has.
    (cd "$root/python" && PATH=$tools/bin:$PATH maturin build --release --locked --zig --compatibility $policy \
        --target "$target" --out "$work/$1")
    wheel=$(echo "$work/$1"/tightrope-*.whl)
    case "$wheel" in
    *-cp310-abi3-${policy}_"$1".whl) ;;
    *) fail "$(basename "$wheel") is not a wheel for Python 3.10 and newer, $policy and $1" ;;
    esac
    size=$(stat -c %s "$wheel")
    [ "$size" -lt 15000000 ] || fail "$(basename "$wheel") is too large: $size bytes"
    # A second opinion on what the name says: it reads which symbols of which libraries the program asks for.
    "$tools/bin/auditwheel" show "$wheel" >"$work/audit"
    tr -s '\n ' ' ' <"$work/audit" | grep -qE "platform tag: \"(manylinux_2_([0-9]|1[0-9]|2[0-8])|manylinux20(10|14))_$1\"" ||
        { cat "$work/audit" >&2; fail "$(basename "$wheel") needs more than $policy has"; }
    mv "$wheel" "$out/"
    wheels+=("$out/$(basename "$wheel")")
    echo "$out/$(basename "$wheel"): $size bytes"
}

# Unpacks Debian's Python for architecture $1 into $work/debian-$1: nothing on this machine changes.
foreign_python() {
    local apt="$work/apt-$1" suite debian package
    case "$1" in
    x86_64) debian=amd64 ;;
    aarch64) debian=arm64 ;;
    esac
    suite=$(. /etc/os-release && [ "$ID" = debian ] && echo "${VERSION_CODENAME:-}") && [ -n "$suite" ] ||
        fail "the Python to emulate comes from Debian's archive, and this is no release of Debian"
    mkdir -p "$apt"/{state/lists/partial,cache/archives/partial} "$work/debian-$1"
    : >"$apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${DEBIAN_MIRROR:-http://deb.debian.org/debian} $suite main" \
        >"$apt/sources.list"
    local options=(-qq -o APT::Architecture=$debian -o APT::Architectures=$debian -o APT::Sandbox::User="$(id -un)"
        -o Dir::State="$apt/state" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache"
        -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Debug::NoLocking=true)
    apt-get "${options[@]}" update
    # numpy's wheels leave the C++ library to the system.
    apt-get "${options[@]}" install -y --download-only --no-install-recommends python3-minimal libpython3-stdlib libstdc++6 >/dev/null
    for package in "$apt"/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$work/debian-$1"
    done
    # Newer releases leave this link to a package that has to be installed.
    [ -e "$work/debian-$1/lib" ] || ln -s usr/lib "$work/debian-$1/lib"
}

# Runs the tests of wheel $2 on architecture $1.
try() {
    local python=$work/python-$1
    if [ "$1" = "$(uname -m)" ]; then
        echo "tests on $1"
        environment "$work/venv" "$2" pytest hypothesis
        (cd "$root" && "$work/venv/bin/pytest" -p no:cacheprovider python)
        return
    fi
    echo "tests on $1 under qemu"
    need "qemu-$1:qemu-user" dpkg-deb:dpkg
    foreign_python "$1"
    # Python as a program of this machine, which the tests can start as well.
    cat >"$python" <<END
#!/bin/sh
PYTHONPATH="$work/site-$1" exec qemu-$1 -L "$work/debian-$1" "$work/debian-$1/usr/bin/python3" "\$@"
END
    chmod +x "$python"
    local version platforms
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    platforms=(--platform "manylinux_2_28_$1" --platform "manylinux_2_27_$1" --platform "manylinux2014_$1")
    pip "$tools" install --target "$work/site-$1" --python-version "$version" --only-binary=:all: "${platforms[@]}" \
        "$2" pytest hypothesis
    # Those that train take an hour where every instruction is emulated, and no import is quick there.
    (cd "$root" && "$python" -c 'import sys, pytest; sys.executable = sys.argv.pop(1); sys.exit(pytest.main(sys.argv[1:]))' \
        "$python" -p no:cacheprovider python/tests/test_network.py -k "not import_is_quick")
}

wheels=()
for architecture in "${architectures[@]}"; do
    build "$architecture"
done
[ -z "$test" ] || for number in "${!wheels[@]}"; do
    try "${architectures[$number]}" "${wheels[$number]}"
done
