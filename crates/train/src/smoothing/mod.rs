//! Gradient estimators of the Gaussian-smoothed loss L_σ(θ) = E L(θ+δ), δ ~ N(0, σ²I), over any loss, and SAM beside them.
//!
//! The mean parameters θ are never written to: every sample θ+δ lives in a buffer of its own, and
//! the noise of every member is regenerated from its address instead of being stored.

mod adapt;
mod guided;
mod kind;
mod measured;
mod mixed;
mod noise;
mod pgpe;
mod rgs;
mod sam;
mod scales;
mod sums;

pub use adapt::{Adaptation, AdaptationKind};
pub use guided::{guided, guided_measured, lengths};
pub use kind::SmoothingKind;
pub use measured::{Measured, Signal};
pub use mixed::mixed;
pub use noise::{Noise, Shifted};
pub use pgpe::{pgpe, pgpe_gradient, pgpe_loss, pgpe_measured};
pub use rgs::{grad, rgs, rgs_measured};
pub use sam::sam;
pub use scales::relative_scales;

/// A loss and an estimate of its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate<T> {
    /// Mean of the losses that were evaluated, an estimate of L_σ(θ).
    pub loss: f64,
    /// Estimate of ∇L_σ(θ), `[|θ|]`.
    pub gradient: Vec<T>,
}
