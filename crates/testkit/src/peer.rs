//! Programs of others that tests run beside ours.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Runs a Python script with `arguments`; its standard output, or none, said on standard error, where Python or one of the
/// `modules` is absent and `TIGHTROPE_REQUIRE_PEERS` does not ask for it. `TIGHTROPE_PYTHON` names another interpreter.
///
/// # Panics
/// If the script fails, or what it needs is absent and required.
pub fn python<A: AsRef<OsStr>>(script: &Path, modules: &str, arguments: &[A]) -> Option<String> {
    let program = std::env::var_os("TIGHTROPE_PYTHON").unwrap_or_else(|| "python3".into());
    let present = Command::new(&program).arg("-c").arg(format!("import {modules}")).output();
    if !present.is_ok_and(|output| output.status.success()) {
        let message = format!("no Python with {modules}; install them with pip");
        assert!(std::env::var_os("TIGHTROPE_REQUIRE_PEERS").is_none_or(|v| v != "1"), "{message}");
        eprintln!("SKIPPED: {message}");
        return None;
    }
    let output = Command::new(&program).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
