//! Time limits are kept: nothing goes on for long once the time is out, whatever the network.

mod common;

use std::time::{Duration, Instant};

use common::open_between;
use tightrope_certificate::{CaseProof, CertificateError, Checker, Leaf, Neuron, Proof, TreeBuilder};
use tightrope_network::{Initialisation, Network, Weights};
use tightrope_testkit::networks::{Chain, dense};
use tightrope_verify::complete::{Branching, Outcome, Settings, decide};
use tightrope_vnnlib::{Case, Constraint, Property};

/// What a run may take beyond its limit: a second, one batch, and a machine that is busy with other tests.
const SLACK: Duration = Duration::from_secs(6);

/// Convolutions of 16 channels one after the other on an image of `side`².
fn deep_convolutions(side: usize, depth: usize) -> Network {
    let chain = (0..depth).fold(Chain::new(&[3, side, side]), |chain, _| chain.conv(16, [3; 2], [1; 2], [1; 4]).relu());
    chain.flatten().linear(10).build()
}

/// No output may be the largest but output 0, or anything below −1 where there is but one.
fn property(network: &Network, radius: f64) -> Property {
    let (d, k) = (network.input_len(), network.output_len());
    let unsafe_outputs = match k {
        1 => vec![vec![Constraint::at_most(vec![1.0], -2.5)]],
        _ => (1..k)
            .map(|rival| {
                let mut row = vec![0.0; k];
                (row[0], row[rival]) = (1.0, -1.0);
                vec![Constraint::at_most(row, -1e6)]
            })
            .collect(),
    };
    Property::new(d, k, vec![Case::closed(vec![0.5 - radius; d], vec![0.5 + radius; d], unsafe_outputs)])
}

#[test]
fn the_limit_of_a_search_is_kept() {
    let networks = [
        ("deep convolutions", deep_convolutions(32, 8), 0.2),
        ("wide layers", dense(&[2, 2304, 2304, 48, 1]), 4.0),
        ("many convolutions", deep_convolutions(16, 16), 0.5),
    ];
    for (name, network, radius) in networks {
        let theta: Vec<f32> = Initialisation::Default.theta(&network, 1).iter().map(|v| 1.5 * v).collect();
        let weights = Weights::from_single(&theta);
        let property = property(&network, radius);
        for (limit, branching) in [(1.0, Branching::Auto), (2.0, Branching::Fsb)] {
            let timeout = Duration::from_secs_f64(limit);
            let settings = Settings { timeout, branching, proof: true, ..Settings::default() };
            let start = Instant::now();
            let decision = decide(&network, &weights, &property, &settings, &|_| {}).unwrap();
            let taken = start.elapsed();
            eprintln!(
                "{name}, {branching:?}: {:.2} s of {limit} s, {:?}",
                taken.as_secs_f64(),
                kind(&decision.outcome)
            );
            assert!(taken < timeout + SLACK, "{name}, {branching:?}: {taken:?} of {timeout:?}");
        }
    }
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Holds { .. } => "holds",
        Outcome::Violated { .. } => "violated",
        Outcome::Unknown { .. } => "unknown",
        Outcome::Timeout { .. } => "timeout",
    }
}

/// A proof of 2¹⁴ leaves about a wide network.
#[test]
fn the_limit_of_a_check_is_kept() {
    let network = dense(&[2, 1024, 1024, 1]);
    let weights = Weights::from_single(&Initialisation::Default.theta(&network, 1));
    let row = vec![vec![Constraint::at_most(vec![1.0], -1e3)]];
    let property = Property::new(2, 1, vec![Case::closed(vec![0.0; 2], vec![1.0; 2], row)]);
    let mut tree = TreeBuilder::new();
    let mut open = vec![TreeBuilder::ROOT];
    for index in 0..14 {
        open = open.into_iter().flat_map(|node| tree.split_relu(node, Neuron { node: 1, index })).collect();
    }
    assert_eq!(open.len(), 1 << 14);
    open.into_iter().for_each(|node| tree.leaf(node, Leaf { rows: vec![(0, 1.0)], ..Leaf::default() }));
    let conjunctions = vec![tree.finish().unwrap()];
    let proof = Proof { cases: vec![CaseProof { conjunctions }], ..Proof::default() };
    let start = Instant::now();
    // Less than the first bounds of such a network take.
    let limit = Duration::from_millis(1);
    let late = Checker::new(&network, &weights).until(start + limit).check(&property, &proof);
    assert!(matches!(late, Err(CertificateError::Late)), "{late:?}");
    let taken = start.elapsed();
    eprintln!("check: {:.3} s of {:.3} s", taken.as_secs_f64(), limit.as_secs_f64());
    assert!(taken < limit + SLACK);
    // Without a limit it is checked to its end.
    assert_eq!(Checker::new(&network, &weights).check(&property, &proof).unwrap().leaves, 1 << 14);
}

/// What a round leaves unbounded for want of time is left as it is, by every search.
#[test]
fn a_search_may_end_at_any_moment() {
    let (model, property) = open_between(&[24, 60, 60, 1], 0.3);
    let searches = [
        (Branching::Input, 0),
        (Branching::Input, 50),
        (Branching::Babsr, 0),
        (Branching::Fsb, 0),
        (Branching::Fsb, 50),
    ];
    for (branching, mixed_split_limit) in searches {
        let mut timeouts = 0;
        for step in 1..20 {
            let settings = Settings {
                timeout: Duration::from_millis(7 * step),
                branching,
                mixed_split_limit,
                attack_restarts: 0,
                proof: step % 2 == 0,
                ..Settings::default()
            };
            let decision = decide(&model.network, &model.weights(), &property, &settings, &|_| {}).unwrap();
            timeouts += usize::from(matches!(decision.outcome, Outcome::Timeout { .. }));
        }
        assert!(timeouts > 10, "{branching:?}: only {timeouts} searches ended by time");
    }
}
