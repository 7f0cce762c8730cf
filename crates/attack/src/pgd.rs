//! Projected gradient descent with a step size that falls geometrically (Madry et al. 2018).

use crate::search::{FeasibleSet, Search};

/// Step sizes that fall geometrically.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSizes {
    /// The size of step 0, > 0, in units of the [`FeasibleSet`].
    pub first: f64,
    /// The size of step number `steps`, > 0.
    pub last: f64,
    /// Steps over which it falls; 0 stands for 1.
    pub steps: usize,
}

impl StepSizes {
    /// first·(last/first)^(step/steps).
    fn of(&self, step: usize) -> f64 {
        let progress = step as f64 / self.steps.max(1) as f64;
        self.first * (self.last / self.first).powf(progress)
    }
}

/// Descends from `points [active, d]` of the starts `active` for `steps` steps.
///
/// # Errors
/// Those of the search.
pub fn descend<T: Copy, S: Search<T>>(
    search: &mut S,
    steps: usize,
    sizes: StepSizes,
    mut active: Vec<usize>,
    mut points: Vec<T>,
) -> Result<(), S::Error> {
    for step in 0..steps {
        let reached = search.evaluate(&active, &points)?;
        if reached.going_on.is_empty() {
            return Ok(());
        }
        let (size, d) = (sizes.of(step), points.len() / active.len());
        for (place, &row) in reached.going_on.iter().enumerate() {
            // Those that go on move up into the places of those that do not.
            if place < row {
                active[place] = active[row];
                points.copy_within(row * d..(row + 1) * d, place * d);
            }
            let gradient = &reached.gradients[row * d..(row + 1) * d];
            search.set(active[place]).step(&mut points[place * d..(place + 1) * d], gradient, size);
        }
        active.truncate(reached.going_on.len());
        points.truncate(reached.going_on.len() * d);
    }
    search.finish(&active, &points)
}

#[cfg(test)]
mod tests {
    use super::StepSizes;

    #[test]
    fn steps_fall_geometrically() {
        let sizes = StepSizes { first: 0.4, last: 0.1, steps: 2 };
        for (step, expected) in [0.4, 0.2, 0.1].into_iter().enumerate() {
            assert!((sizes.of(step) - expected).abs() < 1e-12);
        }
        assert_eq!(StepSizes { steps: 0, ..sizes }.of(0), 0.4);
    }
}
