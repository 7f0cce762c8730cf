//! Splits of neurons.

use tightrope_engine::{Multiplier, Real};

/// One side of a neuron z that is split at a point p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Split {
    /// Position of the node.
    pub position: usize,
    /// Element of it.
    pub index: usize,
    /// p.
    pub point: f64,
    /// The side z ≥ p, otherwise z ≤ p.
    pub above: bool,
}

impl Split {
    /// The sign of its multiplier: −1 above, +1 below.
    pub(crate) fn sign(&self) -> f32 {
        if self.above { -1.0 } else { 1.0 }
    }

    /// A multiplier of this value, which has the split's sign.
    pub(crate) fn multiplier<T: Real>(&self, value: T) -> Multiplier<T> {
        Multiplier { position: self.position, index: self.index, point: T::from_f64(self.point), value }
    }

    /// Whether it says on which side of `point` the neuron is.
    pub(crate) fn decides(&self, point: f64) -> bool {
        match self.above {
            true => self.point >= point,
            false => self.point <= point,
        }
    }

    /// Cuts the interval of its neuron.
    pub(crate) fn cut(&self, lower: &mut f64, upper: &mut f64) {
        match self.above {
            true => *lower = lower.max(self.point),
            false => *upper = upper.min(self.point),
        }
    }
}

/// f32 multipliers of these splits in f64, with the exact points.
pub(crate) fn widened(multipliers: &[Multiplier<f32>], splits: &[Split]) -> Vec<Multiplier<f64>> {
    splits.iter().zip(multipliers).map(|(split, m)| split.multiplier(f64::from(m.value))).collect()
}
