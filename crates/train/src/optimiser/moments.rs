//! The moments that Adam and its kin share.

/// β₁, the decay of the first moment.
pub(super) const BETA1: f64 = 0.9;
/// β₂, the decay of the second moment.
pub(super) const BETA2: f64 = 0.999;
/// Added to the root of the second moment.
pub(super) const EPSILON: f64 = 1e-8;

/// Running means of gradients and of their squares; everything of these optimisers that a checkpoint holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Steps done.
    pub step: u64,
    /// First moment m, `[|θ|]`.
    pub first: Vec<f32>,
    /// Second moment v, `[|θ|]`.
    pub second: Vec<f32>,
}

impl Moments {
    /// Those before the first step for `parameters` parameters.
    pub fn new(parameters: usize) -> Self {
        Moments { step: 0, first: vec![0.0; parameters], second: vec![0.0; parameters] }
    }

    /// Counts a step and returns the bias corrections 1 − β₁ᵗ and 1 − β₂ᵗ.
    pub(super) fn count(&mut self) -> [f64; 2] {
        self.step += 1;
        // Powers of the step number rather than running products: a resumed run has nothing to restore.
        [BETA1, BETA2].map(|beta| 1.0 - beta.powf(self.step as f64))
    }

    /// m ← β₁m + (1−β₁)g and v ← β₂v + (1−β₂)g² with g = gradient + `decay`·θ, element by element, each handed on to
    /// `apply` with its θ.
    pub(super) fn take(&mut self, theta: &mut [f32], gradient: &[f32], decay: f64, apply: impl Fn(&mut f32, f32, f32)) {
        let (b1, b2) = (BETA1 as f32, BETA2 as f32);
        let (a1, a2) = ((1.0 - BETA1) as f32, (1.0 - BETA2) as f32);
        let decay = decay as f32;
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((t, &g), (m, v)) in theta.iter_mut().zip(gradient).zip(moments) {
            let g = if decay == 0.0 { g } else { g + decay * *t };
            *m = b1 * *m + a1 * g;
            *v = b2 * *v + a2 * g * g;
            apply(t, *m, *v);
        }
    }
}
