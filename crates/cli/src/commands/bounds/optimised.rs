//! α-CROWN over the samples of a chunk, to be met with the engine's CROWN bounds.

use rayon::prelude::*;
use tightrope_engine::{Bounds, Real, Region};
use tightrope_verify::VerifyError;
use tightrope_verify::complete::{AlphaBounds, AlphaCrown, AlphaSettings};

/// Optimised bounds of some samples.
pub struct Optimised {
    labels: Vec<usize>,
    /// The margins to classes 0 to K − 1 without the label; with layers then the logits, and the negated logits.
    samples: Vec<AlphaBounds>,
}

impl Optimised {
    /// Bounds the margins over each box of `region`, with `layers` also layers and logits.
    pub fn new<T: Real>(
        alpha: &AlphaCrown<'_>,
        region: &Region<T>,
        labels: &[usize],
        layers: bool,
        settings: &AlphaSettings,
    ) -> Result<Self, VerifyError> {
        let d = region.dimension();
        let bound = |(i, &label): (usize, &usize)| {
            let sides = region.center[i * d..(i + 1) * d].iter().zip(&region.radius[i * d..(i + 1) * d]);
            let (lower, upper): (Vec<f64>, Vec<f64>) = sides
                .map(|(center, radius)| (center.to_f64() - radius.to_f64(), center.to_f64() + radius.to_f64()))
                .unzip();
            alpha.bound(&lower, &upper, &rows(label, alpha.outputs(), layers), settings)
        };
        let samples = labels.par_iter().enumerate().map(bound).collect::<Result<_, _>>()?;
        Ok(Optimised { labels: labels.to_vec(), samples })
    }

    /// Raises lower margins `[N, K]` to the optimised ones.
    pub fn raise_margins<T: Real>(&self, margins: &mut [T]) {
        let classes = margins.len() / self.labels.len();
        for ((row, &label), bounds) in margins.chunks_exact_mut(classes).zip(&self.labels).zip(&self.samples) {
            let rivals = row.iter_mut().enumerate().filter(|(class, _)| *class != label);
            rivals.zip(&bounds.rows).for_each(|((_, margin), &bound)| *margin = margin.max(rounded_down(bound)));
        }
    }

    /// Meets the bounds of the layers and of the logits with the optimised ones.
    pub fn tighten_layers<T: Real>(&self, bounds: &mut Bounds<T>) {
        let raise = |values: &mut [T], i: usize, optimised: &[f64]| {
            let n = optimised.len();
            let values = values[i * n..(i + 1) * n].iter_mut();
            values.zip(optimised).for_each(|(value, &bound)| *value = value.max(rounded_down(bound)));
        };
        // The upper bounds are minus the lower bounds of the negated values.
        let lower = |values: &mut [T], i: usize, optimised: &[f64]| {
            let n = optimised.len();
            let values = values[i * n..(i + 1) * n].iter_mut();
            values.zip(optimised).for_each(|(value, &bound)| *value = value.min(-rounded_down::<T>(-bound)));
        };
        for (i, sample) in self.samples.iter().enumerate() {
            for (position, layer) in bounds.layers.iter_mut().enumerate() {
                raise(&mut layer.lower, i, &sample.layer_lower[position]);
                lower(&mut layer.upper, i, &sample.layer_upper[position]);
            }
            let (logits, negated) = sample.rows[bounds.rows - 1..].split_at(bounds.rows);
            raise(&mut bounds.lower, i, logits);
            if let Some(upper) = &mut bounds.upper {
                let logits: Vec<f64> = negated.iter().map(|bound| -bound).collect();
                lower(upper, i, &logits);
            }
        }
    }
}

/// z_label − z_j for every other j; with `logits` then z_j and −z_j for every j.
fn rows(label: usize, classes: usize, logits: bool) -> Vec<f32> {
    let unit = |class: usize, sign: f32| (0..classes).map(move |j| if j == class { sign } else { 0.0 });
    let margin = |rival: usize| unit(label, 1.0).zip(unit(rival, 1.0)).map(|(a, b)| a - b);
    let mut rows: Vec<f32> = (0..classes).filter(|&rival| rival != label).flat_map(margin).collect();
    if logits {
        rows.extend((0..classes).flat_map(|class| unit(class, 1.0)));
        rows.extend((0..classes).flat_map(|class| unit(class, -1.0)));
    }
    rows
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
    use super::{rounded_down, rows};

    #[test]
    fn rows_are_margins_then_logits() {
        assert_eq!(rows(1, 3, false), [-1.0, 1.0, 0.0, 0.0, 1.0, -1.0]);
        assert_eq!(rows(0, 2, true), [1.0, -1.0, 1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0]);
    }

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
