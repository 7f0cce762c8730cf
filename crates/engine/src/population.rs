//! Populations: the same evaluation at many perturbed θ, of which only loss values are kept (PGPE).

use tightrope_noise::{Purpose, Stream};

use crate::{BoundRequest, Bounds, Region, Spec};

/// The addressed perturbations θ ± σ·δ_pair of one training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perturbation {
    /// Seed of the run.
    pub seed: u64,
    /// Training step.
    pub step: u64,
    /// Standard deviation σ.
    pub sigma: f32,
}

impl Perturbation {
    /// δ of `member`, unscaled, element `index` of θ being draw `index`.
    pub fn stream(&self, member: u64) -> Stream {
        Stream::new(self.seed, Purpose::Smoothing, self.step, member)
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
