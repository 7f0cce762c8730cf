//! Kinks: changes of slope that do not shrink with the step.

use serde::Serialize;

use super::Jump;
use super::variation::second_differences;
use crate::{LandscapeError, Slice};

/// With z halvings, the change of slope over a step falls by 2^z where a function is smooth, stays within a factor 2 at a
/// kink and rises by 2^z at a jump: these bounds lie between.
const SHRINKS: f64 = 0.25;
const GROWS: f64 = 4.0;
/// Second differences below so many units of rounding of the largest value are rounding.
const ROUNDING: f64 = 64.0 * f32::EPSILON as f64;

/// How kinks are searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KinkSearch {
    /// Points of the slice that are looked at: those where the slope changes most.
    pub candidates: usize,
    /// Halvings of the step there. Rounding grows with them: single precision allows for few.
    pub halvings: usize,
}

impl Default for KinkSearch {
    fn default() -> Self {
        KinkSearch { candidates: 24, halvings: 4 }
    }
}

/// A located kink.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kink {
    /// It lies between here …
    pub from: f64,
    /// … and here.
    pub to: f64,
    /// Slope right of it minus slope left of it, each over half of the width.
    pub size: f64,
}

/// The kinks of `function` around the points of `slice` where the slope changes most, largest first; none around `jumps`.
///
/// Around each point the step is halved again and again, going on with the neighbourhood in which the slope changes most. It
/// is a kink if that change has neither shrunk as a smooth function's does, nor grown as it does at a jump.
///
/// # Errors
/// If the function fails.
pub fn kinks(
    slice: &Slice,
    jumps: &[Jump],
    search: &KinkSearch,
    function: &mut dyn FnMut(f64) -> Result<f64, LandscapeError>,
) -> Result<Vec<Kink>, LandscapeError> {
    let largest = slice.loss.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let changes: Vec<f64> = second_differences(&slice.loss).collect();
    let jumps_near =
        |point: usize| jumps.iter().any(|jump| jump.to > slice.t[point - 1] && jump.from < slice.t[point + 1]);
    let mut points: Vec<usize> =
        (1..=changes.len()).filter(|&point| changes[point - 1].is_finite() && !jumps_near(point)).collect();
    points.sort_by(|&a, &b| changes[b - 1].abs().total_cmp(&changes[a - 1].abs()).then(a.cmp(&b)));
    let mut found: Vec<Kink> = Vec::new();
    for &point in points.iter().take(search.candidates) {
        let at = |place: usize| (slice.t[place], slice.loss[place]);
        let window = [at(point - 1), at(point), at(point + 1)];
        let Some(kink) = zoom(window, search.halvings, ROUNDING * largest, function)? else { continue };
        // Two neighbouring points may lead to the same one.
        if found.iter().all(|other| kink.to <= other.from || other.to <= kink.from) {
            found.push(kink);
        }
    }
    found.sort_by(|a, b| b.size.abs().total_cmp(&a.size.abs()));
    Ok(found)
}

/// The kink within `window`, if there is one.
fn zoom(
    mut window: [(f64, f64); 3],
    halvings: usize,
    rounding: f64,
    function: &mut dyn FnMut(f64) -> Result<f64, LandscapeError>,
) -> Result<Option<Kink>, LandscapeError> {
    let second = |[a, b, c]: &[(f64, f64); 3]| (a.1 - 2.0 * b.1 + c.1).abs();
    let change = |window: &[(f64, f64); 3]| second(window) / (window[1].0 - window[0].0);
    let first = change(&window);
    for _ in 0..halvings {
        let [a, m, b] = window;
        let mut between = |left: f64, right: f64| {
            let middle = 0.5 * (left + right);
            function(middle).map(|value| (middle, value))
        };
        let (left, right) = (between(a.0, m.0)?, between(m.0, b.0)?);
        window = [a, left, m];
        for other in [[left, m, right], [m, right, b]] {
            if second(&other) > second(&window) {
                window = other;
            }
        }
    }
    let ratio = change(&window) / first;
    if !(SHRINKS..=GROWS).contains(&ratio) || second(&window) <= rounding {
        return Ok(None);
    }
    let [a, m, b] = window;
    let h = m.0 - a.0;
    // Slopes outside the window, which the kink's place in it does not matter to.
    let right = (function(b.0 + h)? - b.1) / h;
    let left = (a.1 - function(a.0 - h)?) / h;
    Ok(Some(Kink { from: a.0, to: b.0, size: right - left }))
}
