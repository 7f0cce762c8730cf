//! Properties of whole inputs: branch and bound over the gaps between whole numbers, around the search over real ones.

use std::time::{Duration, Instant};

use tightrope_certificate::Proof;
use tightrope_vnnlib::{Case, Property};

use super::bound::prepared::Prepared;
use super::decide::decide_prepared;
use super::point::{Found, Judge};
use super::settings::{Decision, Outcome, Progress, Settings, Statistics};
use crate::VerifyError;

/// [`decide_prepared`] where only whole inputs count.
///
/// What holds of all real inputs holds of whole ones. A counterexample that is not whole is rounded, which may do;
/// otherwise one of its coordinates, x, splits the property into inputs of at most ⌊x⌋ and of at least ⌈x⌉ there. Only a
/// property that needs no split has a proof.
pub(crate) fn decide_whole(
    prepared: &Prepared<'_>,
    property: &Property,
    settings: &Settings,
    progress: &(dyn Fn(Progress) + Sync),
    start: Instant,
) -> Result<Decision, VerifyError> {
    let mut statistics = Statistics::default();
    let mut open = vec![Property { whole: false, ..property.clone() }];
    let mut proof: Option<Proof> = None;
    let (mut unknown, mut splits) = (None::<f64>, 0_usize);
    while let Some(part) = open.pop() {
        // Later parts have what is left of the time.
        let now = if splits == 0 { start } else { Instant::now() };
        let timeout = settings.timeout.saturating_sub(now - start);
        if timeout == Duration::ZERO {
            let lower_bound = f64::NEG_INFINITY;
            return Ok(Decision { outcome: Outcome::Timeout { lower_bound }, statistics });
        }
        let settings = Settings { timeout, proof: settings.proof && splits == 0, ..settings.clone() };
        let decision = decide_prepared(prepared, &part, None, &settings, None, progress, now)?;
        add(&mut statistics, &decision.statistics);
        match decision.outcome {
            Outcome::Holds { proof: found } => proof = found,
            Outcome::Violated { input, output, fractions: None } if input.iter().all(|x| x.fract() == 0.0) => {
                let outcome = Outcome::Violated { input, output, fractions: None };
                return Ok(Decision { outcome, statistics });
            }
            Outcome::Violated { input, .. } => {
                if let Some(Found { input, output, .. }) = rounded(prepared, &part, &input) {
                    let outcome = Outcome::Violated { input, output, fractions: None };
                    return Ok(Decision { outcome, statistics });
                }
                let from_half = |x: f64| (x - x.floor() - 0.5).abs();
                let broken = (0..input.len()).filter(|&i| input[i].fract() != 0.0);
                match broken.min_by(|&i, &j| from_half(input[i]).total_cmp(&from_half(input[j]))) {
                    Some(index) => {
                        splits += 1;
                        open.extend(halves(&part, index, input[index]));
                    }
                    // A point beside a whole one, which no f64 is.
                    None => unknown = Some(f64::NEG_INFINITY),
                }
            }
            Outcome::Unknown { lower_bound } => unknown = Some(unknown.map_or(lower_bound, |u| u.min(lower_bound))),
            Outcome::Timeout { lower_bound } => {
                return Ok(Decision { outcome: Outcome::Timeout { lower_bound }, statistics });
            }
        }
    }
    let outcome = match unknown {
        Some(lower_bound) => Outcome::Unknown { lower_bound },
        None => Outcome::Holds { proof: proof.filter(|_| splits == 0) },
    };
    Ok(Decision { outcome, statistics })
}

fn add(sum: &mut Statistics, part: &Statistics) {
    sum.subproblems += part.subproblems;
    sum.peak_open = sum.peak_open.max(part.peak_open);
    sum.attack_seconds += part.attack_seconds;
    sum.root_seconds += part.root_seconds;
    sum.branch_seconds += part.branch_seconds;
}

/// The counterexample at the whole point next to `input`, if it is one.
fn rounded(prepared: &Prepared<'_>, property: &Property, input: &[f64]) -> Option<Found> {
    let whole: Vec<f64> = input.iter().map(|x| x.round() + 0.0).collect();
    let Prepared { exact, weights, exact_network, .. } = prepared;
    property.cases.iter().find_map(|case| {
        let judge = Judge { program: exact, weights, exact: exact_network, case, ball: None };
        case.unsafe_outputs.iter().find_map(|rows| judge.confirm(&whole, rows))
    })
}

/// The property for inputs whose coordinate `index` is at most ⌊x⌋, and for those where it is at least ⌈x⌉; without what
/// has no case.
fn halves(property: &Property, index: usize, x: f64) -> impl Iterator<Item = Property> {
    let half = |below: bool| {
        let cut = |case: &Case| {
            let mut case = case.clone();
            match below {
                true => case.upper[index] = case.upper[index].min(x.floor()),
                false => case.lower[index] = case.lower[index].max(x.ceil()),
            }
            (case.lower[index] <= case.upper[index]).then_some(case)
        };
        let cases: Vec<Case> = property.cases.iter().filter_map(cut).collect();
        Property { cases, ..property.clone() }
    };
    [half(true), half(false)].into_iter().filter(|half| !half.cases.is_empty())
}
