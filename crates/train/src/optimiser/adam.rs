//! Adam (Kingma and Ba 2015) with bias correction, in single precision.

use super::moments::{EPSILON, Moments};

/// Adam.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// What a checkpoint holds of it.
    pub moments: Moments,
    weight_decay: f64,
}

impl Adam {
    /// The state before the first step for `parameters` parameters; `weight_decay` is the weight λ of ‖θ‖²/2 in the loss.
    pub fn new(parameters: usize, weight_decay: f64) -> Self {
        Adam { moments: Moments::new(parameters), weight_decay }
    }

    /// θ ← θ − lr · m̂/(√v̂ + 10⁻⁸) with m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ), β = (0.9, 0.999).
    ///
    /// `theta` and `gradient` have the length given to [`Adam::new`].
    pub fn update(&mut self, theta: &mut [f32], gradient: &[f32], lr: f64) {
        adam_step(&mut self.moments, theta, gradient, lr, self.weight_decay);
    }
}

/// The step of Adam, with λθ added to the gradient.
pub(super) fn adam_step(moments: &mut Moments, theta: &mut [f32], gradient: &[f32], lr: f64, decay: f64) {
    let [first, second] = moments.count();
    let rate = (lr / first) as f32;
    let root = second.sqrt() as f32;
    let epsilon = EPSILON as f32;
    moments.take(theta, gradient, decay, |t, m, v| *t -= rate * m / (v.sqrt() / root + epsilon));
}

#[cfg(test)]
mod tests {
    use super::super::torch;
    use super::Adam;

    /// The textbook recursion in f64 for one parameter, step sizes and gradients varying.
    #[test]
    fn follows_the_textbook_recursion() {
        let gradients = [0.5, -0.3, 0.8, 0.0, -1.2, 1e-4, 2.0];
        let (mut m, mut v, mut expected) = (0.0_f64, 0.0_f64, 1.5_f64);
        let mut adam = Adam::new(1, 0.0);
        let mut theta = [1.5_f32];
        for (t, g) in gradients.into_iter().enumerate() {
            let (t, lr) = (t as i32 + 1, 0.01 / (t as f64 + 1.0));
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            expected -= lr * (m / (1.0 - 0.9_f64.powi(t))) / ((v / (1.0 - 0.999_f64.powi(t))).sqrt() + 1e-8);
            adam.update(&mut theta, &[g as f32], lr);
            assert!((f64::from(theta[0]) - expected).abs() < 1e-6, "step {t}: {} against {expected}", theta[0]);
        }
        assert_eq!(adam.moments.step, 7);
    }

    /// The first step moves every parameter by the learning rate against the sign of its gradient.
    #[test]
    fn first_step_is_the_sign_of_the_gradient() {
        let mut theta = [0.0_f32; 3];
        Adam::new(3, 0.0).update(&mut theta, &[1e-3, -5.0, 0.0], 0.1);
        for (t, expected) in theta.iter().zip([-0.1, 0.1, 0.0]) {
            assert!((t - expected).abs() < 1e-5, "{t} against {expected}");
        }
    }

    #[test]
    fn steps_are_those_of_pytorch() {
        let mut adam = Adam::new(3, 0.0);
        torch::compare(
            |theta, gradient, lr| adam.update(theta, gradient, lr),
            &[
                (1, [1.49000001, -0.239999995, 0.0200001001]),
                (5, [1.48060155, -0.240192309, 0.00165008265]),
                (8, [1.47688985, -0.243678242, -0.00581005309]),
            ],
        );
        let mut adam = Adam::new(3, 0.1);
        torch::compare(
            |theta, gradient, lr| adam.update(theta, gradient, lr),
            &[
                (1, [1.49000001, -0.239999995, 0.0200000256]),
                (5, [1.47486532, -0.239394486, -0.00192538905]),
                (8, [1.4692564, -0.242598623, -0.00993573386]),
            ],
        );
    }
}
