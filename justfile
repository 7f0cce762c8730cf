# Shorthands for people who work on Tightrope; `just` lists them (https://just.systems). Nothing needs them.

# Lists the recipes.
default:
    @just --list

# Trains and certifies a small network on embedded digits.
quickstart:
    cargo run --release -- quickstart

# Runs the tests; with the reference data if TIGHTROPE_SHARED names them.
test *ARGS:
    cargo test --workspace {{ARGS}}

# Formats, lints and builds the documentation as continuous integration does.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --lib --no-deps --locked --quiet

# Everything that must hold before a change lands.
ci:
    .ci/run

# The performance table of this machine; an argument picks rows by part of their name.
measure *ROWS:
    cargo run --release -p tightrope-fused --example measure {{ROWS}}

# Licences, advisories and sources of the dependencies.
deny:
    cargo deny check

# Half an hour of kills, full disks and collisions.
faults:
    bench/faults.sh --long
