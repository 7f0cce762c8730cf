//! Populations: the same evaluation at many perturbed θ, of which only loss values are kept (PGPE).

use tightrope_noise::{Purpose, Stream};

use crate::{BoundRequest, Bounds, Region, Spec};

/// The addressed perturbations θ ± σ·s·δ_pair of one training step, s being 1 unless there are factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perturbation<'a> {
    /// Seed of the run.
    pub seed: u64,
    /// Training step.
    pub step: u64,
    /// Standard deviation σ.
    pub sigma: f32,
    /// Factors s ≥ 0 of σ, one for each element of θ.
    pub scales: Option<&'a [f32]>,
}

impl Perturbation<'_> {
    /// The perturbations with the same σ for all elements of θ.
    pub fn new(seed: u64, step: u64, sigma: f32) -> Self {
        Perturbation { seed, step, sigma, scales: None }
    }

    /// δ of `member`, unscaled, element `index` of θ being draw `index`.
    pub fn stream(&self, member: u64) -> Stream {
        Stream::new(self.seed, Purpose::Smoothing, self.step, member)
    }

    /// Multiplies δ by the factors of σ; its first element belongs to element `first` of θ.
    ///
    /// # Panics
    /// If there are factors, but not one for each element of δ.
    pub fn stretch(&self, first: usize, delta: &mut [f32]) {
        if let Some(scales) = self.scales {
            let scales = &scales[first..first + delta.len()];
            delta.iter_mut().zip(scales).for_each(|(d, s)| *d *= s);
        }
    }
}

/// What every member of a population is asked for; a part that is absent is not computed.
#[derive(Clone, Copy, Debug)]
pub struct MemberRequest<'a, T> {
    /// Clean inputs `[N, d]` whose logits are wanted, or only the statistics that batch norms take from them.
    pub inputs: Option<&'a [T]>,
    /// Regions, what is bounded over them and how.
    pub bounds: Option<(&'a Region<T>, &'a Spec<T>, BoundRequest)>,
}

/// What one member gave; the parts asked for are there.
#[derive(Clone, Copy, Debug)]
pub struct MemberOutput<'a, T> {
    /// Logits `[N, K]` of the clean inputs.
    pub logits: Option<&'a [T]>,
    /// Bounds of the specification.
    pub bounds: Option<&'a Bounds<T>>,
}

/// The loss of a member from its output; called from several threads.
pub type MemberLoss<'a, T> = dyn Fn(MemberOutput<'_, T>) -> f64 + Sync + 'a;
