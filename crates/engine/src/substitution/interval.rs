//! Outward-rounded bounds of a node's values.

use crate::Real;

/// Interval bounds of one node over some boxes, `[sets, n]`, with what [`super::Charges`] needs.
#[derive(Clone, Debug, Default)]
pub struct OutwardInterval<T> {
    /// Lower ends.
    pub lower: Vec<T>,
    /// Upper ends.
    pub upper: Vec<T>,
    /// |W|·M + |b| of affine nodes, [`crate::activation::Activation::reach`] of activations, the inputs' M otherwise.
    pub reach: Vec<T>,
}

impl<T: Real> OutwardInterval<T> {
    /// max |z|.
    pub fn magnitude(&self) -> Vec<T> {
        self.lower.iter().zip(&self.upper).map(|(&l, &u)| l.abs().max(u.abs())).collect()
    }
}
