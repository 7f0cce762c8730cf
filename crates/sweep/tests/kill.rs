//! A sweep that is killed at any moment goes on, each trial once, to the results of one that was not.
#![cfg(unix)]

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{lines, plan, ranges, rows};
use tightrope_sweep::{Plan, Strategy, Sweep};

const FOLDER: &str = "TIGHTROPE_TEST_SWEEP";
const KILLS: usize = 12;

fn searched() -> Plan {
    plan(Strategy::Tpe { configurations: 20, lag: 4 }, ranges(), 1)
}

#[test]
#[ignore = "started by the test below in a process of its own"]
fn a_sweep_in_a_process_of_its_own() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut sweep = Sweep::begin(Path::new(&folder), searched(), None, true).unwrap();
    assert!(support::run(&mut sweep, 3, false, None).0);
}

fn start(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "a_sweep_in_a_process_of_its_own"]).env(FOLDER, folder);
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// Kills what the sweep has started, too.
fn kill_trials(folder: &Path) {
    for path in (0..20).map(|number| folder.join(format!("trials/{number:04}/pid"))) {
        if let Ok(process) = std::fs::read_to_string(&path) {
            let _ = Command::new("kill").args(["-9", process.trim()]).stderr(Stdio::null()).status();
            // Whoever waits for it may leave it as a zombie, which the script would take for a process at work.
            let _ = std::fs::remove_file(&path);
        }
    }
}

#[test]
fn twenty_trials_survive_kills() {
    let folder = tempfile::tempdir().unwrap();
    let (calm, killed) = (folder.path().join("calm"), folder.path().join("killed"));
    let mut sweep = Sweep::begin(&calm, searched(), None, false).unwrap();
    assert!(support::run(&mut sweep, 2, false, None).0);

    let (mut kills, mut seed) = (0, 7_u64);
    loop {
        let mut process = start(&killed);
        if kills == KILLS {
            assert!(process.wait().unwrap().success());
            break;
        }
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        std::thread::sleep(Duration::from_millis(30 + (seed >> 40) % 300));
        if let Some(status) = process.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        process.kill().unwrap();
        process.wait().unwrap();
        kills += 1;
        if kills % 3 == 0 {
            kill_trials(&killed);
        }
    }
    assert!(kills >= 5, "only {kills} kills came in time");

    let found = rows(&killed);
    for (found, calm) in found.iter().zip(rows(&calm)) {
        assert_eq!(*found, calm);
    }
    let numbers: Vec<u64> = found.iter().map(|row| row["trial"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    assert!(found.iter().all(|row| row["status"] == "done"), "{found:?}");
    let journal = std::fs::read_to_string(killed.join("journal.jsonl")).unwrap();
    assert_eq!(journal.lines().filter(|line| line.starts_with("{\"trial\"")).count(), 20);
    assert_eq!(journal.lines().filter(|line| line.starts_with("{\"proposal\"")).count(), 20);
    // No step of a training was done again, but for one that was killed between doing and noting it.
    let steps: usize = (0..20).map(|number| lines(&killed, number, "steps")).sum();
    assert!((20 * 5 - kills..=20 * 5 + 3 * kills).contains(&steps), "{steps} steps");
}
