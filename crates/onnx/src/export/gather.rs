//! Sums of selected elements: Flatten, Gather and Reshape, with a Pad before where an output reads nothing and a ReduceSum
//! behind where one reads several elements.

use tightrope_network::{Gather, Node};

use super::graph::{Graph, int};
use crate::error::Problem;
use crate::tensor::encode_integers;

/// Most indices that are written: all outputs have as many as the one with most.
const MAX_INDICES: usize = 1 << 26;

/// Writes a gather from so many elements.
///
/// # Errors
/// If a few outputs sum so many elements that the file would be far larger than the network.
pub fn write(
    graph: &mut Graph,
    node: &Node,
    (gather, elements): (&Gather, usize),
    input: String,
    output: String,
) -> Result<(), Problem> {
    let outputs = node.len();
    let lengths = || (0..outputs).map(|i| gather.sources(i).len());
    let (least, most) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0).max(1));
    if outputs.checked_mul(most).is_none_or(|count| count > MAX_INDICES) {
        return Err(Problem::Layer {
            layer: node.name.clone(),
            problem: format!(
                "{outputs} outputs that sum up to {most} elements are too many indices for a file; sum in several steps"
            ),
        });
    }
    let mut last = graph.tensor_name(&format!("{}.flat", node.name));
    graph.node(&node.name, "Flatten", vec![input], last.clone(), vec![int("axis", 1)]);
    let mut step = |operator: &str, last: &mut String, constant: &[i64], to: Option<String>, attributes| {
        let (part, name) = (operator.to_lowercase(), &node.name);
        let constant_name = graph.tensor_name(&format!("{name}.{part}"));
        graph.constants.push(encode_integers(&constant_name, constant));
        let output = to.unwrap_or_else(|| graph.tensor_name(&format!("{name}.{part}.output")));
        graph.node(name, operator, vec![std::mem::take(last), constant_name], output.clone(), attributes);
        *last = output;
    };
    // A zero behind the last element stands for what is not there.
    let zero = if least < most {
        step("Pad", &mut last, &[0, 0, 0, 1], None, vec![]);
        elements as i64
    } else {
        0
    };
    let padded = |i: usize| {
        let own = gather.sources(i).iter().map(|&source| i64::from(source));
        own.chain(std::iter::repeat(zero)).take(most)
    };
    let indices: Vec<i64> = (0..outputs).flat_map(padded).collect();
    step("Gather", &mut last, &indices, None, vec![int("axis", 1)]);
    if most > 1 {
        step("Reshape", &mut last, &[-1, outputs as i64, most as i64], None, vec![]);
        step("ReduceSum", &mut last, &[2], None, vec![int("keepdims", 0)]);
    }
    let shape: Vec<i64> = std::iter::once(-1).chain(node.shape.iter().map(|&side| side as i64)).collect();
    step("Reshape", &mut last, &shape, Some(output), vec![]);
    Ok(())
}
