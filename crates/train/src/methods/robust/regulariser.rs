//! The warm-up regularisers of Shi et al. 2021: bounds that stay as tight as the input's, and ReLUs of which neither the
//! active nor the inactive ones rule.

use serde::{Deserialize, Serialize};
use tightrope_engine::{LayerBounds, LayerCotangent, Region};
use tightrope_network::{Layer, Network};

use crate::config::{Setting, Values};

/// The keys of the regularisers.
pub(in crate::methods) const REGULARISER: &[Setting] = &[
    Setting::new(
        "method.regulariser",
        Values::NOT_NEGATIVE,
        "weight λ of the warm-up regularisers, which falls to 0 as ε rises; 0.5 is usual, 0.2 on TinyImageNet",
        "0.5",
    ),
    Setting::new("method.regulariser_tolerance", Values::FACTOR, "their tolerance τ", "0.3"),
];

/// λ(1 − ε_t/ε)·(L_tight + L_relu).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::methods) struct Regulariser {
    /// λ ≥ 0.
    regulariser: f64,
    /// τ in (0, 1].
    regulariser_tolerance: f64,
}

impl Default for Regulariser {
    fn default() -> Self {
        Regulariser { regulariser: 0.0, regulariser_tolerance: 0.5 }
    }
}

/// A penalty on the bounds of layers.
pub(super) struct Penalty {
    /// Its value, weighted.
    pub(super) value: f64,
    /// Its derivatives.
    pub(super) cotangents: Vec<LayerCotangent<f32>>,
}

impl Regulariser {
    /// The weight at a radius that is the part `epsilon` of the final one.
    pub(super) fn weight(&self, epsilon: f64) -> f64 {
        self.regulariser * (1.0 - epsilon)
    }

    /// The regularisers of `layers`, bounds over `region`, with `weight`:
    ///
    /// L_tight = (1/m) Σᵢ relu(τ − r₀/rᵢ)/τ with rᵢ the mean half-width of layer i and r₀ that of the (normalised) input;
    /// L_relu = (1/m) Σᵢ [relu(τ − min(a, 1/a)) + relu(τ − min(v, 1/v))]/τ with a the ratio of the sum of the centres of
    /// active neurons to that of inactive ones (negated), v the ratio of the sums of their squared distances from the mean
    /// centre. Layers where a ratio is no positive number have no L_relu.
    pub(super) fn penalty(
        &self,
        network: &Network,
        region: &Region<f32>,
        layers: &[LayerBounds<f32>],
        weight: f64,
    ) -> Penalty {
        let tolerance = self.regulariser_tolerance;
        let scale = weight / (tolerance * layers.len().max(1) as f64);
        let input = input_width(network, region);
        let mut value = 0.0;
        let cotangents = layers.iter().map(|layer| {
            let size = layer.lower.len() as f64;
            let both = || layer.lower.iter().zip(&layer.upper).map(|(&l, &u)| (f64::from(l), f64::from(u)));
            let width = both().map(|(l, u)| (u - l) / 2.0).sum::<f64>() / size;
            let excess = tolerance - input / width;
            // On each half-width.
            let mut on_width = 0.0;
            if excess > 0.0 {
                value += scale * excess;
                on_width = scale * input / (width * width) / size;
            }
            let mean = both().map(|(l, u)| (l + u) / 2.0).sum::<f64>() / size;
            // Sums over active and inactive neurons: centres, squared distances, distances.
            let mut sums = [[0.0; 3]; 2];
            for (l, u) in both() {
                if let Some(side) = side(l, u) {
                    let (center, distance) = ((l + u) / 2.0, (l + u) / 2.0 - mean);
                    sums[side].iter_mut().zip([center, distance * distance, distance]).for_each(|(s, v)| *s += v);
                }
            }
            let centers = balance(sums[0][0], -sums[1][0]);
            let squares = balance(sums[0][1], sums[1][1]);
            let (mut on_centers, mut on_squares) = ([0.0; 2], [0.0; 2]);
            if let (Some(centers), Some(squares)) = (centers, squares) {
                for (ratio, on) in [(&centers, &mut on_centers), (&squares, &mut on_squares)] {
                    let excess = tolerance - ratio.value;
                    if excess > 0.0 {
                        value += scale * excess;
                        *on = ratio.slopes.map(|slope| -scale * slope);
                    }
                }
                on_centers[1] = -on_centers[1];
            }
            // Every centre moves the mean.
            let on_mean = -2.0 * (on_squares[0] * sums[0][2] + on_squares[1] * sums[1][2]) / size;
            let (lower, upper) = both()
                .map(|(l, u)| {
                    let mut on_center = on_mean;
                    if let Some(side) = side(l, u) {
                        on_center += on_centers[side] + 2.0 * on_squares[side] * ((l + u) / 2.0 - mean);
                    }
                    (((on_center - on_width) / 2.0) as f32, ((on_center + on_width) / 2.0) as f32)
                })
                .unzip();
            LayerCotangent { node: layer.node, lower, upper }
        });
        let cotangents = cotangents.collect();
        Penalty { value, cotangents }
    }
}

/// 0 for active neurons, 1 for inactive ones, none for unstable ones.
fn side(lower: f64, upper: f64) -> Option<usize> {
    if lower > 0.0 {
        Some(0)
    } else if upper < 0.0 {
        Some(1)
    } else {
        None
    }
}

/// min(p/q, q/p) with its derivatives.
struct Balance {
    value: f64,
    slopes: [f64; 2],
}

/// The balance of p and q; none unless both are positive numbers.
fn balance(p: f64, q: f64) -> Option<Balance> {
    let ratio = p / q;
    if !(ratio > 0.0 && ratio.is_finite() && (1.0 / ratio).is_finite()) {
        return None;
    }
    Some(match ratio <= 1.0 {
        true => Balance { value: ratio, slopes: [1.0 / q, -ratio / q] },
        false => Balance { value: 1.0 / ratio, slopes: [-1.0 / (ratio * p), 1.0 / p] },
    })
}

/// The mean half-width of the region behind a first layer that normalises the input.
fn input_width(network: &Network, region: &Region<f32>) -> f64 {
    let scale = network.nodes().iter().skip(1).take(1).find_map(|node| match &node.layer {
        Layer::Affine(affine) if affine.weight.is_none() => Some(affine),
        _ => None,
    });
    let factor = |i: usize| scale.map_or(1.0, |affine| affine.scale[i / affine.inner].abs());
    let width = |(i, &radius): (usize, &f32)| f64::from(radius) * factor(i % region.dimension());
    region.radius.iter().enumerate().map(width).sum::<f64>() / region.radius.len() as f64
}

#[cfg(test)]
mod tests {
    use tightrope_engine::{LayerBounds, Region};
    use tightrope_network::Preset;

    use super::Regulariser;

    fn layer(lower: &[f32], upper: &[f32]) -> LayerBounds<f32> {
        LayerBounds { node: 2, lower: lower.to_vec(), upper: upper.to_vec() }
    }

    #[test]
    fn penalties_are_those_of_the_formulas_and_their_derivatives() {
        let network = Preset::Mlp.build(&[1, 2, 2], 3, None).unwrap();
        let region = Region::boxes(&[0.0; 4], &[0.2; 4], 4).unwrap();
        let regulariser = Regulariser { regulariser: 1.0, regulariser_tolerance: 0.5 };
        // Half-widths .5, .25, 1, .5, mean 9/16; active centres 1.5 and .5, inactive −.5; unstable 0.
        let (lower, upper) = ([1.0, 0.25, -1.0, -1.0], [2.0, 0.75, 1.0, -0.001]);
        let at = |lower: &[f32], upper: &[f32]| regulariser.penalty(&network, &region, &[layer(lower, upper)], 0.25);
        let found = at(&lower, &upper);
        let width = (0.5 + 0.25 + 1.0 + 0.4995) / 4.0;
        let mean = (1.5 + 0.5 - 0.5005) / 4.0;
        let a: f64 = 0.5005 / 2.0;
        let v = (0.5005_f64 + mean).powi(2) / ((1.5 - mean).powi(2) + (0.5 - mean).powi(2));
        assert!(a < 0.5 && v > 0.5);
        let expected = 0.25 * (0.5 - 0.1 / width + 0.5 - a) / 0.5;
        assert!((found.value - expected).abs() < 1e-6, "{} against {expected}", found.value);
        // With one far out, the second ratio counts as well.
        for upper in [upper, [8.0, 0.75, 1.0, -0.001]] {
            let found = at(&lower, &upper);
            for i in 0..4 {
                let moved = |by: f32, which: usize| {
                    let (mut l, mut u) = (lower, upper);
                    if which == 0 {
                        l[i] += by
                    } else {
                        u[i] += by
                    }
                    at(&l, &u).value
                };
                for (which, cotangent) in [&found.cotangents[0].lower, &found.cotangents[0].upper].iter().enumerate() {
                    // Small enough for signs to stay.
                    let slope = (moved(4e-4, which) - moved(-4e-4, which)) / 8e-4;
                    assert!((slope - f64::from(cotangent[i])).abs() < 1e-4, "{i}: {slope} against {}", cotangent[i]);
                }
            }
        }
    }

    #[test]
    fn layers_without_a_balance_have_only_their_width() {
        let network = Preset::Mlp.build(&[1, 2, 2], 3, None).unwrap();
        let region = Region::boxes(&[0.0; 4], &[2.0; 4], 4).unwrap();
        let regulariser = Regulariser::default();
        let found = regulariser.penalty(&network, &region, &[layer(&[1.0, 2.0], &[2.0, 3.0])], 1.0);
        assert_eq!(found.value, 0.0);
        assert!(found.cotangents[0].lower.iter().chain(&found.cotangents[0].upper).all(|&c| c == 0.0));
        assert_eq!(regulariser.weight(0.5), 0.0);
    }
}
