//! Networks drawn at random against the reference engine in double precision: shapes that nobody thought of.
//!
//! `TIGHTROPE_RANDOM_NETWORKS` sets how many are drawn (40 without it), `TIGHTROPE_RANDOM_FIRST` the first one's seed.

mod common;

use common::{Case, Chain, Slopes, draws, engines, parameters};
use tightrope_engine::{Norm, Relaxation, Spec};
use tightrope_network::Network;

/// Whole numbers from a stream of draws.
struct Dice {
    values: std::vec::IntoIter<f32>,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Dice { values: draws(seed, 77, 256, 0.0, 1.0).into_iter() }
    }

    /// One of `low ..= high`.
    fn roll(&mut self, low: usize, high: usize) -> usize {
        let value = self.values.next().expect("draws enough");
        (low + (value * (high - low + 1) as f32) as usize).min(high)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(0, choices.len() - 1)]
    }
}

/// One to three convolutions, then none or one hidden linear layer, then the logits.
fn network(dice: &mut Dice) -> Network {
    let channels = dice.roll(1, 3);
    let (mut height, mut width) = (dice.roll(4, 11), dice.roll(4, 11));
    let mut chain = Chain::new(&[channels, height, width]);
    for _ in 0..dice.roll(1, 3) {
        let kernel = [dice.roll(1, height.min(5)), dice.roll(1, width.min(5))];
        let stride = [dice.roll(1, 3), dice.roll(1, 3)];
        let padding = [0; 4].map(|_| dice.roll(0, 2));
        let size = |n: usize, axis: usize| (n + padding[axis] + padding[axis + 2] - kernel[axis]) / stride[axis] + 1;
        (height, width) = (size(height, 0), size(width, 1));
        chain = chain.conv(dice.one_of(&[1, 2, 5, 15, 16, 17, 32, 33, 40]), kernel, stride, padding);
        if dice.roll(0, 3) == 0 {
            chain = chain.norm();
        }
        chain = chain.relu();
    }
    chain = chain.flatten();
    if dice.roll(0, 1) == 0 {
        chain = chain.linear(dice.one_of(&[3, 16, 31, 70, 140])).relu();
    }
    chain.linear(dice.one_of(&[2, 3, 10, 17])).build()
}

#[test]
fn random_networks() {
    let count = std::env::var("TIGHTROPE_RANDOM_NETWORKS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let first = std::env::var("TIGHTROPE_RANDOM_FIRST").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for seed in first..first + count {
        let mut dice = Dice::new(seed);
        let network = network(&mut dice);
        let shape: Vec<_> = network.nodes().iter().map(|node| node.shape.clone()).collect();
        let batch = dice.one_of(&[1, 2, 3, 16, 20]);
        // Not 0: where ball and box, or CROWN and IBP, give the same bound, either may give the gradient.
        let epsilon = dice.one_of(&[0.005, 0.01, 0.05, 0.2]);
        let theta = parameters(&network, 100 + seed, dice.one_of(&[0.0, 0.0, 0.3, -0.3, 3.0]));
        let clip = dice.one_of(&[None, Some((0.0, 1.0))]);
        let (upper, layers) = (dice.roll(0, 2) == 0, dice.roll(0, 1) == 0);
        let norm = dice.one_of(&[Norm::Inf, Norm::Inf, Norm::Inf, Norm::L2, Norm::L1]);
        // For the same reason no clipped balls: a window with one pixel inside the image gives box and ball the same bound.
        let clip = clip.filter(|_| norm == Norm::Inf);
        let slopes = dice.one_of(&[Slopes::Ignored, Slopes::Own, Slopes::Given]);
        for relaxation in Relaxation::ALL {
            // With IBP's bounds beside CROWN's, a row with a single live input has the same bound from both sides.
            let known = matches!(relaxation, Relaxation::Ibp | Relaxation::CrownMeetIbp);
            let slopes = if known { Slopes::Ignored } else { slopes };
            for engine in engines() {
                let base = Case::new("", &network, theta.clone(), batch, epsilon, relaxation);
                let spec = if upper { Spec::Logits } else { base.spec.clone() };
                let name = format!(
                    "seed {seed}, {shape:?}, batch {batch}, {norm:?}, {clip:?}, slopes {slopes:?}{}",
                    base.name
                );
                Case { name, spec, upper, layers, slopes, norm, clip, ..base }.check(&engine, 1e-4);
            }
        }
    }
}
