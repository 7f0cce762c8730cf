//! Optimisers, one file each, and what happens to a gradient before them.

mod adam;
mod adamw;
mod gradient;
mod kind;
mod moments;
mod radam;
mod sgd;
#[cfg(test)]
mod torch;

pub use adam::Adam;
pub use adamw::AdamW;
pub use gradient::{add_l1, clip_norm, weight_ranges};
pub use kind::OptimiserKind;
pub use moments::Moments;
pub use radam::RAdam;
pub use sgd::Sgd;

/// The settings that choose an optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimiserSettings {
    /// Which one.
    pub kind: OptimiserKind,
    /// SGD: momentum μ in [0, 1).
    pub momentum: f64,
    /// SGD: Nesterov's momentum.
    pub nesterov: bool,
    /// Weight decay λ ≥ 0.
    pub weight_decay: f64,
}

/// An optimiser with what it remembers of earlier gradients.
#[derive(Clone, Debug, PartialEq)]
pub enum Optimiser {
    /// Adam.
    Adam(Adam),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
    /// Rectified Adam.
    RAdam(RAdam),
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
}

impl Optimiser {
    /// The state before the first step for `parameters` parameters.
    pub fn new(settings: OptimiserSettings, parameters: usize) -> Self {
        let OptimiserSettings { kind, momentum, nesterov, weight_decay } = settings;
        match kind {
            OptimiserKind::Adam => Optimiser::Adam(Adam::new(parameters, weight_decay)),
            OptimiserKind::AdamW => Optimiser::AdamW(AdamW::new(parameters, weight_decay)),
            OptimiserKind::RAdam => Optimiser::RAdam(RAdam::new(parameters, weight_decay)),
            OptimiserKind::Sgd => Optimiser::Sgd(Sgd::new(parameters, momentum, nesterov, weight_decay)),
        }
    }

    /// One step along `gradient` with the learning rate `lr`; `theta` and `gradient` have the length given to
    /// [`Optimiser::new`].
    pub fn update(&mut self, theta: &mut [f32], gradient: &[f32], lr: f64) {
        match self {
            Optimiser::Adam(adam) => adam.update(theta, gradient, lr),
            Optimiser::AdamW(adamw) => adamw.update(theta, gradient, lr),
            Optimiser::RAdam(radam) => radam.update(theta, gradient, lr),
            Optimiser::Sgd(sgd) => sgd.update(theta, gradient, lr),
        }
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        match self {
            Optimiser::Adam(Adam { moments, .. })
            | Optimiser::AdamW(AdamW { moments, .. })
            | Optimiser::RAdam(RAdam { moments, .. }) => moments.step,
            Optimiser::Sgd(sgd) => sgd.step,
        }
    }

    /// What it remembers besides the number of steps, by the names of tensors in checkpoints, each `[|θ|]`.
    pub fn tensors(&self) -> Vec<(&'static str, &[f32])> {
        match self {
            Optimiser::Adam(Adam { moments, .. })
            | Optimiser::AdamW(AdamW { moments, .. })
            | Optimiser::RAdam(RAdam { moments, .. }) => {
                vec![("adam.first", &moments.first), ("adam.second", &moments.second)]
            }
            Optimiser::Sgd(Sgd { velocity: Some(velocity), .. }) => vec![("sgd.velocity", velocity)],
            Optimiser::Sgd(Sgd { velocity: None, .. }) => Vec::new(),
        }
    }

    /// Puts back what [`Optimiser::steps`] and [`Optimiser::tensors`] told; `read` gives each tensor by its name.
    ///
    /// # Errors
    /// The first of `read`.
    pub fn restore<E>(
        &mut self,
        steps: u64,
        mut read: impl FnMut(&'static str) -> Result<Vec<f32>, E>,
    ) -> Result<(), E> {
        match self {
            Optimiser::Adam(Adam { moments, .. })
            | Optimiser::AdamW(AdamW { moments, .. })
            | Optimiser::RAdam(RAdam { moments, .. }) => {
                *moments = Moments { step: steps, first: read("adam.first")?, second: read("adam.second")? };
            }
            Optimiser::Sgd(sgd) => {
                sgd.step = steps;
                if let Some(velocity) = &mut sgd.velocity {
                    *velocity = read("sgd.velocity")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Optimiser, OptimiserKind, OptimiserSettings};

    /// Put back into a fresh one, what is told goes on with the same bits.
    #[test]
    fn what_is_told_is_all_that_is_remembered() {
        for kind in OptimiserKind::ALL {
            for momentum in [0.0, 0.9] {
                let settings = OptimiserSettings { kind, momentum, nesterov: true, weight_decay: 0.1 };
                let mut optimiser = Optimiser::new(settings, 2);
                let mut theta = [0.5_f32, -2.0];
                for step in 0..7 {
                    optimiser.update(&mut theta, &[0.3 - 0.1 * step as f32, 1.5], 0.01);
                }
                assert_eq!(optimiser.steps(), 7);
                let tensors: Vec<(&str, Vec<f32>)> =
                    optimiser.tensors().into_iter().map(|(name, values)| (name, values.to_vec())).collect();
                let mut again = Optimiser::new(settings, 2);
                let find =
                    |name: &str| tensors.iter().find(|(found, _)| *found == name).map(|(_, values)| values.clone());
                again.restore(7, |name| find(name).ok_or(())).unwrap();
                assert_eq!(again, optimiser);
                let mut other = theta;
                again.update(&mut other, &[0.2, 0.1], 0.01);
                optimiser.update(&mut theta, &[0.2, 0.1], 0.01);
                assert_eq!(theta, other);
            }
        }
    }
}
