//! The exact numbers of a model: f64 ones, and enclosures of those that no f64 holds.

use std::collections::BTreeMap;

use tightrope_exact::Enclosure;

use crate::network::NodeId;

/// Where a number stands in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Element of θ.
    Theta(usize),
    /// (node, channel) of an [`Affine`](crate::Affine) layer's constant scale.
    Scale(NodeId, usize),
    /// (node, channel) of its constant shift.
    Shift(NodeId, usize),
}

/// The numbers of a model as its file states them.
///
/// A file's constants are f32 or f64 and stand here as they are. What an importer computes from them (a folded
/// normalisation, the statistics of a batch norm, a matrix times a factor) may be no f64: then θ and the layers hold the
/// nearest one, and [`Weights::finer`] the number itself, exactly or to some three hundred binary digits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    theta: Vec<f64>,
    finer: BTreeMap<Place, Enclosure>,
}

impl Weights {
    /// θ as f64 numbers, exactly.
    pub fn new(theta: Vec<f64>) -> Self {
        Weights { theta, finer: BTreeMap::new() }
    }

    /// θ as f32 numbers, exactly.
    pub fn from_single(theta: &[f32]) -> Self {
        Weights::new(theta.iter().map(|&value| f64::from(value)).collect())
    }

    /// θ, laid out as [`Network::parameters`](crate::Network::parameters): the nearest f64 of every number.
    pub fn theta(&self) -> &[f64] {
        &self.theta
    }

    /// What is no f64.
    pub fn finer(&self) -> &BTreeMap<Place, Enclosure> {
        &self.finer
    }

    /// States that the number at `place`, whose nearest f64 stands there already, is `number`.
    pub fn refine(&mut self, place: Place, number: Enclosure) {
        self.finer.insert(place, number);
    }

    /// Whether every number is an f64.
    pub fn is_plain(&self) -> bool {
        self.finer.is_empty()
    }

    /// The number at `place`, whose nearest f64 is `value`.
    pub fn number(&self, place: Place, value: f64) -> Enclosure {
        self.finer.get(&place).cloned().unwrap_or_else(|| value.into())
    }

    /// Feeds every number to `visit` as bytes that tell different weights apart: for checksums.
    pub fn visit_bytes(&self, mut visit: impl FnMut(&[u8])) {
        self.theta.iter().for_each(|value| visit(&value.to_le_bytes()));
        for (place, number) in &self.finer {
            let (kind, a, b) = match *place {
                Place::Theta(index) => (0_u64, index, 0),
                Place::Scale(node, channel) => (1, node, channel),
                Place::Shift(node, channel) => (2, node, channel),
            };
            [kind, a as u64, b as u64].iter().for_each(|part| visit(&part.to_le_bytes()));
            for part in [&number.value, &number.radius] {
                let digits = part.mantissa().to_signed_bytes_le();
                visit(&(digits.len() as u64).to_le_bytes());
                visit(&digits);
                visit(&part.exponent().to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tightrope_exact::Enclosure;

    use super::{Place, Weights};

    #[test]
    fn every_number_counts_in_the_bytes() {
        let bytes = |weights: &Weights| {
            let mut bytes = Vec::new();
            weights.visit_bytes(|part| bytes.extend_from_slice(part));
            bytes
        };
        let third = Enclosure::from(1.0).over(&Enclosure::from(3.0)).unwrap();
        let mut all = vec![bytes(&Weights::new(vec![0.5, 1.0])), bytes(&Weights::new(vec![0.5, 1.0_f64.next_up()]))];
        let mut wider = third.clone();
        wider.radius = wider.radius.scaled(1);
        for number in [&third, &third.negated(), &wider] {
            for place in [Place::Theta(1), Place::Scale(1, 0), Place::Shift(1, 0), Place::Shift(0, 1)] {
                let mut weights = Weights::new(vec![0.5, 1.0]);
                weights.refine(place, number.clone());
                all.push(bytes(&weights));
            }
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
