//! Adam (Kingma and Ba 2015) with bias correction, in single precision.

/// β₁, the decay of the first moment.
const BETA1: f64 = 0.9;
/// β₂, the decay of the second moment.
const BETA2: f64 = 0.999;
/// Added to the root of the second moment.
const EPSILON: f64 = 1e-8;

/// The moments of Adam; everything of it that a checkpoint holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// Steps done.
    pub step: u64,
    /// First moment m, `[|θ|]`.
    pub first: Vec<f32>,
    /// Second moment v, `[|θ|]`.
    pub second: Vec<f32>,
}

impl Adam {
    /// The state before the first step for `parameters` parameters.
    pub fn new(parameters: usize) -> Self {
        Adam { step: 0, first: vec![0.0; parameters], second: vec![0.0; parameters] }
    }

    /// θ ← θ − lr · m̂/(√v̂ + 10⁻⁸) with m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ), β = (0.9, 0.999).
    ///
    /// `theta` and `gradient` have the length given to [`Adam::new`].
    pub fn update(&mut self, theta: &mut [f32], gradient: &[f32], lr: f64) {
        self.step += 1;
        // Powers of the step number rather than running products: a resumed run has nothing to restore.
        let corrected = |beta: f64| 1.0 - beta.powf(self.step as f64);
        let rate = (lr / corrected(BETA1)) as f32;
        let root = corrected(BETA2).sqrt() as f32;
        let (b1, b2, epsilon) = (BETA1 as f32, BETA2 as f32, EPSILON as f32);
        let (a1, a2) = ((1.0 - BETA1) as f32, (1.0 - BETA2) as f32);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((t, &g), (m, v)) in theta.iter_mut().zip(gradient).zip(moments) {
            *m = b1 * *m + a1 * g;
            *v = b2 * *v + a2 * g * g;
            *t -= rate * *m / (v.sqrt() / root + epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Adam;

    /// The textbook recursion in f64 for one parameter, step sizes and gradients varying.
    #[test]
    fn follows_the_textbook_recursion() {
        let gradients = [0.5, -0.3, 0.8, 0.0, -1.2, 1e-4, 2.0];
        let (mut m, mut v, mut expected) = (0.0_f64, 0.0_f64, 1.5_f64);
        let mut adam = Adam::new(1);
        let mut theta = [1.5_f32];
        for (t, g) in gradients.into_iter().enumerate() {
            let (t, lr) = (t as i32 + 1, 0.01 / (t as f64 + 1.0));
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            expected -= lr * (m / (1.0 - 0.9_f64.powi(t))) / ((v / (1.0 - 0.999_f64.powi(t))).sqrt() + 1e-8);
            adam.update(&mut theta, &[g as f32], lr);
            assert!((f64::from(theta[0]) - expected).abs() < 1e-6, "step {t}: {} against {expected}", theta[0]);
        }
        assert_eq!(adam.step, 7);
    }

    /// The first step moves every parameter by the learning rate against the sign of its gradient.
    #[test]
    fn first_step_is_the_sign_of_the_gradient() {
        let mut theta = [0.0_f32; 3];
        Adam::new(3).update(&mut theta, &[1e-3, -5.0, 0.0], 0.1);
        for (t, expected) in theta.iter().zip([-0.1, 0.1, 0.0]) {
            assert!((t - expected).abs() < 1e-5, "{t} against {expected}");
        }
    }
}
