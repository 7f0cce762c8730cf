//! Sweeps with jobs, failures, signals, damage, shards and other settings.
#![cfg(unix)]

mod support;

use std::path::Path;
use std::time::Duration;

use support::{lines, lists, plan, ranges, rows, run};
use tightrope_sweep::{Strategy, Summary, Sweep};

fn begin(folder: &Path, plan: tightrope_sweep::Plan, resume: bool) -> Sweep {
    Sweep::begin(folder, plan, None, resume).unwrap()
}

fn refused(outcome: Result<Sweep, tightrope_sweep::SweepError>, parts: &[&str]) {
    let message = outcome.unwrap_err().to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn a_grid_with_seeds_runs_so_many_at_once_and_sums_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut sweep = begin(folder.path(), plan(Strategy::Grid, lists(&["x=0,0.5,1", "y=0.5"]), 2), false);
    let (finished, seen) = run(&mut sweep, 3, false, None);
    assert!(finished && seen.iter().filter(|event| event.starts_with("ended")).count() == 6);
    let events = std::fs::read_to_string(folder.path().join("events")).unwrap();
    let mut running = 0;
    let running: Vec<i32> = events
        .lines()
        .map(|event| {
            running += if event == "+" { 1 } else { -1 };
            running
        })
        .collect();
    // A machine that is very busy may not get to the third in time.
    assert!(matches!(running.iter().max(), Some(2..=3)), "{running:?}");

    let rows = rows(folder.path());
    let seeds: Vec<u64> = rows.iter().map(|row| row["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds, [0, 1, 0, 1, 0, 1]);
    assert_eq!((&rows[2]["parameters"]["x"], &rows[2]["natural"]), (&0.5.into(), &0.775.into()));
    assert_eq!((&rows[2]["train_seconds"], &rows[2]["certify_seconds"]), (&0.5.into(), &0.25.into()));
    let table = std::fs::read_to_string(folder.path().join("results.csv")).unwrap();
    let expected = "trial,configuration,x,y,seed,status,natural,adversarial,certified,samples,train_seconds,certify_seconds,error,complete\n\
                    0,0,0,0.5,0,done,0.9,0.21,0.2,10,0.5,0.25,,true\n";
    assert!(table.starts_with(expected), "{table}");

    let summary = sweep.summary().unwrap();
    let natural = summary.configurations[1].natural.unwrap();
    assert!((natural.mean - 0.7745).abs() < 1e-9 && (natural.std.unwrap() - 0.001 / 2_f64.sqrt()).abs() < 1e-9);
    assert_eq!((summary.fronts[0].configurations.clone(), summary.done, summary.trials), (vec![0, 1, 2], 6, 6));
    // Steps of height 0.1995, 0.25 and 0.25 at the widths of natural accuracy.
    let volume = 0.8995 * 0.1995 + 0.7745 * 0.25 + 0.3995 * 0.25;
    assert!((summary.fronts[0].hypervolume - volume).abs() < 1e-9, "{}", summary.fronts[0].hypervolume);
}

#[test]
fn proposals_do_not_depend_on_jobs_or_timing() {
    let parameters = |jobs| {
        let folder = tempfile::tempdir().unwrap();
        let mut sweep = begin(folder.path(), plan(Strategy::Tpe { configurations: 18, lag: 5 }, ranges(), 1), false);
        assert!(run(&mut sweep, jobs, false, None).0);
        rows(folder.path()).iter().map(|row| row["parameters"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(parameters(5), parameters(2));
}

#[test]
fn failures_are_told_stop_nothing_and_can_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let failing = || plan(Strategy::Grid, lists(&["fail=no,train,certify,once"]), 1);
    let mut sweep = begin(folder.path(), failing(), false);
    assert!(run(&mut sweep, 2, false, None).0);
    let found = rows(folder.path());
    let status: Vec<&str> = found.iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["done", "failed", "failed", "failed"]);
    let error = found[1]["error"].as_str().unwrap();
    assert_eq!(error, "train ended with exit code 4: line 3\nline 4\nline 5\nline 6\nerror: no gradient");
    assert!(found[2]["error"].as_str().unwrap().starts_with("certify ended with exit code 4"));
    assert_eq!(
        (sweep.summary().unwrap().failed, sweep.summary().unwrap().fronts[0].configurations.clone()),
        (3, vec![0])
    );
    drop(sweep);

    let mut sweep = begin(folder.path(), failing(), true);
    assert_eq!(run(&mut sweep, 2, false, None), (true, vec![]));
    let (finished, seen) = run(&mut sweep, 1, true, None);
    assert!(finished && seen.iter().all(|event| !event.ends_with(" 0")), "{seen:?}");
    let status: Vec<String> = rows(folder.path()).iter().map(|row| row["status"].to_string()).collect();
    assert_eq!(status, ["\"done\"", "\"failed\"", "\"failed\"", "\"done\""]);
}

#[test]
fn a_signal_stops_trials_gently_and_they_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let five = || plan(Strategy::Random { configurations: 5 }, ranges(), 1);
    let mut sweep = begin(folder.path(), five(), false);
    assert!(!run(&mut sweep, 2, false, Some(2)).0);
    // Two may end at once.
    assert!((2..=3).contains(&rows(folder.path()).len()));
    let pids = (0..5).filter(|n| folder.path().join(format!("trials/{n:04}/pid")).exists());
    assert_eq!(pids.count(), 0, "a process was left");
    drop(sweep);
    refused(Sweep::begin(folder.path(), five(), None, false), &["--resume", "--out"]);
    assert!(run(&mut begin(folder.path(), five(), true), 2, false, None).0);
    assert_eq!(rows(folder.path()).len(), 5);
    // At most the one step of each that was cut between doing and noting it.
    let steps: usize = (0..5).map(|number| lines(folder.path(), number, "steps")).sum();
    assert!((23..=27).contains(&steps), "{steps}");

    // More configurations than before are no other sweep.
    let more = plan(Strategy::Random { configurations: 6 }, ranges(), 1);
    let (_, seen) = run(&mut begin(folder.path(), more, true), 2, false, None);
    assert_eq!(seen, ["begun 5", "trained 5", "ended 5"]);
}

#[test]
fn a_row_that_a_kill_left_out_is_written_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let plan = || plan(Strategy::Grid, lists(&["x=0,1", "y=0.5"]), 1);
    assert!(run(&mut begin(folder.path(), plan(), false), 1, false, None).0);
    let whole = rows(folder.path());
    // As it is after a kill between the journal's last line and the row that follows from it.
    let lines = std::fs::read_to_string(folder.path().join("results.jsonl")).unwrap();
    std::fs::write(folder.path().join("results.jsonl"), lines.lines().next().unwrap()).unwrap();
    let (finished, seen) = run(&mut begin(folder.path(), plan(), true), 1, false, None);
    assert!(finished && seen.is_empty());
    assert_eq!(rows(folder.path()), whole);
}

#[test]
fn a_damaged_line_is_named_and_its_trial_alone_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let grid = || plan(Strategy::Grid, lists(&["x=0.1,0.2,0.3,0.4"]), 1);
    run(&mut begin(folder.path(), grid(), false), 1, false, None);
    let before = rows(folder.path());
    let path = folder.path().join("journal.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let place = text.lines().position(|line| line.starts_with("{\"trial\":{\"trial\":2,")).unwrap();
    let line = text.lines().nth(place).unwrap();
    std::fs::write(&path, text.replace(line, &line.replace("\"natural\":0", "\"natural\":1"))).unwrap();
    let mut sweep = begin(folder.path(), grid(), true);
    let remarks = sweep.take_remarks();
    assert!(remarks.len() == 1 && remarks[0].contains(&format!("line {}: is damaged", place + 1)), "{remarks:?}");
    assert_eq!(run(&mut sweep, 1, false, None), (true, vec!["begun 2".into(), "trained 2".into(), "ended 2".into()]));
    assert_eq!(rows(folder.path()), before);
    // It had been trained.
    assert_eq!(lines(folder.path(), 2, "steps"), 5);
}

#[test]
fn other_sweeps_and_other_processes_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let grid = |text| plan(Strategy::Grid, lists(&[text]), 1);
    let sweep = begin(folder.path(), grid("x=0,1"), false);
    refused(Sweep::begin(folder.path(), grid("x=0,1"), None, true), &["another process"]);
    drop(sweep);
    refused(Sweep::begin(folder.path(), grid("x=0,1,0.5"), None, true), &["axes: [", "[0,1,0.5]", " there, "]);
    let mut other = grid("x=0,1");
    other.setting.insert("timeout".into(), 20.into());
    other.seeds = 3;
    refused(Sweep::begin(folder.path(), other, None, true), &["seeds: 1 there, 3 now", "timeout: none there, 20 now"]);
    refused(Sweep::open(&folder.path().join("absent")), &["no sweep", "--prepare"]);
}

#[test]
fn a_trial_waits_for_what_a_killed_sweep_left_running() {
    let folder = tempfile::tempdir().unwrap();
    let mut sweep = begin(folder.path(), plan(Strategy::Grid, lists(&["x=0"]), 1), false);
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    let held = std::fs::File::create(folder.path().join("logs/0000.lock")).unwrap();
    held.lock().unwrap();
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(held);
    });
    let (_, seen) = run(&mut sweep, 1, false, None);
    other.join().unwrap();
    assert_eq!(seen, ["begun 0", "waiting 0", "trained 0", "ended 0"]);
}

#[test]
fn shards_share_a_folder_and_merge() {
    let folder = tempfile::tempdir().unwrap();
    let grid = || plan(Strategy::Grid, lists(&["x=0,0.2,0.4,0.6,0.8"]), 1);
    let shard = |text: &str, resume| Sweep::begin(folder.path(), grid(), Some(text.parse().unwrap()), resume);
    let (mut first, mut second) = (shard("1/2", false).unwrap(), shard("2/2", false).unwrap());
    refused(Sweep::begin(folder.path(), grid(), None, true), &["another process"]);
    refused(shard("1/2", true), &["another process"]);
    run(&mut first, 1, false, None);
    assert_eq!(rows(folder.path()).len(), 3);
    let (_, seen) = run(&mut second, 1, false, None);
    assert_eq!(seen.last().unwrap(), "ended 3");
    drop((first, second));
    assert_eq!(rows(folder.path()).len(), 5);
    let summary = Summary::read(folder.path()).unwrap();
    assert_eq!((summary.done, summary.trials), (5, 5));
    refused(Sweep::begin(folder.path(), grid(), None, false), &["--resume"]);
    assert_eq!(run(&mut begin(folder.path(), grid(), true), 1, false, None), (true, vec![]));

    let tpe = plan(Strategy::Tpe { configurations: 4, lag: 1 }, ranges(), 1);
    let there = tempfile::tempdir().unwrap();
    refused(Sweep::begin(there.path(), tpe, Some("1/2".parse().unwrap()), false), &["--shard", "--jobs"]);
}
