//! AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019).

use super::adam::adam_step;
use super::moments::Moments;

/// Adam whose weights decay by themselves, not through the gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    /// What a checkpoint holds of it.
    pub moments: Moments,
    weight_decay: f64,
}

impl AdamW {
    /// The state before the first step for `parameters` parameters; `weight_decay` is λ.
    pub fn new(parameters: usize, weight_decay: f64) -> Self {
        AdamW { moments: Moments::new(parameters), weight_decay }
    }

    /// θ ← (1 − lr·λ)θ, then the step of [`super::Adam`]; arguments as there.
    pub fn update(&mut self, theta: &mut [f32], gradient: &[f32], lr: f64) {
        let kept = (1.0 - lr * self.weight_decay) as f32;
        theta.iter_mut().for_each(|t| *t *= kept);
        adam_step(&mut self.moments, theta, gradient, lr, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Adam, torch};
    use super::AdamW;

    #[test]
    fn steps_are_those_of_pytorch() {
        let mut adamw = AdamW::new(3, 0.1);
        torch::compare(
            |theta, gradient, lr| adamw.update(theta, gradient, lr),
            &[
                (1, [1.4885, -0.239749998, 0.0199701004]),
                (5, [1.4753356, -0.239330798, 0.00158898742]),
                (8, [1.46984386, -0.242526039, -0.00586994085]),
            ],
        );
    }

    #[test]
    fn without_decay_it_is_adam() {
        let (mut adamw, mut adam) = (AdamW::new(2, 0.0), Adam::new(2, 0.0));
        let (mut first, mut second) = ([0.3_f32, -0.0], [0.3_f32, -0.0]);
        for g in [0.1, -2.0, 0.0] {
            adamw.update(&mut first, &[g, 0.5 * g], 0.01);
            adam.update(&mut second, &[g, 0.5 * g], 0.01);
            assert_eq!(first.map(f32::to_bits), second.map(f32::to_bits));
        }
    }

    /// By hand: no gradient, so that the decay alone moves, by lr·λ of each weight.
    #[test]
    fn weights_decay_by_themselves() {
        let mut theta = [2.0_f32, -1.0];
        AdamW::new(2, 0.5).update(&mut theta, &[0.0; 2], 0.1);
        assert_eq!(theta, [1.9, -0.95]);
    }
}
