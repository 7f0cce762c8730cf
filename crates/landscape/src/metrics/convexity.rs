//! Deviation from convexity: how far midpoints lie above their chords.

use serde::Serialize;

use crate::Slice;

/// Violations L((a+b)/2) − (L(a) + L(b))/2 > 0 over all pairs of points whose midpoint is one as well.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Convexity {
    /// The largest violation; 0 for a convex function.
    pub largest: f64,
    /// Their mean over all pairs, those without a violation counted as 0.
    pub mean: f64,
}

/// The deviation of `slice` from convexity.
pub fn convexity(slice: &Slice) -> Convexity {
    let values = &slice.loss;
    let (mut largest, mut sum, mut pairs) = (0.0_f64, 0.0, 0_usize);
    for middle in 1..values.len().saturating_sub(1) {
        for reach in 1..=middle.min(values.len() - 1 - middle) {
            let violation = values[middle] - 0.5 * (values[middle - reach] + values[middle + reach]);
            if violation > 0.0 {
                largest = largest.max(violation);
                sum += violation;
            }
            pairs += 1;
        }
    }
    Convexity { largest, mean: sum / pairs.max(1) as f64 }
}
