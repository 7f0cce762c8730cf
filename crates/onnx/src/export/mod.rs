//! From a model to an ONNX graph of opset 13.
//!
//! Each layer becomes one node under its own name where ONNX has one; constants are float32. A batch norm becomes a
//! BatchNormalization, and so does an affine layer with parameters, whose statistics give back its scale and shift; one
//! without becomes Sub, Mul, Div or Add.

mod activation;
mod affine;
mod gather;
mod graph;
mod product;

use std::path::Path;

use prost::Message;
use tightrope_network::{Layer, Model, Node, ParameterId, write_atomically};

use crate::error::{OnnxError, Problem};
use crate::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto, code,
};
use crate::tensor::encode_floats;
use graph::{Graph, int, ints};

/// Largest protobuf message.
const MAX_BYTES: usize = i32::MAX as usize;

/// Writes a model as an ONNX file, whole or not at all.
///
/// The input is called `input`, `[N, …]`, the output `logits`, `[N, K]`, N being dynamic; parameters
/// are initializers under their names. Scales and shifts of affine layers and the constants of activations are rounded to
/// float32. A batch norm becomes a BatchNormalization with the statistics of the model's buffers; [`Model::folded`] is the
/// model without those that a convolution or linear layer can take up.
///
/// # Errors
/// If θ or the buffers do not fit the network or is not finite, a parameter is called `input` or `logits`, a constant is
/// beyond single precision, or the file cannot be written.
pub fn export(model: &Model, path: &Path) -> Result<(), OnnxError> {
    let origin = path.display().to_string();
    let bytes = write(model).map_err(|problem| problem.at(&origin))?;
    write_atomically(path, &bytes).map_err(|error| Problem::from(error).at(origin))
}

/// A model as an ONNX file's content. See [`export`].
///
/// # Errors
/// As [`export`].
pub fn export_bytes(model: &Model) -> Result<Vec<u8>, OnnxError> {
    write(model).map_err(|problem| problem.at("ONNX export"))
}

fn write(model: &Model) -> Result<Vec<u8>, Problem> {
    let network = &model.network;
    network.check_theta(&model.theta)?;
    network.check_buffers(&model.buffers)?;
    let mut graph = Graph::new(network)?;
    for (id, node) in network.nodes().iter().enumerate().skip(1) {
        let inputs: Vec<String> = node.inputs.iter().map(|&input| graph.output_of(input).to_string()).collect();
        let output = graph.output_of(id).to_string();
        layer(&mut graph, model, node, inputs, output)?;
    }
    let initializer = network
        .parameters()
        .iter()
        .map(|info| encode_floats(&info.name, &info.shape, &model.theta[info.range()]))
        .chain(std::mem::take(&mut graph.constants))
        .collect();
    let model = ModelProto {
        ir_version: 7,
        producer_name: "tightrope".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
        graph: Some(GraphProto {
            node: graph.nodes,
            name: "network".into(),
            initializer,
            input: vec![value_info("input", network.input_shape())],
            output: vec![value_info("logits", &[network.output_len()])],
        }),
    };
    if model.encoded_len() > MAX_BYTES {
        return Err(Problem::Model("the model is larger than the 2 GiB that an ONNX file can hold".into()));
    }
    Ok(model.encode_to_vec())
}

fn value_info(name: &str, shape: &[usize]) -> ValueInfoProto {
    let batch = DimensionProto { dim_value: None, dim_param: Some("N".into()) };
    let fixed = shape.iter().map(|&side| DimensionProto { dim_value: Some(side as i64), dim_param: None });
    let shape = TensorShapeProto { dim: std::iter::once(batch).chain(fixed).collect() };
    let tensor = TensorTypeProto { elem_type: code::TENSOR_FLOAT, shape: Some(shape) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

fn layer(
    graph: &mut Graph,
    model: &Model,
    node: &Node,
    mut inputs: Vec<String>,
    output: String,
) -> Result<(), Problem> {
    let network = &model.network;
    let mut with = |weight: ParameterId, bias: Option<ParameterId>| {
        let name = |id: ParameterId| network.parameters().get(id).name.clone();
        inputs.push(name(weight));
        inputs.extend(bias.map(name));
    };
    let (operator, attributes) = match &node.layer {
        Layer::Input => return Ok(()),
        Layer::Activation(function) => {
            let input = std::mem::take(&mut inputs[0]);
            return activation::write(graph, node, *function, input, output);
        }
        Layer::Flatten => ("Flatten", vec![int("axis", 1)]),
        Layer::Add if node.inputs.len() > 2 => ("Sum", vec![]),
        Layer::Add => ("Add", vec![]),
        Layer::Linear(linear) => {
            with(linear.weight, linear.bias);
            ("Gemm", vec![int("transB", 1)])
        }
        Layer::Conv2d(conv) => {
            with(conv.weight, conv.bias);
            let mut attributes = window(conv.kernel, conv.stride, conv.padding);
            attributes.extend([ints("dilations", &conv.dilation), int("group", conv.groups as i64)]);
            ("Conv", attributes)
        }
        Layer::AvgPool2d(pool) => {
            let mut attributes = window(pool.kernel, pool.stride, pool.padding);
            attributes.push(int("count_include_pad", i64::from(pool.count_include_pad)));
            ("AveragePool", attributes)
        }
        Layer::Gather(gather) => {
            let input = std::mem::take(&mut inputs[0]);
            let elements = network.node(node.inputs[0]).len();
            return gather::write(graph, node, (gather, elements), input, output);
        }
        Layer::Product => {
            let input = std::mem::take(&mut inputs[0]);
            product::write(graph, node, input, output);
            return Ok(());
        }
        Layer::MaxPool2d(pool) => ("MaxPool", window(pool.kernel, pool.stride, pool.padding)),
        Layer::Affine(affine) => {
            let input = std::mem::take(&mut inputs[0]);
            return affine::write(graph, network, node, affine, input, output);
        }
        Layer::BatchNorm(norm) => {
            let input = std::mem::take(&mut inputs[0]);
            return affine::write_norm(graph, (network, &model.buffers), node, norm, input, output);
        }
    };
    graph.node(&node.name, operator, inputs, output, attributes);
    Ok(())
}

fn window(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 4]) -> Vec<AttributeProto> {
    vec![ints("kernel_shape", &kernel), ints("strides", &stride), ints("pads", &padding)]
}
