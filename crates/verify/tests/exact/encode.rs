//! A model as the bytes of an ONNX file.

use prost::Message;

use crate::messages::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::model::{Model, Node, Operation, Precision, Step};

/// The file; `raw` says whether tensors are stored as bytes or as lists of numbers.
pub fn encode(model: &Model, raw: bool) -> Vec<u8> {
    let mut writer = Writer { precision: model.precision, raw, nodes: Vec::new(), initializers: Vec::new() };
    let shapes = model.shapes();
    for (index, node) in model.nodes.iter().enumerate() {
        writer.node(index, node, &shapes[node.inputs[0]]);
    }
    let info = |name: String, shape: &[usize]| {
        let dims = std::iter::once(1).chain(shape.iter().copied());
        let dim = dims.map(|side| DimensionProto { dim_value: Some(side as i64) }).collect();
        let tensor = TensorTypeProto { elem_type: data_type(model.precision), shape: Some(TensorShapeProto { dim }) };
        ValueInfoProto { name, r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
    };
    let graph = GraphProto {
        node: writer.nodes,
        name: "exact".into(),
        initializer: writer.initializers,
        input: vec![info(value(0), &model.input)],
        output: vec![info(value(model.nodes.len()), &shapes[model.nodes.len()])],
    };
    let opset_import = vec![OperatorSetIdProto { version: 13 }];
    ModelProto { ir_version: 8, graph: Some(graph), opset_import }.encode_to_vec()
}

/// Name of an activation.
fn value(id: usize) -> String {
    if id == 0 { "input".into() } else { format!("v{id}") }
}

fn data_type(precision: Precision) -> i32 {
    match precision {
        Precision::Single => 1,
        Precision::Double => 11,
    }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f: Some(value), r#type: 1, ..Default::default() }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: Some(value), r#type: 2, ..Default::default() }
}

fn integers(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&value| value as i64).collect();
    AttributeProto { name: name.into(), ints, r#type: 7, ..Default::default() }
}

struct Writer {
    precision: Precision,
    raw: bool,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Writer {
    /// Stores a tensor and returns its name.
    fn tensor(&mut self, name: String, dims: &[usize], values: &[f64]) -> String {
        let mut tensor = TensorProto {
            dims: dims.iter().map(|&side| side as i64).collect(),
            data_type: data_type(self.precision),
            name: name.clone(),
            ..Default::default()
        };
        let singles = || values.iter().map(|&value| value as f32);
        match (self.precision, self.raw) {
            (Precision::Single, true) => tensor.raw_data = Some(singles().flat_map(f32::to_le_bytes).collect()),
            (Precision::Single, false) => tensor.float_data = singles().collect(),
            (Precision::Double, true) => {
                tensor.raw_data = Some(values.iter().flat_map(|value| value.to_le_bytes()).collect());
            }
            (Precision::Double, false) => tensor.double_data = values.to_vec(),
        }
        self.initializers.push(tensor);
        name
    }

    fn node(&mut self, index: usize, node: &Node, shape: &[usize]) {
        let mut inputs: Vec<String> = node.inputs.iter().map(|&id| value(id)).collect();
        let mut attributes = Vec::new();
        let name = |part: &str| format!("n{index}.{part}");
        let operator = match &node.operation {
            Operation::Gemm { weight, bias, transposed, alpha, beta } => {
                let (out, features) = (weight.len(), weight[0].len());
                let dims = if *transposed { [out, features] } else { [features, out] };
                let stored: Vec<f64> = if *transposed {
                    weight.concat()
                } else {
                    (0..features).flat_map(|j| weight.iter().map(move |row| row[j])).collect()
                };
                inputs.push(self.tensor(name("weight"), &dims, &stored));
                if let Some(bias) = bias {
                    inputs.push(self.tensor(name("bias"), &[out], bias));
                }
                if *transposed {
                    attributes.push(integer("transB", 1));
                }
                if *alpha != 1.0 {
                    attributes.push(float("alpha", *alpha));
                }
                if *beta != 1.0 {
                    attributes.push(float("beta", *beta));
                }
                "Gemm"
            }
            Operation::Conv { shape, weight, bias, stride, padding } => {
                inputs.push(self.tensor(name("weight"), shape, weight));
                inputs.push(self.tensor(name("bias"), &[bias.len()], bias));
                attributes.push(integers("kernel_shape", &shape[2..]));
                attributes.push(integers("strides", &[*stride; 2]));
                attributes.push(integers("pads", &[*padding; 4]));
                "Conv"
            }
            Operation::Relu => "Relu",
            Operation::Flatten => {
                attributes.push(integer("axis", 1));
                "Flatten"
            }
            Operation::Step { step, constant } => {
                // A single number stands for all elements as a scalar.
                let dims = if constant.len() == 1 { &[][..] } else { shape };
                let stored = self.tensor(name("constant"), dims, constant);
                inputs.insert(if *step == Step::SubtractFrom { 0 } else { 1 }, stored);
                match step {
                    Step::Add => "Add",
                    Step::Subtract | Step::SubtractFrom => "Sub",
                    Step::Multiply => "Mul",
                    Step::Divide => "Div",
                }
            }
            Operation::BatchNormalization { scale, shift, mean, variance, epsilon } => {
                for (part, values) in [("scale", scale), ("shift", shift), ("mean", mean), ("variance", variance)] {
                    inputs.push(self.tensor(name(part), &[values.len()], values));
                }
                attributes.extend(epsilon.map(|epsilon| float("epsilon", epsilon)));
                "BatchNormalization"
            }
            Operation::Add => "Add",
        };
        self.nodes.push(NodeProto {
            input: inputs,
            output: vec![value(index + 1)],
            name: format!("n{index}"),
            op_type: operator.into(),
            attribute: attributes,
        });
    }
}
