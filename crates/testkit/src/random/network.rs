//! A random network out of a list of pieces, with knobs for its size and oddity.

use std::ops::RangeInclusive;

use tightrope_network::Network;

use super::Piece;
use super::rng::Rng;
use crate::networks::Chain;

/// The constants of affine layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constants {
    /// Numbers of either sign per channel; batch norm has factors and summands.
    Any,
    /// Numbers that a file of single precision gives back: normalisations by mean and deviation, shared along any axes,
    /// batch norm by mean and variance, also per element and without factors or summands.
    OfFiles,
}

/// How large and how odd the layers of a random network are.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Channels of the input image.
    pub channels: RangeInclusive<usize>,
    /// Height and width of the input image.
    pub sides: RangeInclusive<usize>,
    /// Output channels of a convolution; one with groups takes a multiple of them, if there is one.
    pub filters: Vec<usize>,
    /// Largest side of kernels and windows.
    pub kernel: usize,
    /// Largest stride.
    pub stride: usize,
    /// Largest padding of a convolution, each side on its own.
    pub padding: usize,
    /// Largest dilation.
    pub dilation: usize,
    /// Widths of [`Piece::Hidden`], one for the whole network.
    pub hidden: Vec<usize>,
    /// Numbers of outputs of [`Piece::Logits`].
    pub classes: Vec<usize>,
    /// The constants of affine layers.
    pub constants: Constants,
}

impl Default for Knobs {
    /// Networks so small that a test affords hundreds.
    fn default() -> Self {
        Knobs {
            channels: 1..=3,
            sides: 3..=5,
            filters: (1..=4).collect(),
            kernel: 3,
            stride: 2,
            padding: 2,
            dilation: 2,
            hidden: (4..=8).collect(),
            classes: (3..=5).collect(),
            constants: Constants::Any,
        }
    }
}

/// What a random network is made of.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Its parts in order.
    pub pieces: Vec<Piece>,
    /// Their size.
    pub knobs: Knobs,
}

/// The draws of one network, which its pieces share.
pub(super) struct Draw<'a> {
    pub rng: &'a Rng,
    pub knobs: &'a Knobs,
    pub hidden: usize,
    pub classes: usize,
}

impl Recipe {
    /// A random network on images.
    ///
    /// # Panics
    /// Where a piece does not fit what stands before it.
    pub fn network(&self, rng: &Rng) -> Network {
        let knobs = &self.knobs;
        let shape = [rng.within(&knobs.channels), rng.within(&knobs.sides), rng.within(&knobs.sides)];
        let draw = Draw { rng, knobs, hidden: *rng.one_of(&knobs.hidden), classes: *rng.one_of(&knobs.classes) };
        self.pieces.iter().fold(Chain::new(&shape), |chain, piece| piece.append(chain, &draw)).build()
    }
}
