//! What the engine's tests share: golden files, random networks and regions, a naive evaluator.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod differences;
pub mod evaluate;
pub mod golden;
pub mod random;

/// Prints to the test's captured output, shown with `--nocapture` and on failure.
pub fn report(line: &str) {
    eprintln!("{line}");
}
