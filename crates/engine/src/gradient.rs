//! Derivatives of what an engine computed: tapes, cotangents and gradients.

use std::any::Any;

use tightrope_network::NodeId;

/// What a taped computation left behind for [`crate::Loaded::vjp`]; its content is the engine's own.
pub struct Tape(pub Box<dyn Any + Send + Sync>);

/// A clean pass in which batch norms take the batch's own statistics.
pub struct BatchPass<T> {
    /// Logits `[N, K]`.
    pub logits: Vec<T>,
    /// The statistics taken, laid out as the buffers: mean and biased variance of each channel over batch and positions.
    pub statistics: Vec<T>,
    /// For [`crate::Loaded::vjp`], which takes cotangents on both.
    pub tape: Tape,
}

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
    /// On the statistics that a batch's pass returned, laid out as the buffers; empty for none.
    pub buffers: Vec<T>,
}

impl<T> Cotangents<T> {
    /// A cotangent on the logits or lower bounds alone.
    pub fn on_lower(lower: Vec<T>) -> Self {
        Cotangents { lower, upper: Vec::new(), layers: Vec::new(), buffers: Vec::new() }
    }
}

/// Which gradients a pull-back shall return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// With respect to θ.
    pub theta: bool,
    /// With respect to the input (clean tape) or the region (bound tape).
    pub input: bool,
    /// With respect to the buffers in place.
    pub buffers: bool,
}

impl Wants {
    /// Parameters only.
    pub const THETA: Wants = Wants { theta: true, input: false, buffers: false };
    /// Input or region only.
    pub const INPUT: Wants = Wants { theta: false, input: true, buffers: false };
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

/// Gradients asked for by [`Wants`], summed over the batch for θ and the buffers, per sample otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradients<T> {
    /// `[|θ|]`.
    pub theta: Option<Vec<T>>,
    /// Laid out as the buffers; 0 from the tape of a batch's pass, which takes no buffers.
    pub buffers: Option<Vec<T>>,
    /// `[N, d]`, from a clean tape.
    pub input: Option<Vec<T>>,
    /// From a bound tape.
    pub region: Option<RegionGradient<T>>,
}
