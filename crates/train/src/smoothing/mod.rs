//! Gradient estimators of the Gaussian-smoothed loss L_σ(θ) = E L(θ+δ), δ ~ N(0, σ²I), over any loss, and SAM beside them.
//!
//! The mean parameters θ are never written to: every sample θ+δ lives in a buffer of its own, and
//! the noise of every member is regenerated from its address instead of being stored.

mod guided;
mod kind;
mod noise;
mod pgpe;
mod rgs;
mod sam;
mod scales;

pub use guided::{guided, lengths};
pub use kind::SmoothingKind;
pub use noise::Noise;
pub use pgpe::{pgpe, pgpe_gradient, pgpe_loss};
pub use rgs::{grad, rgs};
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
