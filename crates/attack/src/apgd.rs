//! Auto-PGD: momentum, a step size that is halved when progress stalls, and a return to the best point
//! (Croce & Hein 2020, algorithm 1).

use tightrope_engine::Real;

use crate::search::{FeasibleSet, Search};

/// First step in units of the feasible set, which is ε for balls.
const FIRST_STEP: f64 = 2.0;
/// Weight of the new step; the rest is the step before.
const MOMENTUM: f64 = 0.75;
/// The least share of steps since the last checkpoint that must have lowered the loss.
const SUCCESS: f64 = 0.75;

/// Descends from `points [active, d]` of the starts `active` for `steps` steps.
///
/// # Errors
/// Those of the search.
pub fn descend<T: Real, S: Search<T>>(
    search: &mut S,
    steps: usize,
    mut active: Vec<usize>,
    mut points: Vec<T>,
) -> Result<(), S::Error> {
    let checkpoints = checkpoints(steps);
    let mut walks: Vec<Walk<T>> = Vec::new();
    for step in 0..steps {
        let reached = search.evaluate(&active, &points)?;
        if reached.going_on.is_empty() {
            return Ok(());
        }
        let d = points.len() / active.len();
        let reached = reached.going_on.iter().map(|&row| At {
            start: active[row],
            point: points[row * d..(row + 1) * d].to_vec(),
            loss: reached.losses[row],
            gradient: reached.gradients[row * d..(row + 1) * d].to_vec(),
        });
        if step == 0 {
            walks = reached.map(Walk::new).collect();
        } else {
            // Both run through the starts in order, and those that need no more are gone from `reached`.
            let mut reached = reached.peekable();
            walks.retain_mut(|walk| match reached.next_if(|at| at.start == walk.at.start) {
                Some(at) => {
                    walk.arrive(at);
                    true
                }
                None => false,
            });
        }
        if let Some(place) = checkpoints.iter().position(|&checkpoint| checkpoint == step)
            && place > 0
        {
            let span = step - checkpoints[place - 1];
            walks.iter_mut().for_each(|walk| walk.adapt(span));
        }
        active = walks.iter().map(|walk| walk.at.start).collect();
        points = walks.iter().flat_map(|walk| walk.next(&search.set(walk.at.start))).collect();
    }
    search.finish(&active, &points)
}

/// The steps at which the step size is looked at: ⌈p_j·steps⌉, p_0 = 0, p_1 = 0.22,
/// p_{j+1} = p_j + max(p_j − p_{j−1} − 0.03, 0.06).
fn checkpoints(steps: usize) -> Vec<usize> {
    let (mut percent, mut gap) = (0, 22);
    let mut checkpoints = Vec::new();
    while percent <= 100 {
        checkpoints.push((percent * steps).div_ceil(100));
        percent += gap;
        gap = (gap - 3).max(6);
    }
    checkpoints.dedup();
    checkpoints
}

/// A point of a start with the loss there.
#[derive(Clone)]
struct At<T> {
    /// The start, as numbered by the search.
    start: usize,
    /// The point `[d]`.
    point: Vec<T>,
    loss: f64,
    /// The loss's gradient `[d]` up to a positive factor.
    gradient: Vec<T>,
}

/// The descent from one start.
struct Walk<T> {
    /// The current point.
    at: At<T>,
    /// The point before it; none where there is no momentum.
    before: Option<Vec<T>>,
    /// The point with the lowest loss.
    best: At<T>,
    /// Step size in units of the feasible set.
    size: f64,
    /// Steps since the last checkpoint that lowered the loss.
    successes: usize,
    /// The lowest loss at the last checkpoint.
    best_before: f64,
    /// Whether the last checkpoint halved the step size.
    halved: bool,
}

impl<T: Real> Walk<T> {
    fn new(at: At<T>) -> Self {
        let best_before = at.loss;
        Walk { best: at.clone(), at, before: None, size: FIRST_STEP, successes: 0, best_before, halved: false }
    }

    fn arrive(&mut self, reached: At<T>) {
        self.successes += usize::from(reached.loss < self.at.loss);
        if reached.loss < self.best.loss {
            self.best = reached.clone();
        }
        self.before = Some(std::mem::replace(&mut self.at, reached).point);
    }

    /// Halves the step size and returns to the best point if fewer than [`SUCCESS`] of the last `span` steps lowered
    /// the loss, or neither step size nor best loss changed since the last checkpoint.
    fn adapt(&mut self, span: usize) {
        let few = (self.successes as f64) < SUCCESS * span as f64;
        let stuck = !self.halved && self.best.loss == self.best_before;
        self.halved = few || stuck;
        if self.halved {
            self.size /= 2.0;
            self.at = self.best.clone();
            self.before = None;
        }
        self.successes = 0;
        self.best_before = self.best.loss;
    }

    /// The next point to evaluate.
    fn next(&self, set: &impl FeasibleSet<T>) -> Vec<T> {
        let mut next = self.at.point.clone();
        set.step(&mut next, &self.at.gradient, self.size);
        let Some(before) = &self.before else { return next };
        let (momentum, rest) = (T::from_f64(MOMENTUM), T::from_f64(1.0 - MOMENTUM));
        let around = self.at.point.iter().zip(before);
        next.iter_mut().zip(around).for_each(|(z, (&x, &b))| *z = x + momentum * (*z - x) + rest * (x - b));
        set.project(&mut next);
        next
    }
}

#[cfg(test)]
mod tests {
    use tightrope_engine::Norm;

    use super::{At, Walk, checkpoints};
    use crate::ThreatModel;
    use crate::projection::Feasible;

    #[test]
    fn checkpoints_are_those_of_the_paper() {
        assert_eq!(checkpoints(100), [0, 22, 41, 57, 70, 80, 87, 93, 99]);
        assert_eq!(checkpoints(1), [0, 1]);
    }

    fn at(x: f32) -> At<f32> {
        // The loss |x − 0.3| with its derivative.
        At { start: 0, point: vec![x], loss: f64::from((x - 0.3).abs()), gradient: vec![(x - 0.3).signum()] }
    }

    /// Down a kink the size must shrink, and the best point is kept and returned to.
    #[test]
    fn step_sizes_adapt_and_the_best_point_is_returned_to() {
        let threat = ThreatModel::new(Norm::Inf, 1.0, None);
        let center = [0.0];
        let feasible = Feasible::new(&threat, &center);
        let mut walk = Walk::new(at(-1.0));
        assert_eq!(walk.next(&feasible), [1.0]);
        for step in 1..40 {
            let reached = at(walk.next(&feasible)[0]);
            walk.arrive(reached);
            if step % 5 == 0 {
                walk.adapt(5);
                if walk.halved {
                    assert_eq!(walk.at.point, walk.best.point);
                }
            }
        }
        assert!(walk.size < 0.1 && walk.best.loss < 0.05, "size {}, loss {}", walk.size, walk.best.loss);
    }

    #[test]
    fn progress_keeps_the_step_size() {
        let mut walk = Walk::new(at(-1.0));
        for x in [-0.9, -0.8, -0.7, -0.6] {
            walk.arrive(at(x));
        }
        walk.adapt(4);
        assert_eq!((walk.size, walk.at.point.as_slice()), (2.0, [-0.6].as_slice()));
        (0..4).for_each(|_| walk.arrive(at(-0.6)));
        walk.adapt(4);
        assert_eq!(walk.size, 1.0);
    }
}
