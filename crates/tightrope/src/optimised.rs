//! α-CROWN over the samples of a batch, to be met with the engine's CROWN bounds.

use rayon::prelude::*;
use tightrope_engine::{Ball, LayerBounds, Real, Region};
use tightrope_verify::VerifyError;
use tightrope_verify::complete::{AlphaBounds, AlphaCrown, AlphaSettings};

/// Optimised bounds of some samples.
#[derive(Clone, Debug)]
pub struct Optimised {
    samples: Vec<AlphaBounds>,
}

impl Optimised {
    /// Bounds the rows (`rows(sample)`, `[R, K]` over the logits) over each set of `region`, several samples at a time.
    ///
    /// # Errors
    /// If rows and sets do not fit the network.
    pub fn new<T: Real>(
        alpha: &AlphaCrown<'_>,
        region: &Region<T>,
        rows: &(dyn Fn(usize) -> Vec<f32> + Sync),
        settings: &AlphaSettings,
    ) -> Result<Self, VerifyError> {
        let d = region.dimension();
        let bound = |i: usize| {
            let sides = region.center[i * d..(i + 1) * d].iter().zip(&region.radius[i * d..(i + 1) * d]);
            let (lower, upper): (Vec<f64>, Vec<f64>) = sides
                .map(|(center, radius)| (center.to_f64() - radius.to_f64(), center.to_f64() + radius.to_f64()))
                .unzip();
            let ball = region.ball.as_ref().map(|ball| Ball {
                norm: ball.norm,
                center: ball.center[i * d..(i + 1) * d].iter().map(|c| c.to_f64()).collect(),
                epsilon: ball.epsilon.to_f64(),
            });
            alpha.bound((&lower, &upper), ball.as_ref(), &rows(i), settings)
        };
        let samples = (0..region.batch()).into_par_iter().map(bound).collect::<Result<_, _>>()?;
        Ok(Optimised { samples })
    }

    /// Lower bounds of the rows of a sample.
    pub fn rows(&self, sample: usize) -> &[f64] {
        &self.samples[sample].rows
    }

    /// Meets the bounds of the pre-activations, in network order, with the optimised ones.
    pub fn tighten_layers<T: Real>(&self, layers: &mut [LayerBounds<T>]) {
        for (i, sample) in self.samples.iter().enumerate() {
            let optimised = sample.layer_lower.iter().zip(&sample.layer_upper);
            for (layer, (below, above)) in layers.iter_mut().zip(optimised) {
                let n = below.len();
                raise_to(&mut layer.lower[i * n..(i + 1) * n], below);
                lower_to(&mut layer.upper[i * n..(i + 1) * n], above);
            }
        }
    }
}

/// Raises lower bounds to the larger ones of `optimised`, rounded down.
pub fn raise_to<T: Real>(values: &mut [T], optimised: &[f64]) {
    values.iter_mut().zip(optimised).for_each(|(value, &bound)| *value = value.max(rounded_down(bound)));
}

/// Lowers upper bounds to the smaller ones of `optimised`, rounded up.
pub fn lower_to<T: Real>(values: &mut [T], optimised: &[f64]) {
    values.iter_mut().zip(optimised).for_each(|(value, &bound)| *value = value.min(-rounded_down::<T>(-bound)));
}

/// A `T` that is not above `value`, and below it by no more than rounding.
fn rounded_down<T: Real>(value: f64) -> T {
    let nearest = T::from_f64(value);
    if nearest.to_f64() <= value {
        return nearest;
    }
    // Half an ulp of f32 is at most half its ε of the value, or of the smallest normal number: what is that much less
    // rounds to no more than the value.
    let half = 0.5 * f64::from(f32::EPSILON) * value.abs().max(f64::from(f32::MIN_POSITIVE));
    T::from_f64(value - half)
}

#[cfg(test)]
mod tests {
    use super::rounded_down;

    #[test]
    fn rounding_goes_down() {
        for value in [0.1, -0.1, 1.0 / 3.0, -1e-3, 0.0, 0.5, 1e30, 1e-39, -3e-41] {
            let down: f32 = rounded_down(value);
            assert!(
                f64::from(down) <= value && f64::from(down) >= value - value.abs().max(1.2e-38) * 1.2e-7,
                "{value}"
            );
            assert_eq!(rounded_down::<f64>(value), value);
        }
    }
}
