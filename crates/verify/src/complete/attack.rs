//! Gradient descent towards unsafe outputs of one case; what it finds counts once it is confirmed.

use std::time::Instant;

use tightrope_engine::Real;
use tightrope_noise::{Purpose, Stream};

use super::bound::program::Program;
use super::bound::root::Setting;
use super::point::{Found, Judge, seen_in_single};
use super::problem::Conjunction;

/// Values of the network that one pass may hold.
const CHUNK_ELEMENTS: usize = 1 << 22;
/// Roundings of f32 arithmetic, in units of the sums of absolute values, that a point's output may be off by.
const SINGLE_ERROR: f32 = 256.0 * f32::EPSILON;
/// The same of f64 arithmetic.
const DOUBLE_ERROR: f64 = 4096.0 * f64::EPSILON;

/// Searches the box of one case.
pub(crate) struct Attack<'a> {
    pub fast: &'a Program<'a, f32>,
    pub judge: Judge<'a>,
    conjunctions: &'a [Conjunction],
    lower: &'a [f64],
    upper: &'a [f64],
    /// The box rounded inwards; where no f32 lies inside, the nearest one.
    low: Vec<f32>,
    high: Vec<f32>,
}

impl<'a> Attack<'a> {
    /// For the case with `setting` and `conjunctions`.
    pub(crate) fn new(setting: &'a Setting<'a>, judge: Judge<'a>, conjunctions: &'a [Conjunction]) -> Self {
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
        let (lower, upper) = (&setting.lower[..], &setting.upper[..]);
        Attack { fast: setting.fast, judge, conjunctions, lower, upper, low, high }
    }

    fn dimension(&self) -> usize {
        self.low.len()
    }

    /// Moves points into the box.
    fn project(&self, points: &mut [f32]) {
        for point in points.chunks_exact_mut(self.dimension()) {
            for (i, p) in point.iter_mut().enumerate() {
                *p = p.max(self.low[i]).min(self.high[i]);
            }
        }
    }

    /// An f32 point as one of the exact box, whose ends are those of the box.
    fn widened(&self, point: &[f32]) -> Vec<f64> {
        let coordinate = |(i, &p): (usize, &f32)| match p {
            p if p <= self.low[i] => self.lower[i],
            p if p >= self.high[i] => self.upper[i],
            p => f64::from(p),
        };
        point.iter().enumerate().map(coordinate).collect()
    }

    /// Tries points `[count, d]` of the box, each against its conjunction in `targets`.
    pub(crate) fn check(&self, points: &[f64], targets: &[usize]) -> Option<Found> {
        let program = self.judge.program;
        let d = self.dimension();
        let chunk = rows_per_pass(program);
        let mut weak = None;
        for (points, targets) in points.chunks(chunk * d).zip(targets.chunks(chunk)) {
            let values = program.run(points.to_vec(), targets.len());
            let output = &values[program.network.output()];
            let outputs = output.chunks_exact(output.len() / targets.len());
            for ((point, y), &target) in points.chunks_exact(d).zip(outputs).zip(targets) {
                if self.conjunctions[target].may_hold(y, DOUBLE_ERROR)
                    && let Some(found) = self.confirm(point, target)
                {
                    match found {
                        Confirmed::Strong(found) => return Some(found),
                        Confirmed::Weak(found) => weak = weak.or(Some(found)),
                    }
                }
            }
        }
        weak
    }

    fn confirm(&self, point: &[f64], target: usize) -> Option<Confirmed> {
        let rows = self.conjunctions[target].rows();
        let found = self.judge.confirm(point, rows)?;
        Some(match seen_in_single(self.fast, point, rows) {
            true => Confirmed::Strong(found),
            false => Confirmed::Weak(found),
        })
    }

    /// Descends from `points` (`[count, d]`), each towards its conjunction in `targets`, for `steps` steps.
    ///
    /// A step moves every coordinate against the sign of the gradient by a share of the box's width that falls
    /// geometrically from `first` to a fiftieth of it. A counterexample that f32 arithmetic does not see ends the
    /// search only after the last step, as one that it sees is worth more to whoever runs the network.
    pub(crate) fn descend(
        &self,
        mut points: Vec<f32>,
        targets: &[usize],
        steps: usize,
        first: f32,
        deadline: Instant,
    ) -> Option<Found> {
        let d = self.dimension();
        let chunk = rows_per_pass(self.fast);
        self.project(&mut points);
        let mut weak = None;
        for (points, targets) in points.chunks_mut(chunk * d).zip(targets.chunks(chunk)) {
            for step in 0..=steps {
                let last = step == steps || Instant::now() >= deadline;
                let size = first * 0.02_f32.powf(step as f32 / steps.max(1) as f32);
                if let Some(found) = self.step(points, targets, (!last).then_some(size), &mut weak) {
                    return Some(found);
                }
                if last {
                    break;
                }
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        weak
    }

    /// Looks at the points and, with a `size`, moves them on.
    fn step(
        &self,
        points: &mut [f32],
        targets: &[usize],
        size: Option<f32>,
        weak: &mut Option<Found>,
    ) -> Option<Found> {
        let (d, count) = (self.dimension(), targets.len());
        let values = self.fast.run(points.to_vec(), count);
        let y = &values[self.fast.network.output()];
        let k = y.len() / count;
        let mut cotangent = vec![0.0_f32; y.len()];
        for (row, &target) in targets.iter().enumerate() {
            let conjunction = &self.conjunctions[target];
            let y = &y[row * k..(row + 1) * k];
            let Some(worst) = conjunction.worst_row(y) else { continue };
            // Within the error of f32 the last point may be one, too.
            let promising = match size {
                Some(_) => conjunction.excess(worst, y) <= 0.0,
                None => conjunction.may_hold(y, SINGLE_ERROR),
            };
            if promising {
                match self.confirm(&self.widened(&points[row * d..(row + 1) * d]), target) {
                    Some(Confirmed::Strong(found)) => return Some(found),
                    Some(Confirmed::Weak(found)) => *weak = weak.take().or(Some(found)),
                    None => {}
                }
            }
            let row = &mut cotangent[row * k..(row + 1) * k];
            row.iter_mut().zip(&conjunction.rows()[worst].coefficients).for_each(|(g, &c)| *g = c as f32);
        }
        let size = size?;
        let gradient = self.fast.gradient(&values, cotangent, count);
        for (point, gradient) in points.chunks_exact_mut(d).zip(gradient.chunks_exact(d)) {
            for (i, (p, &g)) in point.iter_mut().zip(gradient).enumerate() {
                let sign = f32::from(u8::from(g > 0.0)) - f32::from(u8::from(g < 0.0));
                *p -= size * (self.high[i] - self.low[i]) * sign;
            }
        }
        self.project(points);
        None
    }

    /// Descends from the middle and from random points, `restarts` for each conjunction in `targets`.
    pub(crate) fn restarts(
        &self,
        targets: &[usize],
        restarts: std::ops::Range<usize>,
        steps: usize,
        seed: u64,
        deadline: Instant,
    ) -> Option<Found> {
        let d = self.dimension();
        let mut draws = vec![0.0; d];
        for restart in restarts {
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

    /// The `count` conjunctions of `targets` that the middle of the box comes nearest to, nearest first.
    pub(crate) fn nearest(&self, targets: &[usize], count: usize) -> Vec<usize> {
        let middle = self.low.iter().zip(&self.high).map(|(l, h)| l + 0.5 * (h - l)).collect();
        let values = self.fast.run(middle, 1);
        let y = &values[self.fast.network.output()];
        let excess = |target: usize| {
            let conjunction = &self.conjunctions[target];
            conjunction.worst_row(y).map_or(f32::NEG_INFINITY, |row| conjunction.excess(row, y))
        };
        let mut order: Vec<(f32, usize)> = targets.iter().map(|&target| (excess(target), target)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        order.truncate(count);
        order.into_iter().map(|(_, target)| target).collect()
    }
}

/// A counterexample of exact arithmetic, which f32 arithmetic sees (strong) or not (weak).
enum Confirmed {
    Strong(Found),
    Weak(Found),
}

fn rows_per_pass<T: Real>(program: &Program<'_, T>) -> usize {
    (CHUNK_ELEMENTS / program.elements(program.network.output())).max(1)
}
