//! Jumps: differences that do not shrink with the step, located and sized by bisection.

use serde::Serialize;

use crate::{LandscapeError, Slice};

/// Halvings at the end over which a difference must stay, where that of a continuous function falls to a sixteenth.
const PROOF: usize = 4;
/// The part of a difference that must stay. Of two jumps that the last halvings tell apart, the larger one does.
const STAYS: f64 = 0.5;
/// Steps on either side that tell the slope around a step.
const REACH: usize = 2;
/// Differences below so many units of rounding of the largest value are rounding.
const ROUNDING: f64 = 64.0 * f32::EPSILON as f64;

/// How jumps are searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JumpSearch {
    /// Steps of the slice that are looked into: those whose differences stand out most from those around.
    pub candidates: usize,
    /// Halvings of each, four at least: the width of a located jump is the step / 2^halvings.
    pub halvings: usize,
}

impl Default for JumpSearch {
    fn default() -> Self {
        JumpSearch { candidates: 24, halvings: 12 }
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

/// The jumps of `function` within the steps of `slice` that stand out most from their neighbours, at most one in each,
/// largest first.
///
/// Each step is halved again and again, going on with the half over which the function differs more from the slope around the
/// step. What is left is a jump if that difference did not shrink over the last four halvings; a function with slope s shows
/// no more than s·width there.
///
/// # Errors
/// If the function fails.
pub fn jumps(
    slice: &Slice,
    search: &JumpSearch,
    function: &mut dyn FnMut(f64) -> Result<f64, LandscapeError>,
) -> Result<Vec<Jump>, LandscapeError> {
    let largest = slice.loss.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let differences: Vec<f64> = slice.loss.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let usual: Vec<f64> = (0..differences.len()).map(|step| around(&differences, step)).collect();
    let excess = |step: usize| (differences[step] - usual[step]).abs();
    let mut steps: Vec<usize> = (0..differences.len()).filter(|&step| excess(step).is_finite()).collect();
    steps.sort_by(|&a, &b| excess(b).total_cmp(&excess(a)).then(a.cmp(&b)));
    let mut found = Vec::new();
    for &step in steps.iter().take(search.candidates) {
        let (mut a, mut b) = ((slice.t[step], slice.loss[step]), (slice.t[step + 1], slice.loss[step + 1]));
        let slope = usual[step] / (b.0 - a.0);
        let beyond = |a: (f64, f64), b: (f64, f64)| (b.1 - a.1 - slope * (b.0 - a.0)).abs();
        let mut before_proof = beyond(a, b);
        let halvings = search.halvings.max(PROOF);
        for halving in 0..halvings {
            if halving + PROOF == halvings {
                before_proof = beyond(a, b);
            }
            let middle = 0.5 * (a.0 + b.0);
            let m = (middle, function(middle)?);
            if beyond(a, m) >= beyond(m, b) {
                b = m;
            } else {
                a = m;
            }
        }
        let left = beyond(a, b);
        if left >= STAYS * before_proof && left > ROUNDING * largest {
            found.push(Jump { from: a.0, to: b.0, size: b.1 - a.1 });
        }
    }
    found.sort_by(|a, b| b.size.abs().total_cmp(&a.size.abs()));
    Ok(found)
}

/// The median of the differences of the steps around `step`, its own not among them: jumps in some of them do not move it.
fn around(differences: &[f64], step: usize) -> f64 {
    let window = step.saturating_sub(REACH)..(step + REACH + 1).min(differences.len());
    let mut others: Vec<f64> = window.filter(|&other| other != step).map(|other| differences[other]).collect();
    others.retain(|difference| difference.is_finite());
    others.sort_by(f64::total_cmp);
    match others.len() {
        0 => 0.0,
        count => 0.5 * (others[(count - 1) / 2] + others[count / 2]),
    }
}
