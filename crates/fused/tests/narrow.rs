//! Narrow stages, which large batches bound with images in lanes, against the reference engine in double precision.

mod common;

use common::{Case, close, engines};
use tightrope_engine::{BoundRequest, Engine, Norm, Reference, Region, Relaxation, SlopeAscent, Spec};
use tightrope_testkit::random::{Knobs, Piece, Recipe, Rng, draws, uniform};

const WALKED: [Relaxation; 3] = [Relaxation::Crown, Relaxation::CrownMeetIbp, Relaxation::CrownSkipIbp];

/// Two to four convolutions, most of few channels, then none or one hidden linear layer, which may be narrow as well.
fn recipe(rng: &Rng) -> Recipe {
    let mut pieces = Vec::new();
    for _ in 0..rng.integer(2, 4) {
        pieces.extend([Piece::Conv, Piece::Relu]);
    }
    pieces.push(Piece::Flatten);
    if rng.coin() {
        pieces.extend([Piece::Hidden, Piece::Relu]);
    }
    pieces.push(Piece::Logits);
    let knobs = Knobs {
        sides: 4..=7,
        filters: vec![1, 2, 2, 3, 4, 4, 17],
        kernel: 5,
        stride: 2,
        dilation: 1,
        hidden: vec![1, 2, 3, 4, 20],
        classes: vec![2, 3, 10],
        ..Knobs::default()
    };
    Recipe { pieces, knobs }
}

/// Batches whose chunks are too small for all, for some and for no narrow stage; the last one of 130 has two images.
#[test]
fn bounds_and_gradients_are_those_of_the_reference_engine() {
    for seed in 0..18 {
        let rng = Rng::in_turn(700 + seed);
        let network = recipe(&rng).network(&rng);
        let batch = [130, 64, 130, 40, 16, 128][seed as usize % 6];
        let epsilon = *rng.one_of(&[0.005, 0.02, 0.1]);
        let theta = uniform(&network, 300 + seed, *rng.one_of(&[0.0, 0.0, 0.3, -0.3]));
        let clip = *rng.one_of(&[None, Some((0.0, 1.0))]);
        let (upper, layers) = (rng.below(3) == 0, rng.below(3) == 0);
        let shape: Vec<_> = network.nodes().iter().map(|node| node.shape.clone()).collect();
        for relaxation in WALKED {
            let base = Case::new("", &network, theta.clone(), batch, epsilon, relaxation);
            let spec = if upper { Spec::Logits } else { base.spec.clone() };
            let name = format!("seed {seed}, {shape:?}, batch {batch}, {clip:?}{}", base.name);
            Case { name, spec, upper, layers, clip, ..base }.check(&engines(), 1e-4);
        }
    }
}

/// What an image's bounds are does not depend on what else is in the batch but for rounding, and optimised slopes start from
/// the same bounds.
#[test]
fn images_alone_and_in_a_batch_have_the_same_bounds() {
    for seed in 0..6 {
        let rng = Rng::in_turn(900 + seed);
        let network = recipe(&rng).network(&rng);
        let (theta, d, batch) = (uniform(&network, seed, 0.1), network.input_len(), 144);
        let x = draws(5, seed, batch * d, 0.0, 1.0);
        let labels: Vec<usize> = (0..batch).map(|i| i % network.output_len()).collect();
        let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let theta64: Vec<f64> = theta.iter().map(|&t| f64::from(t)).collect();
        let oracle = Reference.load(&network, &theta64, &[]).unwrap();
        for relaxation in WALKED {
            let climbing =
                BoundRequest { ascent: Some(SlopeAscent { steps: 2, rate: 0.25 }), ..BoundRequest::lower(relaxation) };
            let region = Region::ball(&wide, d, 0.05, Norm::Inf, Some((0.0, 1.0))).unwrap();
            let expected = oracle.bound(&region, &Spec::Margins { labels: labels.clone() }, climbing).unwrap();
            for engine in engines() {
                let at = engine.load(&network, &theta, &[]).unwrap();
                let bounds = |from: usize, to: usize, request| {
                    let region = Region::ball(&x[from * d..to * d], d, 0.05, Norm::Inf, Some((0.0, 1.0))).unwrap();
                    at.bound(&region, &Spec::Margins { labels: labels[from..to].to_vec() }, request).unwrap().lower
                };
                let what = format!("seed {seed}, {relaxation} on {}", engine.isa().name());
                let together = bounds(0, batch, BoundRequest::lower(relaxation));
                let alone: Vec<f64> =
                    (0..batch).flat_map(|i| bounds(i, i + 1, BoundRequest::lower(relaxation))).map(f64::from).collect();
                close(&what, &together, &alone, 1e-5);
                close(&format!("{what}, slopes"), &bounds(0, batch, climbing), &expected.lower, 3e-4);
            }
        }
    }
}
