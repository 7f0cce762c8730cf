//! Trials that somebody else runs.

mod support;

use std::collections::BTreeMap;

use support::{plan, ranges, rows};
use tightrope_sweep::{Outcome, Plan, Strategy, Sweep};

#[test]
fn what_is_asked_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let search = plan(Strategy::Tpe { configurations: 8, lag: 1 }, ranges(), 2);
    drop(Sweep::begin(folder.path(), search, None, false).unwrap());
    let open = || Sweep::open(folder.path()).unwrap();
    let first = open().ask(false).unwrap().unwrap();
    assert_eq!((first.number, first.configuration, first.seed), (0, 0, 0));
    let second = open().ask(false).unwrap().unwrap();
    assert_eq!((second.number, second.seed, &second.parameters), (1, 1, &first.parameters));
    assert_eq!(open().ask(true).unwrap().as_ref(), Some(&first));

    let bad = |line: &str, part: &str| {
        let message = open().tell(line).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    bad(r#"{"trial": 5, "natural": 1, "certified": 1}"#, "was not asked for");
    bad(r#"{"trial": 0, "certified": 1}"#, "`natural` is missing");
    bad(r#"{"trial": 0, "natural": 95, "certified": 0.5}"#, "from 0 to 1");
    // What is certified withstands attacks, and what withstands them is right.
    bad(r#"{"trial": 0, "natural": 0.5, "certified": 0.75}"#, "`certified` is 0.75 and `natural` 0.5");
    bad(
        r#"{"trial": 0, "natural": 0.75, "adversarial": 0.25, "certified": 0.5}"#,
        "`certified` is 0.5 and `adversarial` 0.25",
    );
    bad(
        r#"{"trial": 0, "natural": 0.5, "adversarial": 0.75, "certified": 0.25}"#,
        "`adversarial` is 0.75 and `natural` 0.5",
    );
    bad(r#"{"parameters": {"x": 0}, "natural": 1, "certified": 0.5}"#, "`trial`");
    bad("natural 1", "is meant");
    let record = open().tell(r#"{"trial": 0, "natural": 0.75, "certified": 0.5}"#).unwrap();
    assert_eq!(record.measured().map(|measured| measured.certified), Some(0.5));
    bad(r#"{"trial": 0, "natural": 0.75, "certified": 0.5}"#, "results already");
    let record = open().tell(r#"{"trial": 1, "failed": "out of memory"}"#).unwrap();
    assert_eq!(record.outcome, Outcome::Failed("out of memory".into()));
    assert_eq!(open().ask(true).unwrap(), None);

    for number in 2..16 {
        let mut sweep = open();
        let trial = sweep.ask(false).unwrap().unwrap();
        assert_eq!(trial.number, number);
        let x = trial.parameters["x"].as_f64().unwrap();
        let (natural, certified) = ((1.0 + x) / 2.0, (1.0 - x) / 2.0);
        sweep.tell(&format!(r#"{{"trial": {number}, "natural": {natural}, "certified": {certified}}}"#)).unwrap();
    }
    assert_eq!(open().ask(false).unwrap(), None);
    let sweep = open();
    sweep.write_results().unwrap();
    assert_eq!(rows(folder.path()).len(), 16);
    let summary = sweep.summary().unwrap();
    assert_eq!((summary.done, summary.failed, summary.trials), (15, 1, 16));
    let mut front = summary.fronts[0].configurations.clone();
    front.sort_unstable();
    // None dominates another but configuration 0, which lacks a seed.
    assert_eq!(front, [1, 2, 3, 4, 5, 6, 7]);
}

/// What fewer seeds say does not compare: a configuration is on the front once all of its seeds have results.
#[test]
fn configurations_that_lack_a_seed_are_on_no_front() {
    let folder = tempfile::tempdir().unwrap();
    let grid = plan(Strategy::Grid, support::lists(&["x=0,0.5,1"]), 3);
    let mut sweep = Sweep::begin(folder.path(), grid, None, false).unwrap();
    for _ in 0..9 {
        sweep.ask(false).unwrap().unwrap();
    }
    let mut tell = |trial: u64, natural: f64, certified: f64| {
        sweep.tell(&format!(r#"{{"trial": {trial}, "natural": {natural}, "certified": {certified}}}"#)).unwrap();
    };
    // The first would dominate all others.
    tell(0, 0.9, 0.8);
    (3..6).for_each(|trial| tell(trial, 0.5, 0.25));
    tell(6, 0.95, 0.125);
    for trial in [1, 2] {
        sweep.tell(&format!(r#"{{"trial": {trial}, "failed": "out of memory"}}"#)).unwrap();
    }
    let summary = sweep.summary().unwrap();
    let told: Vec<_> =
        summary.configurations.iter().map(|c| (c.done, c.failed, c.seeds, c.complete, c.on_front)).collect();
    assert_eq!(told, [(1, 2, 3, false, false), (3, 0, 3, true, true), (1, 0, 3, false, false)]);
    assert_eq!((&summary.fronts[0].configurations[..], summary.fronts[0].of), (&[1][..], 1));
    assert!((summary.fronts[0].hypervolume - 0.125).abs() < 1e-12);
    sweep.write_results().unwrap();
    let complete: Vec<bool> = rows(folder.path()).iter().map(|row| row["complete"].as_bool().unwrap()).collect();
    assert_eq!(complete, [false, false, false, true, true, true, false]);
}

/// Accuracies at different radii do not compare: each radius has a front of its own.
#[test]
fn every_radius_has_its_front() {
    let folder = tempfile::tempdir().unwrap();
    let mut sweep = Sweep::begin(folder.path(), plan(Strategy::Told, vec![], 1), None, false).unwrap();
    for (eps, lr, natural, certified) in
        [(0.1, 1, 0.9, 0.8), (0.2, 1, 0.8, 0.6), (0.1, 2, 0.8, 0.7), (0.2, 2, 0.7, 0.65)]
    {
        let line = format!(
            r#"{{"parameters": {{"eps": {eps}, "train.lr": {lr}}}, "natural": {natural}, "certified": {certified}}}"#
        );
        sweep.tell(&line).unwrap();
    }
    let summary = sweep.summary().unwrap();
    let fronts: Vec<_> = summary.fronts.iter().map(|front| (&front.configurations[..], front.of)).collect();
    assert_eq!(fronts, [(&[0][..], 2), (&[1, 3], 2)]);
    assert_eq!(summary.fronts[1].certified_for["eps"], 0.2);
    assert!((summary.fronts[0].hypervolume - 0.72).abs() < 1e-12);
    assert_eq!(
        summary.configurations.iter().map(|found| found.on_front).collect::<Vec<_>>(),
        [true, true, false, true]
    );
}

/// Another part kept for validation is another set of samples, unless trials are certified on the test split.
#[test]
fn every_part_kept_for_validation_has_its_front() {
    for (split, fronts) in [("validation", 2), ("test", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let setting = BTreeMap::from([("split".to_string(), split.into())]);
        let plan = Plan { setting, ..plan(Strategy::Told, vec![], 1) };
        let mut sweep = Sweep::begin(folder.path(), plan, None, false).unwrap();
        for part in [0.1, 0.2] {
            let parameters = format!(r#"{{"train.validation": {part}, "train.lr": 0.001}}"#);
            let line = format!(r#"{{"parameters": {parameters}, "natural": 0.75, "certified": {part}}}"#);
            sweep.tell(&line).unwrap();
        }
        let summary = sweep.summary().unwrap();
        assert_eq!(summary.fronts.len(), fronts, "{split}");
        assert_eq!(summary.fronts[0].certified_for.contains_key("train.validation"), fronts == 2, "{split}");
    }
}

#[test]
fn whoever_proposes_tells_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let mut sweep = Sweep::begin(folder.path(), plan(Strategy::Told, vec![], 1), None, false).unwrap();
    assert!(sweep.ask(false).unwrap_err().to_string().contains("no axes"));
    let mut tell = |line: &str| sweep.tell(line).map(|record| (record.trial, record.configuration, record.seed));
    assert_eq!(tell(r#"{"parameters": {"x": 0.5}, "natural": 0.5, "certified": 0.25}"#).unwrap(), (0, 0, 0));
    assert_eq!(tell(r#"{"parameters": {"x": 0.5}, "seed": 1, "natural": 0.7, "certified": 0.25}"#).unwrap(), (1, 0, 1));
    assert_eq!(tell(r#"{"parameters": {"x": 0.9}, "natural": 0.4, "certified": 0.35}"#).unwrap(), (2, 1, 0));
    assert!(tell(r#"{"trial": 1, "natural": 0.5, "certified": 0.4}"#).unwrap_err().to_string().contains("no `trial`"));
    // A seed that failed is no longer missing once another trial has it.
    tell(r#"{"parameters": {"x": 0.9}, "seed": 1, "failed": "out of memory"}"#).unwrap();
    assert_eq!(sweep.summary().unwrap().fronts[0].configurations, [0]);
    let mut tell = |line: &str| sweep.tell(line).map(|record| (record.trial, record.configuration, record.seed));
    assert_eq!(tell(r#"{"parameters": {"x": 0.9}, "seed": 1, "natural": 0.4, "certified": 0.35}"#).unwrap(), (4, 1, 1));
    let summary = sweep.summary().unwrap();
    assert_eq!((summary.trials, summary.fronts[0].configurations.clone()), (5, vec![0, 1]));
    assert!((summary.fronts[0].hypervolume - (0.6 * 0.25 + 0.4 * 0.1)).abs() < 1e-12);
}
