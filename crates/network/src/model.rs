//! A network with its numbers.

use std::borrow::Cow;

use crate::network::Network;
use crate::weights::Weights;

/// A network with its parameters and buffers.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Structure.
    pub network: Network,
    /// Parameters, laid out as [`Network::parameters`]; the nearest f32 where the file is more exact.
    pub theta: Vec<f32>,
    /// Buffers, laid out as [`Network::buffers`]; empty for networks without.
    pub buffers: Vec<f32>,
    /// The file's own numbers, if `theta` does not hold them.
    pub exact: Option<Weights>,
}

impl Model {
    /// A model whose numbers are `theta`, exactly, with the initial buffers.
    pub fn new(network: Network, theta: Vec<f32>) -> Self {
        let buffers = network.initial_buffers();
        Model { network, theta, buffers, exact: None }
    }

    /// A model with exact `weights`, the nearest f32 of each as θ, and the initial buffers.
    pub fn with_weights(network: Network, weights: Weights) -> Self {
        let theta: Vec<f32> = weights.theta().iter().map(|&value| value as f32).collect();
        let same = weights.is_plain() && theta.iter().zip(weights.theta()).all(|(&a, &b)| f64::from(a) == b);
        let buffers = network.initial_buffers();
        Model { network, theta, buffers, exact: (!same).then_some(weights) }
    }

    /// The numbers that the model's function is made of.
    pub fn weights(&self) -> Cow<'_, Weights> {
        match &self.exact {
            Some(weights) => Cow::Borrowed(weights),
            None => Cow::Owned(Weights::from_single(&self.theta)),
        }
    }
}
