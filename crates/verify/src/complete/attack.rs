//! Gradient descent towards unsafe outputs of one case; what it finds counts once it is confirmed.

use std::convert::Infallible;
use std::time::Instant;

use tightrope_attack::InputBox;
use tightrope_attack::pgd::{self, StepSizes};
use tightrope_attack::search::{Evaluated, FeasibleSet, Search};
use tightrope_engine::Real;
use tightrope_noise::{Purpose, Stream};

use super::ball::{self, CaseSet};
use super::bound::handle::Handle;
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
pub(crate) struct CaseAttack<'a> {
    pub fast: &'a Handle<'a, f32>,
    pub judge: Judge<'a>,
    conjunctions: &'a [Conjunction],
    lower: &'a [f64],
    upper: &'a [f64],
    /// The same in f32, cut by the judge's ball.
    set: CaseSet<'a>,
}

impl<'a> CaseAttack<'a> {
    /// For the case with `setting` and `conjunctions`.
    pub(crate) fn new(setting: &'a Setting<'a>, judge: Judge<'a>, conjunctions: &'a [Conjunction]) -> Self {
        let (lower, upper) = (&setting.lower[..], &setting.upper[..]);
        let sides = InputBox::inside(lower.iter().copied().zip(upper.iter().copied()));
        let set = CaseSet::new(sides, judge.ball);
        CaseAttack { fast: setting.fast, judge, conjunctions, lower, upper, set }
    }

    /// An f32 point as one of the exact set, whose ends are those of the box.
    fn widened(&self, point: &[f32]) -> Vec<f64> {
        let coordinate = |(i, &p): (usize, &f32)| match p {
            p if p <= self.set.sides.low[i] => self.lower[i],
            p if p >= self.set.sides.high[i] => self.upper[i],
            p => f64::from(p),
        };
        let mut widened: Vec<f64> = point.iter().enumerate().map(coordinate).collect();
        if let Some(ball) = self.set.ball {
            ball::drawn_in(ball, &mut widened);
        }
        widened
    }

    /// Tries points `[count, d]` of the box, drawn into the ball, each against its conjunction in `targets`.
    pub(crate) fn check(&self, points: &[f64], targets: &[usize]) -> Option<Found> {
        let program = self.judge.program;
        let d = self.set.sides.dimension();
        let chunk = rows_per_pass(program);
        let mut weak = None;
        let mut points = points.to_vec();
        if let Some(ball) = self.set.ball {
            points.chunks_exact_mut(d).for_each(|point| ball::drawn_in(ball, point));
        }
        for (points, targets) in points.chunks(chunk * d).zip(targets.chunks(chunk)) {
            let output = program.outputs(points);
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
    /// A step moves every coordinate against the sign of the gradient by a share of the box's width (over a ball, as its norm
    /// has it, by a share of the ball's) that falls
    /// geometrically from `first` to a fiftieth of it. A counterexample that f32 arithmetic does not see ends the
    /// search only after the last step, as one that it sees is worth more to whoever runs the network.
    pub(crate) fn descend(
        &self,
        points: Vec<f32>,
        targets: &[usize],
        steps: usize,
        first: f64,
        deadline: Instant,
    ) -> Option<Found> {
        let d = self.set.sides.dimension();
        let chunk = rows_per_pass(self.fast);
        let sizes = StepSizes { first, last: first / 50.0, steps };
        let mut search = CaseDescent { attack: self, targets, deadline, strong: None, weak: None };
        for (points, targets) in points.chunks(chunk * d).zip(targets.chunks(chunk)) {
            search.targets = targets;
            let mut points = points.to_vec();
            points.chunks_exact_mut(d).for_each(|point| self.set.project(point));
            let Ok(()) = pgd::descend(&mut search, steps, sizes, (0..targets.len()).collect(), points);
            if search.strong.is_some() || search.is_late() {
                break;
            }
        }
        search.strong.or(search.weak)
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
        let d = self.set.sides.dimension();
        let mut draws = vec![0.0; d];
        for restart in restarts {
            let mut points = Vec::with_capacity(targets.len() * d);
            for &target in targets {
                match restart {
                    0 => draws.fill(0.5),
                    _ => Stream::new(seed, Purpose::Attack, target as u64, restart as u64).uniform(0, &mut draws),
                }
                points.extend(self.set.sides.point_at(&draws));
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
        let middle = self.set.sides.point_at(&vec![0.5; self.set.sides.dimension()]);
        let y = &self.fast.outputs(&middle);
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

/// The descents of one call; keeps what they find.
struct CaseDescent<'s, 'a> {
    attack: &'s CaseAttack<'a>,
    /// The conjunction of each start.
    targets: &'s [usize],
    deadline: Instant,
    /// A counterexample that f32 arithmetic sees, which ends the search.
    strong: Option<Found>,
    /// The first that it does not see.
    weak: Option<Found>,
}

impl CaseDescent<'_, '_> {
    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Confirms what looks like a counterexample among the points of `starts` with `outputs [starts, k]`. Returns each
    /// start's row with the largest excess, or none as soon as the search is over.
    fn look(&mut self, starts: &[usize], points: &[f32], outputs: &[f32], is_last: bool) -> Option<Vec<Option<usize>>> {
        let attack = self.attack;
        let rows = points.chunks_exact(attack.set.sides.dimension());
        let rows = starts.iter().zip(rows.zip(outputs.chunks_exact(outputs.len() / starts.len())));
        let mut worst_rows = Vec::with_capacity(starts.len());
        for (&start, (point, y)) in rows {
            let target = self.targets[start];
            let conjunction = &attack.conjunctions[target];
            let worst = conjunction.worst_row(y);
            worst_rows.push(worst);
            let Some(worst) = worst else { continue };
            // Within the error of f32 the last point may be one, too.
            let promising = match is_last {
                false => conjunction.excess(worst, y) <= 0.0,
                true => conjunction.may_hold(y, SINGLE_ERROR),
            };
            if promising {
                match attack.confirm(&attack.widened(point), target) {
                    Some(Confirmed::Strong(found)) => {
                        self.strong = Some(found);
                        return None;
                    }
                    Some(Confirmed::Weak(found)) => self.weak = self.weak.take().or(Some(found)),
                    None => {}
                }
            }
        }
        Some(worst_rows)
    }
}

/// The loss of a point is the largest excess of its conjunction's rows.
impl<'a> Search<f32> for CaseDescent<'_, 'a> {
    type Set<'s>
        = &'s CaseSet<'a>
    where
        Self: 's;
    type Error = Infallible;

    fn set(&self, _: usize) -> &CaseSet<'a> {
        &self.attack.set
    }

    fn evaluate(&mut self, active: &[usize], points: &[f32]) -> Result<Evaluated<f32>, Infallible> {
        if self.is_late() {
            self.finish(active, points)?;
            return Ok(Evaluated::ended());
        }
        let fast = self.attack.fast;
        let mut losses = Vec::with_capacity(active.len());
        let gradients = fast.gradient(points, |outputs| {
            let worst_rows = self.look(active, points, outputs, false)?;
            let k = outputs.len() / active.len();
            let mut cotangent = vec![0.0_f32; outputs.len()];
            for (i, (&start, worst)) in active.iter().zip(worst_rows).enumerate() {
                let conjunction = &self.attack.conjunctions[self.targets[start]];
                let Some(worst) = worst else {
                    losses.push(f64::NEG_INFINITY);
                    continue;
                };
                let range = i * k..(i + 1) * k;
                losses.push(f64::from(conjunction.excess(worst, &outputs[range.clone()])));
                let coefficients = &conjunction.rows()[worst].coefficients;
                cotangent[range].iter_mut().zip(coefficients).for_each(|(g, &c)| *g = c as f32);
            }
            Some(cotangent)
        });
        let Some(gradients) = gradients else { return Ok(Evaluated::ended()) };
        Ok(Evaluated { going_on: (0..active.len()).collect(), losses, gradients })
    }

    fn finish(&mut self, active: &[usize], points: &[f32]) -> Result<(), Infallible> {
        let fast = self.attack.fast;
        self.look(active, points, &fast.outputs(points), true);
        Ok(())
    }
}

/// A counterexample of exact arithmetic, which f32 arithmetic sees (strong) or not (weak).
enum Confirmed {
    Strong(Found),
    Weak(Found),
}

fn rows_per_pass<T: Real>(program: &Handle<'_, T>) -> usize {
    (CHUNK_ELEMENTS / program.elements(program.network.output())).max(1)
}
