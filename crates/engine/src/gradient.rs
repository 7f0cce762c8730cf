//! Derivatives of what an engine computed: tapes, cotangents and gradients.

use std::any::Any;

use tightrope_network::NodeId;

/// What a taped computation left behind for [`crate::Loaded::vjp`]; its content is the engine's own.
pub struct Tape(pub Box<dyn Any + Send + Sync>);

/// Cotangents on one pre-activation node's bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCotangent<T> {
    /// The node, one of [`tightrope_network::Network::pre_activations`].
    pub node: NodeId,
    /// On the lower bounds `[N, n]`.
    pub lower: Vec<T>,
    /// On the upper bounds `[N, n]`.
    pub upper: Vec<T>,
}

/// Cotangents to pull back through a tape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cotangents<T> {
    /// On the logits `[N, K]` (clean tape) or the lower bounds `[N, R]` (bound tape).
    pub lower: Vec<T>,
    /// On the upper bounds `[N, R]`; empty for none.
    pub upper: Vec<T>,
    /// On pre-activation bounds; those not named have none.
    pub layers: Vec<LayerCotangent<T>>,
}

impl<T> Cotangents<T> {
    /// A cotangent on the logits or lower bounds alone.
    pub fn on_lower(lower: Vec<T>) -> Self {
        Cotangents { lower, upper: Vec::new(), layers: Vec::new() }
    }
}

/// Which gradients a pull-back shall return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// With respect to θ.
    pub theta: bool,
    /// With respect to the input (clean tape) or the region (bound tape).
    pub input: bool,
}

impl Wants {
    /// Parameters only.
    pub const THETA: Wants = Wants { theta: true, input: false };
    /// Input or region only.
    pub const INPUT: Wants = Wants { theta: false, input: true };
}

/// Gradient with respect to a region.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionGradient<T> {
    /// With respect to the centre (of the box, and of the ball where there is one), `[N, d]`.
    pub center: Vec<T>,
    /// With respect to the box radius per pixel, `[N, d]`; for an unclipped ball the gradient with
    /// respect to its one ε stands in element 0 of each sample.
    pub radius: Vec<T>,
}

/// Gradients asked for by [`Wants`], summed over the batch for θ, per sample otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradients<T> {
    /// `[|θ|]`.
    pub theta: Option<Vec<T>>,
    /// `[N, d]`, from a clean tape.
    pub input: Option<Vec<T>>,
    /// From a bound tape.
    pub region: Option<RegionGradient<T>>,
}
