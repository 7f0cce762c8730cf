//! Networks whose batch norms each follow a convolution or linear layer that nothing else reads.
//!
//! At given statistics such a network is one without batch norms, whose layers have other weights ([`folding`]). On the
//! statistics of a batch it goes from stage to stage as a whole ([`batch`]).

pub mod batch;
pub mod chunk;
pub mod folding;
mod kernels;

use crate::normed::chunk::{NormedActivations, NormedCotangents};
use crate::simd::pool::Pool;

/// Free memory for passes on the statistics of batches.
#[derive(Default)]
pub struct NormedScratch {
    pub chunks: Pool<NormedActivations>,
    pub cotangents: Pool<NormedCotangents>,
}
