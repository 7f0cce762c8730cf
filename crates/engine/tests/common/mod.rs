//! What the engine's tests share: golden files, random networks and regions, a naive evaluator.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod differences;
pub mod evaluate;
pub mod golden;
pub mod random;

use tightrope_engine::activation::activation;
use tightrope_network::{Layer, Network, NodeId};

/// Prints to the test's captured output, shown with `--nocapture` and on failure.
pub fn report(line: &str) {
    eprintln!("{line}");
}

/// Whether the bounds [l, u] of a neuron of `node` make no difference to any line: what reads it is affine there.
pub fn is_settled(network: &Network, node: NodeId, l: f64, u: f64) -> bool {
    let readers = |id: NodeId| network.nodes().iter().enumerate().filter(move |(_, node)| node.inputs.contains(&id));
    readers(node).all(|(reader, read)| match &read.layer {
        Layer::Activation(kind) => {
            let is_pooled = readers(reader).any(|(_, node)| matches!(node.layer, Layer::MaxPool2d(_)));
            activation::<f64>(*kind).is_affine_on(l, u) && !is_pooled
        }
        layer => layer.is_affine(),
    })
}
