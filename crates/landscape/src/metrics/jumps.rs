//! Jumps: differences that do not shrink with the step, located and sized by bisection.

use serde::Serialize;

use crate::{LandscapeError, Slice};

/// Halvings at the end over which a difference must stay, where that of a continuous function falls to a sixteenth.
const PROOF: usize = 4;
/// The part of a difference that must stay. Of two jumps that the last halvings tell apart, the larger one does.
const STAYS: f64 = 0.5;
/// Differences below so many units of rounding of the largest value are rounding.
const ROUNDING: f64 = 64.0 * f32::EPSILON as f64;

/// How jumps are searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JumpSearch {
    /// Steps of the slice that are looked into: those with the largest differences.
    pub candidates: usize,
    /// Halvings of each, four at least: the width of a located jump is the step / 2^halvings.
    pub halvings: usize,
}

impl Default for JumpSearch {
    fn default() -> Self {
        JumpSearch { candidates: 4, halvings: 12 }
    }
}

/// A located jump.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Jump {
    /// It lies between here …
    pub from: f64,
    /// … and here.
    pub to: f64,
    /// The value at `to` minus that at `from`.
    pub size: f64,
}

/// The jumps of `function` within the steps of `slice` that differ most, at most one in each, largest first.
///
/// Each step is halved again and again, going on with the half over which the function differs more. What is left is a jump
/// if the difference did not shrink over the last four halvings; a function with slope s shows no more than
/// s·width there.
///
/// # Errors
/// If the function fails.
pub fn jumps(
    slice: &Slice,
    search: &JumpSearch,
    function: &mut dyn FnMut(f64) -> Result<f64, LandscapeError>,
) -> Result<Vec<Jump>, LandscapeError> {
    let largest = slice.loss.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let difference = |step: usize| (slice.loss[step + 1] - slice.loss[step]).abs();
    let mut steps: Vec<usize> =
        (0..slice.t.len().saturating_sub(1)).filter(|&step| difference(step).is_finite()).collect();
    steps.sort_by(|&a, &b| difference(b).total_cmp(&difference(a)).then(a.cmp(&b)));
    let mut found = Vec::new();
    for &step in steps.iter().take(search.candidates) {
        let (mut a, mut b) = ((slice.t[step], slice.loss[step]), (slice.t[step + 1], slice.loss[step + 1]));
        let mut before_proof = (b.1 - a.1).abs();
        let halvings = search.halvings.max(PROOF);
        for halving in 0..halvings {
            if halving + PROOF == halvings {
                before_proof = (b.1 - a.1).abs();
            }
            let middle = 0.5 * (a.0 + b.0);
            let m = (middle, function(middle)?);
            if (m.1 - a.1).abs() >= (b.1 - m.1).abs() {
                b = m;
            } else {
                a = m;
            }
        }
        let size = b.1 - a.1;
        if size.abs() >= STAYS * before_proof && size.abs() > ROUNDING * largest {
            found.push(Jump { from: a.0, to: b.0, size });
        }
    }
    found.sort_by(|a, b| b.size.abs().total_cmp(&a.size.abs()));
    Ok(found)
}
