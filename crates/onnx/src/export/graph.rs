//! The ONNX graph being written: nodes, constants and the names of tensors.

use tightrope_network::Network;

use super::TensorProto;
use crate::error::Problem;
use crate::import::Names;
use crate::proto::{AttributeProto, NodeProto, code};
use crate::tensor::encode_floats;

/// Nodes and constants written so far.
pub struct Graph {
    pub nodes: Vec<NodeProto>,
    pub constants: Vec<TensorProto>,
    /// Output tensor of each layer.
    outputs: Vec<String>,
    tensor_names: Names,
    node_names: Names,
}

impl Graph {
    /// An empty graph in which the network's parameters and layers have their names.
    pub fn new(network: &Network) -> Result<Self, Problem> {
        let mut tensor_names = Names::default();
        let last = network.output();
        let mut outputs = vec![String::new(); last + 1];
        outputs[0] = tensor_names.unique("input");
        outputs[last] = tensor_names.unique("logits");
        for info in network.parameters().iter() {
            if tensor_names.unique(&info.name) != info.name {
                return Err(Problem::tensor(
                    &info.name,
                    "a parameter of an ONNX file cannot be called `input`, `logits` or nothing; rename it",
                ));
            }
        }
        for (id, node) in network.nodes().iter().enumerate().take(last).skip(1) {
            outputs[id] = tensor_names.unique(&format!("{}.output", node.name));
        }
        Ok(Graph { nodes: Vec::new(), constants: Vec::new(), outputs, tensor_names, node_names: Names::default() })
    }

    /// The output tensor of a layer.
    pub fn output_of(&self, layer: usize) -> &str {
        &self.outputs[layer]
    }

    /// A new tensor name like `wanted`.
    pub fn tensor_name(&mut self, wanted: &str) -> String {
        self.tensor_names.unique(wanted)
    }

    /// Stores a constant and returns its tensor name.
    pub fn constant(&mut self, wanted: &str, dims: &[usize], values: &[f32]) -> String {
        let name = self.tensor_name(wanted);
        self.constants.push(encode_floats(&name, dims, values));
        name
    }

    /// Appends a node.
    pub fn node(
        &mut self,
        name: &str,
        operator: &str,
        input: Vec<String>,
        output: String,
        attribute: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            input,
            output: vec![output],
            name: self.node_names.unique(name),
            op_type: operator.into(),
            attribute,
            domain: String::new(),
        });
    }
}

/// An integer attribute.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: Some(value), r#type: code::ATTRIBUTE_INT, ..Default::default() }
}

/// A list of lengths.
pub fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&value| value as i64).collect();
    AttributeProto { name: name.into(), ints, r#type: code::ATTRIBUTE_INTS, ..Default::default() }
}

/// A float attribute.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f: Some(value), r#type: code::ATTRIBUTE_FLOAT, ..Default::default() }
}

/// A tensor attribute.
pub fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { name: name.into(), t: Some(value), r#type: code::ATTRIBUTE_TENSOR, ..Default::default() }
}
