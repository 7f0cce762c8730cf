//! Products of two halves: a Slice for each, and a Mul.

use tightrope_network::Node;

use super::graph::Graph;
use crate::tensor::encode_integers;

/// Writes the product of the halves of the first axis.
pub fn write(graph: &mut Graph, node: &Node, input: String, output: String) {
    let half = node.shape[0] as i64;
    let mut constant = |part: &str, value: i64| {
        let name = graph.tensor_name(&format!("{}.{part}", node.name));
        graph.constants.push(encode_integers(&name, &[value]));
        name
    };
    let (start, middle, end) = (constant("start", 0), constant("middle", half), constant("end", 2 * half));
    let axis = constant("axis", 1);
    let [first, second] = ["first", "second"].map(|part| graph.tensor_name(&format!("{}.{part}", node.name)));
    let slice = |from: &String, to: &String| vec![input.clone(), from.clone(), to.clone(), axis.clone()];
    graph.node(&node.name, "Slice", slice(&start, &middle), first.clone(), vec![]);
    graph.node(&node.name, "Slice", slice(&middle, &end), second.clone(), vec![]);
    graph.node(&node.name, "Mul", vec![first, second], output, vec![]);
}
