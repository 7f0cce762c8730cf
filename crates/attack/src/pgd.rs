//! Projected gradient descent with a step size that falls geometrically (Madry et al. 2018).

use crate::Attack;
use crate::AttackError;
use crate::objective::Objective;
use crate::state::State;

/// One restart of the samples `active` from `points [active, d]`.
pub(crate) fn descend(
    attack: &Attack,
    state: &mut State<'_, '_>,
    objective: &Objective,
    mut active: Vec<usize>,
    mut points: Vec<f32>,
) -> Result<(), AttackError> {
    for step in 0..attack.steps {
        let reached = state.evaluate(objective, &active, &points)?;
        if reached.is_empty() || state.is_late() {
            return Ok(());
        }
        let size = state.threat.epsilon * step_size(attack, step);
        active = reached.iter().map(|at| at.sample).collect();
        points = reached.iter().flat_map(|at| state.feasible(at.sample).step(&at.point, &at.gradient, size)).collect();
    }
    state.finish(&active, &points)
}

/// Length of step `step` as a fraction of ε.
fn step_size(attack: &Attack, step: usize) -> f64 {
    let progress = step as f64 / (attack.steps - 1).max(1) as f64;
    attack.first_step * (attack.last_step / attack.first_step).powf(progress)
}

#[cfg(test)]
mod tests {
    use super::{Attack, step_size};

    #[test]
    fn steps_fall_geometrically() {
        let attack = Attack { steps: 3, first_step: 0.4, last_step: 0.1, ..Attack::default() };
        for (step, expected) in [0.4, 0.2, 0.1].into_iter().enumerate() {
            assert!((step_size(&attack, step) - expected).abs() < 1e-12);
        }
        assert_eq!(step_size(&Attack { steps: 1, ..attack }, 0), 0.4);
    }
}
