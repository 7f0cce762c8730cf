//! Gradient descent towards unsafe outputs of one case; what it finds counts once it is replayed.

use std::time::Instant;

use tightrope_noise::{Purpose, Stream};
use tightrope_vnnlib::Property;

use super::problem::Conjunction;
use super::program::Program;
use super::root::Setting;
use crate::replay_counterexample;

/// A confirmed counterexample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// The input.
    pub input: Vec<f32>,
    /// The output in f64.
    pub output: Vec<f64>,
}

/// Searches the box of one case.
pub(crate) struct Hunt<'a> {
    fast: &'a Program<'a, f32>,
    theta: &'a [f32],
    property: &'a Property,
    conjunctions: &'a [Conjunction],
    /// The box rounded inwards; where no f32 lies inside, the nearest one.
    low: Vec<f32>,
    high: Vec<f32>,
}

impl<'a> Hunt<'a> {
    /// For the case with `setting` and `conjunctions` of `property`.
    pub(crate) fn new(
        setting: &Setting<'a>,
        theta: &'a [f32],
        property: &'a Property,
        conjunctions: &'a [Conjunction],
    ) -> Self {
        let inwards = |(&l, &u): (&f64, &f64)| {
            let (mut low, mut high) = (l as f32, u as f32);
            if f64::from(low) < l {
                low = low.next_up();
            }
            if f64::from(high) > u {
                high = high.next_down();
            }
            if low <= high { (low, high) } else { (l as f32, l as f32) }
        };
        let (low, high) = setting.lower.iter().zip(&setting.upper).map(inwards).unzip();
        Hunt { fast: setting.fast, theta, property, conjunctions, low, high }
    }

    fn dimension(&self) -> usize {
        self.low.len()
    }

    /// Moves points into the box.
    pub(crate) fn project(&self, points: &mut [f32]) {
        for point in points.chunks_exact_mut(self.dimension()) {
            for (i, p) in point.iter_mut().enumerate() {
                *p = p.max(self.low[i]).min(self.high[i]);
            }
        }
    }

    /// Confirms a point as a counterexample of the property.
    fn confirm(&self, point: &[f32]) -> Option<Found> {
        // A fault of the arguments would have been refused before the search.
        let output = replay_counterexample(self.fast.network, self.theta, self.property, point).ok()??;
        Some(Found { input: point.iter().map(|v| v + 0.0).collect(), output })
    }

    /// Descends from `points` (`[count, d]`), each towards its conjunction in `targets`, for `steps` steps.
    ///
    /// A step moves every coordinate against the sign of the gradient by a share of the box's width that falls
    /// geometrically from `first` to a fiftieth of it.
    pub(crate) fn descend(
        &self,
        mut points: Vec<f32>,
        targets: &[usize],
        steps: usize,
        first: f32,
        deadline: Instant,
    ) -> Option<Found> {
        let (d, count) = (self.dimension(), targets.len());
        let output = self.fast.network.output();
        self.project(&mut points);
        for step in 0..=steps {
            let values = self.fast.run(points.clone(), count);
            let y = &values[output];
            let k = y.len() / count;
            let mut cotangent = vec![0.0_f32; y.len()];
            for (row, &target) in targets.iter().enumerate() {
                let conjunction = &self.conjunctions[target];
                if conjunction.len() == 0 {
                    // Every output is unsafe: any point of the box will do.
                    if let Some(found) = self.confirm(&points[row * d..(row + 1) * d]) {
                        return Some(found);
                    }
                    continue;
                }
                let y = &y[row * k..(row + 1) * k];
                let worst = conjunction.worst_row(y);
                if conjunction.excess(worst, y) <= 0.0
                    && let Some(found) = self.confirm(&points[row * d..(row + 1) * d])
                {
                    return Some(found);
                }
                let row = &mut cotangent[row * k..(row + 1) * k];
                row.iter_mut().zip(&conjunction.rows()[worst].coefficients).for_each(|(g, &c)| *g = c as f32);
            }
            if step == steps || Instant::now() >= deadline {
                break;
            }
            let size = first * 0.02_f32.powf(step as f32 / steps as f32);
            let gradient = self.fast.gradient(&values, cotangent, count);
            for (point, gradient) in points.chunks_exact_mut(d).zip(gradient.chunks_exact(d)) {
                for (i, (p, &g)) in point.iter_mut().zip(gradient).enumerate() {
                    let sign = f32::from(u8::from(g > 0.0)) - f32::from(u8::from(g < 0.0));
                    *p -= size * (self.high[i] - self.low[i]) * sign;
                }
            }
            self.project(&mut points);
        }
        None
    }

    /// Descends from the middle and from random points, `restarts` for each conjunction in `targets`.
    pub(crate) fn restarts(
        &self,
        targets: &[usize],
        restarts: usize,
        steps: usize,
        seed: u64,
        deadline: Instant,
    ) -> Option<Found> {
        let d = self.dimension();
        let mut draws = vec![0.0; d];
        for restart in 0..restarts {
            let mut points = Vec::with_capacity(targets.len() * d);
            for &target in targets {
                match restart {
                    0 => draws.fill(0.5),
                    _ => Stream::new(seed, Purpose::Attack, target as u64, restart as u64).uniform(0, &mut draws),
                }
                points.extend((0..d).map(|i| self.low[i] + draws[i] * (self.high[i] - self.low[i])));
            }
            // Alternating coarse and fine steps.
            let first = if restart % 2 == 0 { 0.25 } else { 0.05 };
            let found = self.descend(points, targets, steps, first, deadline);
            if found.is_some() || Instant::now() >= deadline {
                return found;
            }
        }
        None
    }
}
