//! Networks drawn at random against the reference engine in double precision: shapes that nobody thought of.
//!
//! `TIGHTROPE_RANDOM_NETWORKS` sets how many are drawn (40 without it), `TIGHTROPE_RANDOM_FIRST` the first one's seed.

mod common;

use common::{Case, engines};
use tightrope_engine::{BoundRequest, Engine, Norm, Relaxation, Spec, Support};
use tightrope_fused::Fused;
use tightrope_testkit::random::{Knobs, Piece, Recipe, Rng, uniform};

/// One to three convolutions, then none or one hidden linear layer, then the logits; widths around those of the lanes.
fn recipe(rng: &Rng) -> Recipe {
    let mut pieces = Vec::new();
    for _ in 0..rng.integer(1, 3) {
        pieces.push(Piece::Conv);
        if rng.below(4) == 0 {
            pieces.push(Piece::BatchNorm);
        }
        pieces.push(Piece::Relu);
    }
    pieces.push(Piece::Flatten);
    if rng.coin() {
        pieces.extend([Piece::Hidden, Piece::Relu]);
    }
    pieces.push(Piece::Logits);
    let knobs = Knobs {
        sides: 4..=11,
        filters: vec![1, 2, 5, 15, 16, 17, 32, 33, 40],
        kernel: 5,
        stride: 3,
        dilation: 1,
        hidden: vec![3, 16, 31, 70, 140],
        classes: vec![2, 3, 10, 17],
        ..Knobs::default()
    };
    Recipe { pieces, knobs }
}

#[test]
fn random_networks() {
    let count = std::env::var("TIGHTROPE_RANDOM_NETWORKS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    for seed in 0..count {
        let rng = Rng::in_turn(seed);
        let network = recipe(&rng).network(&rng);
        let own = Fused::new().unwrap().supports(&network, &BoundRequest::lower(Relaxation::Crown));
        assert_eq!(own, Support::Own, "seed {seed}");
        let shape: Vec<_> = network.nodes().iter().map(|node| node.shape.clone()).collect();
        let batch = *rng.one_of(&[1, 2, 3, 16, 20]);
        // Not 0: where ball and box, or CROWN and IBP, give the same bound, either may give the gradient.
        let epsilon = *rng.one_of(&[0.005, 0.01, 0.05, 0.2]);
        let theta = uniform(&network, 100 + seed, *rng.one_of(&[0.0, 0.0, 0.3, -0.3, 3.0]));
        let clip = *rng.one_of(&[None, Some((0.0, 1.0))]);
        let (upper, layers) = (rng.below(3) == 0, rng.coin());
        let norm = *rng.one_of(&[Norm::Inf, Norm::Inf, Norm::Inf, Norm::L2, Norm::L1]);
        // For the same reason no clipped balls: a window with one pixel inside the image gives box and ball the same bound.
        let clip = clip.filter(|_| norm == Norm::Inf);
        for relaxation in Relaxation::ALL {
            let base = Case::new("", &network, theta.clone(), batch, epsilon, relaxation);
            let spec = if upper { Spec::Logits } else { base.spec.clone() };
            let name = format!("seed {seed}, {shape:?}, batch {batch}, {norm:?}, {clip:?}{}", base.name);
            Case { name, spec, upper, layers, norm, clip, ..base }.check(&engines(), 1e-4);
        }
    }
}
