//! A network made ready for complete verification, once for all properties and samples.

use std::sync::{Arc, OnceLock};

use tightrope_certificate::ExactNetwork;
use tightrope_network::{Network, Weights};

use super::handle::{Handle, check_kinds};
use super::root::Root;
use crate::VerifyError;

/// A network in the precisions of search and proof.
pub(crate) struct Prepared<'a> {
    /// Structure.
    pub network: &'a Network,
    /// The exact numbers.
    pub weights: &'a Weights,
    /// For optimisation.
    pub fast: Handle<'a, f32>,
    /// For bounds that count.
    pub exact: Handle<'a, f64>,
    /// The network in exact arithmetic, once it is needed.
    pub exact_network: OnceLock<Option<ExactNetwork>>,
}

impl<'a> Prepared<'a> {
    /// # Errors
    /// If the weights do not fit the network, or it has a layer of a kind that is not covered.
    pub(crate) fn new(network: &'a Network, weights: &'a Weights) -> Result<Self, VerifyError> {
        network.check_weights(weights).map_err(|e| VerifyError::Usage(e.to_string()))?;
        check_kinds(network)?;
        Ok(Prepared {
            network,
            weights,
            fast: Handle::new(network, weights),
            exact: Handle::new(network, weights),
            exact_network: OnceLock::new(),
        })
    }
}

/// The slopes of one row, by position.
pub(crate) type RowSlopes = Vec<Vec<f32>>;

/// What an optimisation of bounds over a box has learned, for a search over the same box to go on from.
#[derive(Clone)]
pub(crate) struct Learned {
    /// Bounds and slopes of all pre-activations.
    pub root: Arc<Root>,
    /// The output rows that were optimised `[K]`, with their slopes by position.
    pub rows: Vec<(Vec<f32>, RowSlopes)>,
}

impl Learned {
    /// The slopes by position of an output row, if it was optimised.
    pub(crate) fn slopes(&self, row: &[f64]) -> Option<&[Vec<f32>]> {
        let same = |own: &[f32]| own.iter().zip(row).all(|(&a, &b)| f64::from(a) == b);
        self.rows.iter().find(|(own, _)| same(own)).map(|(_, slopes)| &slopes[..])
    }
}
