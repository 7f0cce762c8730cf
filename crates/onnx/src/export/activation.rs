//! Activations, one node each.

use tightrope_network::{Activation, Node};

use super::graph::{Graph, float};
use crate::error::Problem;

/// Writes an activation; its constants are rounded to float32.
pub fn write(
    graph: &mut Graph,
    node: &Node,
    activation: Activation,
    input: String,
    output: String,
) -> Result<(), Problem> {
    let mut inputs = vec![input];
    let fail = |problem: String| Err(Problem::Layer { layer: node.name.clone(), problem });
    let (operator, attributes) = match activation {
        Activation::Relu => ("Relu", vec![]),
        Activation::Sigmoid => ("Sigmoid", vec![]),
        Activation::Tanh => ("Tanh", vec![]),
        Activation::Exp => ("Exp", vec![]),
        Activation::Softplus => ("Softplus", vec![]),
        Activation::Reciprocal => ("Reciprocal", vec![]),
        Activation::Power { exponent } => {
            inputs.push(graph.constant(&format!("{}.exponent", node.name), &[], &[exponent as f32]));
            ("Pow", vec![])
        }
        Activation::LeakyRelu { slope } => match slope as f32 {
            1.0 => {
                return fail(format!(
                    "its slope {slope} is 1 in single precision; choose a smaller one, or no activation"
                ));
            }
            alpha => ("LeakyRelu", vec![float("alpha", alpha)]),
        },
        Activation::Clip { lower, upper } => {
            let (min, max) = (lower as f32, upper as f32);
            // The largest float32 means no end at all to whoever reads it.
            if !(min < max && min > f32::MIN && max < f32::MAX) {
                return fail(format!("it clips to [{lower}, {upper}], which is no range of single precision"));
            }
            inputs.push(graph.constant(&format!("{}.min", node.name), &[], &[min]));
            inputs.push(graph.constant(&format!("{}.max", node.name), &[], &[max]));
            ("Clip", vec![])
        }
    };
    graph.node(&node.name, operator, inputs, output, attributes);
    Ok(())
}
