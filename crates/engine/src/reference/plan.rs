//! What is worked out once per θ: every node's map and how the nodes relate to the ReLUs.

use std::sync::Arc;

use tightrope_network::{Activation, Layer, Network, Node, NodeId};

use super::affine::Map;
use crate::{EngineError, Real};

/// A network with its weights in place.
pub(super) struct Plan<T> {
    pub(super) network: Arc<Network>,
    /// One map per affine node.
    pub(super) maps: Vec<Option<Map<T>>>,
    /// Pre-activation nodes in network order.
    pub(super) pre_activations: Vec<NodeId>,
    /// Place of each node in that list.
    pub(super) position: Vec<Option<usize>>,
    /// True for nodes with no ReLU before them: affine functions of the input.
    pub(super) is_affine: Vec<bool>,
    /// True for affine nodes whose interval bounds over a box are exact: at most one mixing layer after diagonal ones, and diagonal ones after it.
    pub(super) interval_is_exact: Vec<bool>,
}

/// How much mixing lies between the input and a node.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Mixing {
    None,
    Once,
    More,
}

impl<T: Real> Plan<T> {
    /// Reads the weights of `network` from `theta`.
    pub(super) fn new(network: Arc<Network>, theta: &[T]) -> Result<Self, EngineError> {
        EngineError::check_length("θ", theta.len(), network.parameters().total())?;
        check_kinds(&network)?;
        let maps: Vec<Option<Map<T>>> = (0..network.nodes().len()).map(|id| Map::of(&network, theta, id)).collect();
        let mut is_affine = Vec::new();
        let mut mixing = Vec::new();
        for (node, map) in network.nodes().iter().zip(&maps) {
            let affine = node.layer.is_affine() && node.inputs.iter().all(|&input| is_affine[input]);
            let before = node
                .inputs
                .iter()
                .map(|&input| mixing[input])
                .fold(Mixing::None, |a: Mixing, b| if b > a { b } else { a });
            mixing.push(match map {
                None if node.inputs.is_empty() => Mixing::None,
                Some(map) if map.is_diagonal() => before,
                Some(_) if before == Mixing::None => Mixing::Once,
                Some(_) | None => Mixing::More,
            });
            is_affine.push(affine);
        }
        let interval_is_exact = is_affine.iter().zip(&mixing).map(|(&a, &m)| a && m < Mixing::More).collect();
        let pre_activations = network.pre_activations();
        let mut position = vec![None; network.nodes().len()];
        pre_activations.iter().enumerate().for_each(|(place, &id)| position[id] = Some(place));
        Ok(Plan { network, maps, pre_activations, position, is_affine, interval_is_exact })
    }

    /// The map of an affine node.
    pub(super) fn map(&self, id: NodeId) -> &Map<T> {
        match &self.maps[id] {
            Some(map) => map,
            None => unreachable!("node {id} is no affine layer"),
        }
    }

    /// The node whose output the linear layer `last` reads, where specifications are merged; `last` itself if it is not linear.
    pub(super) fn elision_node(&self, last: NodeId) -> NodeId {
        if let Layer::Linear(_) = self.network.node(last).layer {
            return self.network.node(last).inputs[0];
        }
        last
    }
}

/// Fails if `network` has a layer of a kind that the engine does not cover.
fn check_kinds(network: &Network) -> Result<(), EngineError> {
    let is_covered = |node: &&Node| match &node.layer {
        Layer::Input
        | Layer::Conv2d(_)
        | Layer::Linear(_)
        | Layer::Affine(_)
        | Layer::AvgPool2d(_)
        | Layer::Activation(Activation::Relu)
        | Layer::Flatten
        | Layer::Add => true,
        Layer::MaxPool2d(_)
        | Layer::Activation(
            Activation::LeakyRelu { .. } | Activation::Sigmoid | Activation::Tanh | Activation::Clip { .. },
        ) => false,
    };
    match network.nodes().iter().find(|node| !is_covered(node)) {
        Some(node) => Err(EngineError::Layer { layer: node.name.clone(), kind: node.layer.kind() }),
        None => Ok(()),
    }
}

/// Where a pass meets a node that [`check_kinds`] refuses, or the input beyond the start.
pub(super) fn not_covered(node: &Node) -> ! {
    unreachable!("`{}` is of kind `{}`", node.name, node.layer.kind())
}
