//! Families of random networks: what each is built around.

use tightrope_network::Network;

use super::parameters::gaussian;
use super::rng::Rng;
use super::{Knobs, Piece, Recipe};

/// What a random network is built around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Linear layers, some of them so wide that unit rows are sparse, which has a path of its own.
    Dense,
    /// Two convolutions.
    Conv,
    /// Two convolutions in groups.
    GroupedConv,
    /// A normalisation first.
    Normalised,
    /// Batch norm after convolutions.
    BatchNorm,
    /// A pooling first.
    PooledInput,
    /// A pooling after an activation.
    PooledFeatures,
    /// A residual block.
    Residual,
    /// Several affine layers in a row before the first activation, whose interval bounds are not exact.
    Composed,
    /// An affine layer after the last linear one.
    AffineLast,
    /// Ends with a flattened convolution.
    ConvLast,
    /// No activation at all.
    Linear,
    /// Three pieces of any kind.
    Mixed,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 13] = [
        Family::Dense,
        Family::Conv,
        Family::GroupedConv,
        Family::Normalised,
        Family::BatchNorm,
        Family::PooledInput,
        Family::PooledFeatures,
        Family::Residual,
        Family::Composed,
        Family::AffineLast,
        Family::ConvLast,
        Family::Linear,
        Family::Mixed,
    ];

    /// What its networks are made of.
    pub fn recipe(self) -> Recipe {
        use Piece::{
            Activation, Any, AvgPool, BatchNorm, Conv, DepthwiseConv, Flatten, GroupedConv, Hidden, Logits, Normalise,
            Residual,
        };
        let head = [Flatten, Hidden, Activation, Logits];
        let body: &[Piece] = match self {
            Family::Dense => &[Flatten, Hidden, Activation],
            Family::Conv => &[Conv, Activation, Conv, Activation],
            Family::GroupedConv => &[DepthwiseConv, Activation, GroupedConv, Activation],
            Family::Normalised => &[Normalise, Conv, Activation],
            Family::BatchNorm => &[Conv, BatchNorm, Activation, Conv, BatchNorm, Activation],
            Family::PooledInput => &[AvgPool, Conv, Activation],
            Family::PooledFeatures => &[Conv, Activation, AvgPool],
            Family::Residual => &[Conv, Activation, Residual, Activation],
            Family::Composed => &[Conv, AvgPool, Residual, Activation],
            Family::AffineLast | Family::ConvLast => &[Conv, Activation],
            Family::Linear => &[BatchNorm, Conv],
            Family::Mixed => &[Any, Any, Any],
        };
        let end: &[Piece] = match self {
            Family::ConvLast => &[Conv, Flatten],
            Family::AffineLast => &[Flatten, Hidden, Activation, Logits, BatchNorm],
            Family::Linear => &[Flatten, Logits],
            Family::Dense
            | Family::Conv
            | Family::GroupedConv
            | Family::Normalised
            | Family::BatchNorm
            | Family::PooledInput
            | Family::PooledFeatures
            | Family::Residual
            | Family::Composed
            | Family::Mixed => &head,
        };
        let hidden = (4..=if self == Family::Dense { 40 } else { 8 }).collect();
        Recipe { pieces: [body, end].concat(), knobs: Knobs { hidden, ..Knobs::default() } }
    }
}

/// A random network of a family with [`gaussian`] parameters.
pub fn network(rng: &Rng, family: Family) -> (Network, Vec<f64>) {
    let network = family.recipe().network(rng);
    let theta = gaussian(rng, &network);
    (network, theta)
}
