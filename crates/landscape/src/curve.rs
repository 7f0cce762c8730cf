//! A sampled line with its metrics.

use serde::Serialize;

use crate::metrics::{JumpSearch, KinkSearch, convexity, jumps, kinks, sensitivity, variation};
use crate::{LandscapeError, Line, Metrics, Probe, Slice, Smoothing};

/// How a line is sampled and measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// First and last t.
    pub range: (f64, f64),
    /// Points, at least 3.
    pub points: usize,
    /// Weight noise of the sensitivity.
    pub noise: Smoothing,
    /// Search for jumps, of the original loss.
    pub jumps: JumpSearch,
    /// Search for kinks, of the original loss.
    pub kinks: KinkSearch,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            range: (-0.1, 0.1),
            points: 101,
            noise: Smoothing { sigma: 1e-3, pairs: 16, seed: 0 },
            jumps: JumpSearch::default(),
            kinks: KinkSearch::default(),
        }
    }
}

/// Places of a smoothed curve that are searched at most: each costs as many losses as there are samples, and smoothing leaves
/// little to find.
const SMOOTHED_CANDIDATES: usize = 4;

impl Plan {
    /// The searches of the loss smoothed by `smoothing`.
    fn searches(&self, smoothing: Option<&Smoothing>) -> (JumpSearch, KinkSearch) {
        let most = smoothing.map_or(usize::MAX, |_| SMOOTHED_CANDIDATES);
        let limited = |candidates: usize| candidates.min(most).min(self.points);
        let jumps = JumpSearch { candidates: limited(self.jumps.candidates), ..self.jumps };
        (jumps, KinkSearch { candidates: limited(self.kinks.candidates), ..self.kinks })
    }

    /// The most losses that a curve takes with `smoothing`.
    pub fn losses(&self, smoothing: Option<&Smoothing>) -> u64 {
        let (jumps, kinks) = self.searches(smoothing);
        let jumps = jumps.candidates * jumps.halvings;
        let kinks = kinks.candidates * (2 * kinks.halvings + 2);
        let values = (self.points + jumps + kinks + 1) as u64 + 2 * self.noise.pairs;
        values * smoothing.map_or(1, |smoothing| 2 * smoothing.pairs)
    }
}

/// The loss, or the smoothed loss, along a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// Standard deviation σ of the smoothing; 0 for the original loss.
    pub sigma: f64,
    /// Samples behind each value; 1 for the original loss.
    pub samples: u64,
    /// The values.
    #[serde(flatten)]
    pub slice: Slice,
    /// What the function is like. Those of a smoothed curve are of its estimate: a jump J of the loss is still one of J/n in
    /// the mean of n samples, and noise makes the sensitivity larger.
    pub metrics: Metrics,
}

impl Curve {
    /// Samples and measures what `probe` evaluates along `line`.
    ///
    /// # Errors
    /// If the plan or the smoothing makes no sense, the objective cannot be evaluated or the observer stops.
    pub fn take(
        probe: &mut Probe<'_>,
        line: &Line<'_>,
        smoothing: Option<&Smoothing>,
        plan: &Plan,
    ) -> Result<Self, LandscapeError> {
        let slice = Slice::sample(plan.range, plan.points, |t| probe.value(&line.at(t), smoothing))?;
        let mut function = |t: f64| Ok(probe.value(&line.at(t), smoothing)?.mean);
        let searches = plan.searches(smoothing);
        let jumps = jumps(&slice, &searches.0, &mut function)?;
        let kinks = kinks(&slice, &jumps, &searches.1, &mut function)?;
        let centre = function(0.0)?;
        let neighbours = probe.neighbours(line.theta(), &plan.noise, smoothing)?;
        let metrics = Metrics {
            variation: variation(&slice),
            jumps,
            kinks,
            convexity: convexity(&slice),
            sensitivity: sensitivity(plan.noise.sigma, centre, &neighbours),
        };
        let (sigma, samples) = smoothing.map_or((0.0, 1), |smoothing| (smoothing.sigma, 2 * smoothing.pairs));
        Ok(Curve { sigma, samples, slice, metrics })
    }
}
