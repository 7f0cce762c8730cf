//! RAdam: Adam with a rectified step (Liu et al. 2020).

use super::moments::{BETA2, EPSILON, Moments};

/// Adam that takes steps of its momentum alone until the variance of its second moment is tractable, and shorter ones
/// afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct RAdam {
    /// What a checkpoint holds of it.
    pub moments: Moments,
    weight_decay: f64,
}

impl RAdam {
    /// The state before the first step for `parameters` parameters; `weight_decay` is the weight λ of ‖θ‖²/2 in the loss.
    pub fn new(parameters: usize, weight_decay: f64) -> Self {
        RAdam { moments: Moments::new(parameters), weight_decay }
    }

    /// θ ← θ − lr · r · m̂/√v̂ where ρ > 5, else θ ← θ − lr · m̂, as [`super::OptimiserKind::description`] says; 10⁻⁸ is
    /// added to √v as PyTorch does.
    ///
    /// `theta` and `gradient` have the length given to [`RAdam::new`].
    pub fn update(&mut self, theta: &mut [f32], gradient: &[f32], lr: f64) {
        let [first, second] = self.moments.count();
        match rectification(self.moments.step, second) {
            None => {
                let rate = (lr / first) as f32;
                self.moments.take(theta, gradient, self.weight_decay, |t, m, _| *t -= rate * m);
            }
            Some(factor) => {
                let rate = (lr * factor * second.sqrt() / first) as f32;
                let epsilon = EPSILON as f32;
                let step = |t: &mut f32, m: f32, v: f32| *t -= rate * m / (v.sqrt() + epsilon);
                self.moments.take(theta, gradient, self.weight_decay, step);
            }
        }
    }
}

/// r at step `t` from 1 with 1 − β₂ᵗ = `corrected`, or none where ρ ≤ 5.
fn rectification(t: u64, corrected: f64) -> Option<f64> {
    let limit = 2.0 / (1.0 - BETA2) - 1.0;
    let rho = limit - 2.0 * t as f64 * (1.0 - corrected) / corrected;
    let ratio = (rho - 4.0) * (rho - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * rho);
    (rho > 5.0).then(|| ratio.sqrt())
}

#[cfg(test)]
mod tests {
    use super::super::torch;
    use super::{RAdam, rectification};

    #[test]
    fn steps_are_those_of_pytorch() {
        let mut radam = RAdam::new(3, 0.0);
        torch::compare(
            |theta, gradient, lr| radam.update(theta, gradient, lr),
            &[
                (1, [1.495, -0.246999994, 0.0299899988]),
                (5, [1.48954892, -0.246421158, 0.029964596]),
                (6, [1.48951328, -0.246466726, 0.0298824795]),
                (8, [1.48943424, -0.246528119, 0.0297282115]),
            ],
        );
        let mut radam = RAdam::new(3, 0.1);
        torch::compare(
            |theta, gradient, lr| radam.update(theta, gradient, lr),
            &[
                (1, [1.49349999, -0.246749997, 0.029959999]),
                (6, [1.48420143, -0.245584562, 0.0297467262]),
                (8, [1.48408043, -0.245639101, 0.0294898935]),
            ],
        );
    }

    /// With β₂ = .999 the step is rectified from the sixth on, and in the end not at all.
    #[test]
    fn the_step_is_rectified_from_the_sixth_on() {
        let at = |t: u64| rectification(t, 1.0 - 0.999_f64.powf(t as f64));
        assert!((1..=5).all(|t| at(t).is_none()));
        assert!((6..2000).all(|t| at(t).unwrap() < at(t + 1).unwrap()));
        assert!((at(100_000).unwrap() - 1.0).abs() < 1e-9);
    }
}
