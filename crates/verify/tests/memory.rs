//! What a search keeps: open subproblems and the proof so far stay within what they are allowed.

mod common;

use std::time::Duration;

use common::open_between;
use tightrope_network::Model;
use tightrope_testkit::evaluate;
use tightrope_testkit::memory::{Counting, peak_of, turn};
use tightrope_verify::complete::{Branching, Decision, Outcome, Settings, decide};
use tightrope_vnnlib::Property;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn search(model: &Model, property: &Property, settings: &Settings) -> Decision {
    decide(&model.network, &model.weights(), property, settings, &|_| ()).unwrap()
}

#[test]
fn open_subproblems_stay_within_their_share() {
    const MEGABYTE: usize = 1 << 20;
    let _turn = turn();
    for (widths, branching) in [(&[40, 80, 80, 1], Branching::Babsr), (&[24, 20, 20, 1], Branching::Input)] {
        // Neither found nor proved in the time that it is given.
        let (model, property) = open_between(widths, 0.3);
        let peak = |queue_bytes| {
            let settings = Settings {
                timeout: Duration::from_secs(3),
                branching,
                mixed_split_limit: 0,
                node_iterations: 0,
                region_iterations: 0,
                attack_restarts: 0,
                queue_bytes,
                ..Settings::default()
            };
            let (decision, peak) = peak_of(|| search(&model, &property, &settings));
            eprintln!("{branching:?}, {queue_bytes} bytes: {peak}, {decision:?}");
            assert!(matches!(decision.outcome, Outcome::Timeout { .. }), "{decision:?}");
            peak
        };
        let [none, some, many] = [0, 4 * MEGABYTE, 1 << 30].map(peak);
        assert!(some < none + 6 * MEGABYTE, "{branching:?}: {some} bytes, {none} without a queue");
        assert!(many > some + 6 * MEGABYTE, "{branching:?}: the search is too short to need its share: {many} bytes");
    }
}

/// No split makes a box smaller whose inputs are fixed, and bounds that touch the threshold stay open by rounding alone.
#[test]
fn what_rounding_leaves_open_takes_no_memory() {
    let _turn = turn();
    for (widths, fixed) in [(&[2, 30, 30, 1], 2), (&[3, 30, 30, 1], 1)] {
        let (model, mut property) = open_between(widths, 0.0);
        let case = &mut property.cases[0];
        let at = |index: usize| if index < fixed { 0.1 } else { 0.0 };
        for index in 0..widths[0] {
            let width = if index < fixed { 0.0 } else { 1e-9 };
            (case.lower[index], case.upper[index]) = (at(index) - width, at(index) + width);
        }
        let middle: Vec<f64> = (0..widths[0]).map(at).collect();
        case.unsafe_outputs[0][0].bound = evaluate::logits(&model, &middle)[0].next_down();
        for branching in [Branching::Auto, Branching::Input, Branching::Babsr] {
            let settings = Settings { timeout: Duration::from_secs(2), branching, ..Settings::default() };
            let (decision, peak) = peak_of(|| search(&model, &property, &settings));
            eprintln!("{branching:?}, {fixed} fixed: {peak} bytes, {decision:?}");
            assert!(peak < 32 << 20, "{branching:?}, {fixed} fixed: {peak} bytes");
        }
    }
}

#[test]
fn proofs_stay_within_their_share_or_are_given_up() {
    let _turn = turn();
    for branching in [Branching::Babsr, Branching::Input, Branching::Auto] {
        let (model, property) = open_between(&[4, 30, 30, 1], 0.4);
        let search = |proof_bytes| {
            let settings = Settings { branching, proof: true, proof_bytes, ..Settings::default() };
            let (decision, peak) = peak_of(|| search(&model, &property, &settings));
            let Outcome::Holds { proof } = decision.outcome else { panic!("{decision:?}") };
            eprintln!("{branching:?}, {proof_bytes} bytes: {peak}, {:?}", decision.statistics);
            (proof, decision.statistics.subproblems)
        };
        let (whole, subproblems) = search(1 << 30);
        assert!(subproblems > 40, "{branching:?}: {subproblems} subproblems");
        let size = tightrope_certificate::Certificate::new(&model.network, &model.weights(), &property, whole.unwrap());
        let size = size.unwrap().to_bytes().unwrap().len();
        // A verdict does not hang on its proof.
        let (none, same) = search(size / 8);
        assert_eq!((none, same), (None, subproblems), "{branching:?}");
    }
}
