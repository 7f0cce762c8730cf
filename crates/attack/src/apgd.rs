//! Auto-PGD: momentum, a step size that is halved when progress stalls, and a return to the best point
//! (Croce & Hein 2020, algorithm 1).

use crate::AttackError;
use crate::objective::Objective;
use crate::projection::Feasible;
use crate::state::{Evaluated, State};

/// First step as a multiple of ε.
const FIRST_STEP: f64 = 2.0;
/// Weight of the new step; the rest is the step before.
const MOMENTUM: f32 = 0.75;
/// The least share of steps since the last checkpoint that must have lowered the loss.
const SUCCESS: f64 = 0.75;

/// One restart of `steps` steps of the samples `active` from `points [active, d]`.
pub(crate) fn descend(
    steps: usize,
    state: &mut State<'_, '_>,
    objective: &Objective,
    mut active: Vec<usize>,
    mut points: Vec<f32>,
) -> Result<(), AttackError> {
    let checkpoints = checkpoints(steps);
    let mut walks: Vec<Walk> = Vec::new();
    for step in 0..steps {
        let reached = state.evaluate(objective, &active, &points)?;
        if reached.is_empty() || state.is_late() {
            return Ok(());
        }
        if step == 0 {
            walks = reached.into_iter().map(Walk::new).collect();
        } else {
            // Both run through the samples in order, and broken ones are gone from `reached`.
            let mut reached = reached.into_iter().peekable();
            walks.retain_mut(|walk| match reached.next_if(|at| at.sample == walk.at.sample) {
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
        active = walks.iter().map(|walk| walk.at.sample).collect();
        let epsilon = state.threat.epsilon;
        points = walks.iter_mut().flat_map(|walk| walk.next(&state.feasible(walk.at.sample), epsilon)).collect();
    }
    state.finish(&active, &points)
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

/// One sample's way.
struct Walk {
    /// The current point.
    at: Evaluated,
    /// The point before it; none where there is no momentum.
    before: Option<Vec<f32>>,
    /// The point with the lowest loss.
    best: Evaluated,
    /// Step size as a multiple of ε.
    size: f64,
    /// Steps since the last checkpoint that lowered the loss.
    successes: usize,
    /// The lowest loss at the last checkpoint.
    best_before: f64,
    /// Whether the last checkpoint halved the step size.
    halved: bool,
}

impl Walk {
    fn new(at: Evaluated) -> Self {
        let best_before = at.loss;
        Walk { best: at.clone(), at, before: None, size: FIRST_STEP, successes: 0, best_before, halved: false }
    }

    fn arrive(&mut self, reached: Evaluated) {
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
    fn next(&self, feasible: &Feasible<'_>, epsilon: f64) -> Vec<f32> {
        let point = &self.at.point;
        let stepped = feasible.step(point, &self.at.gradient, self.size * epsilon);
        let Some(before) = &self.before else { return stepped };
        let mixed = point.iter().zip(stepped.iter().zip(before));
        feasible.project(mixed.map(|(&x, (&z, &b))| x + MOMENTUM * (z - x) + (1.0 - MOMENTUM) * (x - b)).collect())
    }
}

#[cfg(test)]
mod tests {
    use tightrope_engine::Norm;

    use super::{Evaluated, Walk, checkpoints};
    use crate::ThreatModel;
    use crate::projection::Feasible;

    #[test]
    fn checkpoints_are_those_of_the_paper() {
        assert_eq!(checkpoints(100), [0, 22, 41, 57, 70, 80, 87, 93, 99]);
        assert_eq!(checkpoints(1), [0, 1]);
    }

    fn at(x: f32) -> Evaluated {
        // The loss |x − 0.3| with its derivative.
        Evaluated { sample: 0, point: vec![x], loss: f64::from((x - 0.3).abs()), gradient: vec![(x - 0.3).signum()] }
    }

    /// Down a kink the size must shrink, and the best point is kept and returned to.
    #[test]
    fn step_sizes_adapt_and_the_best_point_is_returned_to() {
        let threat = ThreatModel { norm: Norm::Inf, epsilon: 1.0, clip: None };
        let center = [0.0];
        let feasible = Feasible::new(&threat, &center);
        let mut walk = Walk::new(at(-1.0));
        assert_eq!(walk.next(&feasible, 1.0), [1.0]);
        for step in 1..40 {
            let reached = at(walk.next(&feasible, 1.0)[0]);
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
