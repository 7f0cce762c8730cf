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
    /// No ReLU at all.
    Linear,
    /// Three pieces of any kind but those of the families below.
    Mixed,
    /// Activations other than ReLU, sometimes two on one node.
    Activations,
    /// Max pooling of the input, of a layer or of an activation, and sometimes twice.
    MaxPooled,
    /// Elements re-ordered, dropped, repeated and summed.
    Gathered,
    /// Activations without kinks that may be steep or fall.
    Curved,
    /// Products of two factors.
    Multiplied,
}

impl Family {
    /// Those of layers with weights, poolings by averages, sums and ReLU.
    pub const RELU: [Family; 13] = [
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

    /// All of them.
    pub const ALL: [Family; 18] = {
        let mut all = [Family::Activations; 18];
        let mut index = 0;
        while index < Family::RELU.len() {
            all[index] = Family::RELU[index];
            index += 1;
        }
        all[14] = Family::MaxPooled;
        all[15] = Family::Gathered;
        all[16] = Family::Curved;
        all[17] = Family::Multiplied;
        all
    };

    /// What its networks are made of.
    pub fn recipe(self) -> Recipe {
        use Piece::{
            Activation, AvgPool, BatchNorm, Conv, Curved, DepthwiseConv, Flatten, Gather, GroupedConv, Hidden, Logits,
            MaxPool, Normalise, OneOf, Product, Relu, Residual, SameConv, TwoActivations,
        };
        const ANY: Piece = OneOf(&[&[Conv], &[GroupedConv], &[AvgPool], &[Residual], &[BatchNorm], &[SameConv]]);
        const PERHAPS_GATHER: Piece = OneOf(&[&[], &[Gather]]);
        const PERHAPS_RELU: Piece = OneOf(&[&[], &[Relu]]);
        let head = [Flatten, Hidden, Relu, Logits];
        let body: &[Piece] = match self {
            Family::Dense => &[Flatten, Hidden, Relu],
            Family::Conv => &[Conv, Relu, Conv, Relu],
            Family::GroupedConv => &[DepthwiseConv, Relu, GroupedConv, Relu],
            Family::Normalised => &[Normalise, Conv, Relu],
            Family::BatchNorm => &[Conv, BatchNorm, Relu, Conv, BatchNorm, Relu],
            Family::PooledInput => &[AvgPool, Conv, Relu],
            Family::PooledFeatures => &[Conv, Relu, AvgPool],
            Family::Residual => &[Conv, Relu, Residual, Relu],
            Family::Gathered => &[PERHAPS_GATHER, SameConv, PERHAPS_RELU, Gather, SameConv, Relu, PERHAPS_GATHER],
            Family::Composed => &[Conv, AvgPool, Residual, Relu],
            Family::AffineLast | Family::ConvLast => &[Conv, Relu],
            Family::Linear => &[BatchNorm, Conv],
            Family::Mixed => &[ANY, PERHAPS_RELU, ANY, PERHAPS_RELU, ANY, PERHAPS_RELU],
            Family::Multiplied => {
                &[OneOf(&[&[], &[Conv], &[Conv, Relu]]), Product, OneOf(&[&[], &[SameConv, Relu], &[Product]])]
            }
            Family::Curved => &[Conv, Curved, OneOf(&[&[], &[SameConv, Curved]])],
            Family::Activations => &[Conv, Activation, SameConv, TwoActivations],
            Family::MaxPooled => &[
                OneOf(&[&[], &[Conv], &[Conv, Relu], &[Conv, Activation]]),
                MaxPool,
                OneOf(&[&[], &[SameConv, Relu, MaxPool]]),
            ],
        };
        let end: &[Piece] = match self {
            Family::ConvLast => &[Conv, Flatten],
            Family::AffineLast => &[Flatten, Hidden, Relu, Logits, BatchNorm],
            Family::Linear => &[Flatten, Logits],
            Family::Dense
            | Family::Conv
            | Family::GroupedConv
            | Family::Normalised
            | Family::BatchNorm
            | Family::PooledInput
            | Family::PooledFeatures
            | Family::Residual
            | Family::Gathered
            | Family::Composed
            | Family::Mixed
            | Family::Activations
            | Family::Curved
            | Family::Multiplied
            | Family::MaxPooled => &head,
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
