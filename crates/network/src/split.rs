//! Cutting a network in two at a node.

use crate::NetworkError;
use crate::layers::Layer;
use crate::layout::{BufferId, ParameterId};
use crate::network::{Network, Node, NodeId};

impl Network {
    /// The sub-network that ends in `node` and the one that starts from it: the second, run on the values of the first,
    /// gives the values of the whole.
    ///
    /// The output of the first and the input of the second have the shape of `node`, flat or not. Nodes and parameters
    /// keep their names; the second's input is called `input`, as always. Each has a layout of its own: with
    /// k = `first.parameters().total()`, the first takes θ\[..k\] of the whole and the second θ\[k..\], and so for buffers.
    ///
    /// # Errors
    /// If `node` is the input, the output or no node, or if a path from the input to the output passes it by.
    pub fn split_at(&self, node: NodeId) -> Result<(Network, Network), NetworkError> {
        if !(1..self.output()).contains(&node) {
            return Err(NetworkError::Network(format!(
                "cannot be split at node {node}: give a node between the input (0) and the output ({})",
                self.output()
            )));
        }
        // Every node leads to the output, so a path that passes by has a step over `node` in network order.
        let after = self.nodes().iter().enumerate().skip(node + 1);
        for (_, reader) in after.clone() {
            if let Some(&input) = reader.inputs.iter().find(|&&input| input < node) {
                return Err(NetworkError::layer(
                    &self.node(node).name,
                    format!(
                        "the network cannot be split here, as `{}` reads `{}` past it",
                        reader.name,
                        self.node(input).name
                    ),
                ));
            }
        }
        let first = &self.nodes()[..=node];
        let count = first.iter().map(|node| node.layer.parameters().iter().count()).sum();
        let (before, behind) = self.parameters().split_at(count);
        let statistics = first.iter().map(|node| node.layer.buffers().count()).sum();
        let (buffers_before, buffers_behind) = self.buffers().split_at(statistics);
        let shape = self.node(node).shape.clone();
        let mut nodes = vec![Node { name: "input".into(), layer: Layer::Input, inputs: vec![], shape }];
        nodes.extend(after.map(|(_, old)| Node {
            layer: old.layer.clone().with_tensors(|id| ParameterId(id.0 - count), |id| BufferId(id.0 - statistics)),
            inputs: old.inputs.iter().map(|&input| input - node).collect(),
            ..old.clone()
        }));
        Ok((
            Network::from_parts(first.to_vec(), before, buffers_before),
            Network::from_parts(nodes, behind, buffers_behind),
        ))
    }
}
