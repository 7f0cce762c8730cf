//! The lines of one function that is not affine, whatever its kind.

use crate::Real;
use crate::activation::Lines;
use crate::max_pool::PoolLines;
use crate::product::ProductLines;

/// The lines of an activation, a max pooling or a product for some sets of bounds.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeLines<T> {
    /// Of each element.
    Activation(Lines<T>),
    /// Of each window.
    MaxPool(PoolLines<T>),
    /// Of each pair of factors.
    Product(ProductLines<T>),
}

impl<T: Real> NodeLines<T> {
    /// The lines of an activation; none of others.
    pub fn activation(&self) -> Option<&Lines<T>> {
        match self {
            NodeLines::Activation(lines) => Some(lines),
            NodeLines::MaxPool(_) | NodeLines::Product(_) => None,
        }
    }

    /// Whether shares make a difference to any line.
    pub fn have_choice(&self) -> bool {
        match self {
            NodeLines::Activation(lines) => lines.fan.as_ref().is_none_or(|fan| fan.has_choice()),
            NodeLines::MaxPool(_) | NodeLines::Product(_) => false,
        }
    }

    /// Replaces the two lines of each element, which are parallel, by the one in their middle.
    pub(crate) fn centre(&mut self) {
        match self {
            NodeLines::Activation(lines) => lines.centre(),
            NodeLines::MaxPool(lines) => lines.centre(),
            NodeLines::Product(lines) => lines.centre(),
        }
    }

    /// The same to be changed.
    pub fn activation_mut(&mut self) -> Option<&mut Lines<T>> {
        match self {
            NodeLines::Activation(lines) => Some(lines),
            NodeLines::MaxPool(_) | NodeLines::Product(_) => None,
        }
    }
}

impl NodeLines<f64> {
    /// The same in f32, for optimisation.
    pub fn narrowed(&self) -> NodeLines<f32> {
        match self {
            NodeLines::Activation(lines) => NodeLines::Activation(lines.narrowed()),
            NodeLines::MaxPool(lines) => NodeLines::MaxPool(lines.narrowed()),
            NodeLines::Product(lines) => NodeLines::Product(lines.narrowed()),
        }
    }
}
