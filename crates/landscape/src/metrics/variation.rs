//! How much a sampled function varies, and which part of it no finer step removes.

use serde::Serialize;

use crate::Slice;

/// Sums over a sampled function. Figures of size `coarse` are those of every second point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Variation {
    /// Largest minus smallest value.
    pub spread: f64,
    /// Σ |L(t+h) − L(t)|.
    pub total: f64,
    /// √ of the sum of squared jumps, as far as the step shows it: √ of (4 D(h) − D(2h))/3, or 0 where that is negative, with D
    /// the mean over both phases of Σ (L(t+h) − 2L(t) + L(t−h))² over steps taken two by two. In D a jump counts its square
    /// whatever the step, while smooth parts are 8 times and kinks 4 times as large at 2h: neither is left in the difference,
    /// but for where kinks lie between the points.
    pub discontinuity: f64,
    /// Roughness: Σ |L(t+h) − 2L(t) + L(t−h)| / h, the total change of slope. The sum of the kinks and ∫|L″| for continuous
    /// functions; each jump adds twice its size over h.
    pub roughness: f64,
    /// The same with twice the step: about equal to `roughness` for continuous functions, half of it for jumps.
    pub roughness_coarse: f64,
}

/// The variation of `slice`.
pub fn variation(slice: &Slice) -> Variation {
    let values = &slice.loss;
    let (low, high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
    let coarse: Vec<f64> = values.iter().copied().step_by(2).collect();
    let h = slice.step();
    Variation {
        spread: high - low,
        total: values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum(),
        discontinuity: ((4.0 * squares(values) - squares(&coarse)) / 3.0).max(0.0).sqrt(),
        roughness: second_differences(values).map(f64::abs).sum::<f64>() / h,
        roughness_coarse: second_differences(&coarse).map(f64::abs).sum::<f64>() / (2.0 * h),
    }
}

/// L(t+h) − 2L(t) + L(t−h) at all points but the ends.
pub(super) fn second_differences(values: &[f64]) -> impl Iterator<Item = f64> {
    values.windows(3).map(|three| three[0] - 2.0 * three[1] + three[2])
}

/// The sum of squared second differences over steps taken two by two, averaged over both phases.
fn squares(values: &[f64]) -> f64 {
    let phase = |first: usize| second_differences(values).skip(first).step_by(2).map(|d| d * d).sum::<f64>();
    0.5 * (phase(0) + phase(1))
}
