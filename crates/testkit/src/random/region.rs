//! Random input regions of every norm.

use tightrope_engine::{Norm, Region};

use super::rng::Rng;

/// The shapes of input regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// ℓ∞ balls.
    Linf,
    /// ℓ∞ balls cut to the data range.
    LinfClipped,
    /// ℓ2 balls.
    L2,
    /// ℓ2 balls cut to the data range.
    L2Clipped,
    /// ℓ1 balls.
    L1,
    /// ℓ1 balls cut to the data range.
    L1Clipped,
    /// Boxes with sides of their own.
    Boxes,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 7] =
        [Shape::Linf, Shape::LinfClipped, Shape::L2, Shape::L2Clipped, Shape::L1, Shape::L1Clipped, Shape::Boxes];

    /// True for balls that are cut to the data range.
    pub fn clipped(self) -> bool {
        matches!(self, Shape::LinfClipped | Shape::L2Clipped | Shape::L1Clipped)
    }
}

/// A region of `batch` samples around points of [0, 1]^d; all radii are scaled by `size`.
pub fn region(rng: &Rng, shape: Shape, batch: usize, dimension: usize, size: f64) -> Region<f64> {
    region_in((0.0, 1.0), rng, shape, batch, dimension, size)
}

/// As [`region`] with a data range of `low..high`.
pub fn region_in(
    (low, high): (f64, f64),
    rng: &Rng,
    shape: Shape,
    batch: usize,
    dimension: usize,
    size: f64,
) -> Region<f64> {
    let x: Vec<f64> = (0..batch * dimension).map(|_| rng.between(low, high)).collect();
    let clip = shape.clipped().then_some((low, high));
    let ball = |norm, epsilon| Region::ball(&x, dimension, size * epsilon, norm, clip).unwrap();
    match shape {
        Shape::Linf | Shape::LinfClipped => ball(Norm::Inf, rng.between(0.05, 0.3)),
        Shape::L2 | Shape::L2Clipped => ball(Norm::L2, rng.between(0.2, 1.0)),
        Shape::L1 | Shape::L1Clipped => ball(Norm::L1, rng.between(0.4, 2.0)),
        Shape::Boxes => {
            let side = |x: &f64, sign: f64| x + sign * size * rng.between(0.0, 0.3);
            let lower: Vec<f64> = x.iter().map(|x| side(x, -1.0)).collect();
            let upper: Vec<f64> = x.iter().map(|x| side(x, 1.0)).collect();
            Region::boxes(&lower, &upper, dimension).unwrap()
        }
    }
}
