//! From an ONNX graph to a model.
//!
//! The graph is read for a batch of one, so that shapes are known and whatever is computed from shapes and constants is
//! itself a constant ([`fold`]). Reshapes and new orders of elements only change how later nodes see a layer ([`arrange`]).
//! Constants next to each other are folded: Sub then Div becomes one affine layer, MatMul then Add of
//! a vector one linear layer with bias. Constants keep the precision of the file, and what is computed from them is exact
//! or enclosed ([`numbers`]), so that a proof about the model is one about the file. A tensor that several nodes use as a parameter becomes one
//! parameter per use (`w`, `w.2`, …).

mod activation;
mod affine;
mod arrange;
mod choice;
mod compressed;
mod conv;
mod cut;
mod draft;
mod fold;
mod graph;
mod linear;
mod matrices;
mod node;
mod numbers;
mod order;
mod pool;
mod product;
mod reduce;
mod resize;
mod scan;
mod shape;
mod window;

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod value_tests;

use std::path::Path;

use prost::Message;
use tightrope_network::Model;

use crate::error::{OnnxError, Problem};
use crate::external::Files;
use crate::proto::ModelProto;

pub(crate) use affine::Step;
pub(crate) use draft::Names;

/// The operators that [`import`] reads of values that depend on the network's input. Of constants alone, it computes more.
pub const SUPPORTED_OPERATORS: [&str; 59] = [
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "Div",
    "Dropout",
    "Exp",
    "Expand",
    "Flatten",
    "Gather",
    "GatherND",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "HardSigmoid",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Upsample",
    "Where",
];

/// What to do instead of an operator that is not read, where more can be said than to name those that are.
pub(crate) fn advice(operator: &str) -> &'static str {
    match operator {
        "LogSoftmax" | "ArgMax" => "take the logits before it for the output",
        "Elu" | "Selu" | "Celu" | "Gelu" | "Softsign" | "Mish" | "HardSwish" | "Swish" | "Erf" => {
            "train the model with Relu, LeakyRelu, Sigmoid, Tanh or Softplus in its place, or write it with Mul of those"
        }
        "Log" | "Sqrt" | "Sin" | "Cos" => {
            "of constants it is computed, of what depends on the input it has no bounds here"
        }
        "LayerNormalization" | "InstanceNormalization" | "GroupNormalization" => {
            "its statistics depend on the input; train the model with batch norm in its place"
        }
        "If" | "Loop" | "Scan" => "export the model with fixed shapes, so that control flow is unrolled",
        "LSTM" | "GRU" | "RNN" => "export the model with its steps unrolled, as MatMul, Sigmoid, Tanh and Mul",
        _ => "simplify the model, or write it with the operators that are",
    }
}

/// The versions of ONNX's own operators whose meaning is known here.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// Most values that an import may keep in parameters and constants together.
const BUDGET: usize = 1 << 28;

/// Reads an ONNX file, also one that gzip has compressed, and the files of its external data beside it. Where `path` is
/// absent and `path`.gz is not, that one is read.
///
/// The model's [`weights`](Model::weights) are the file's numbers, in its own precision.
///
/// Parameters are called like the initializers they come from; a MatMul weight `[in, out]` is stored
/// transposed, as `[out, in]`. The fixed statistics of a BatchNormalization go into
/// [`Affine`](tightrope_network::Affine) scale and shift, its scale and B stay trainable where they are initializers. The
/// output is flattened to one vector of logits.
///
/// # Errors
/// If the file is missing or damaged, needs another operator or form, or holds NaN or infinity.
pub fn import(path: &Path) -> Result<Model, OnnxError> {
    let origin = path.display().to_string();
    let read_file = || -> Result<Model, Problem> {
        let bytes = compressed::read(path)?;
        read(&bytes, &Files::beside(Some(path)), BUDGET)
    };
    read_file().map_err(|problem| problem.at(origin))
}

/// Reads an ONNX file's content; `origin` names it in errors. See [`import`].
///
/// # Errors
/// As [`import`].
pub fn import_bytes(bytes: &[u8], origin: &str) -> Result<Model, OnnxError> {
    let read = || read(&compressed::unpacked(bytes)?, &Files::beside(None), BUDGET);
    read().map_err(|problem| problem.at(origin))
}

/// Reads a model that keeps at most `budget` values in parameters and constants.
fn read(bytes: &[u8], files: &Files<'_>, budget: usize) -> Result<Model, Problem> {
    scan::check(bytes)?;
    let model = ModelProto::decode(bytes)?;
    let Some(graph) = &model.graph else {
        return Err(Problem::Model("holds no graph; is it an ONNX file?".into()));
    };
    let own = model.opset_import.iter().find(|opset| opset.domain.is_empty() || opset.domain == "ai.onnx");
    let Some(opset) = own.map(|opset| opset.version) else {
        return Err(Problem::Model("names no version of the ONNX operators; export it again, for opset 13".into()));
    };
    if !OPSETS.contains(&opset) {
        return Err(Problem::Model(format!(
            "uses opset {opset}; {} to {} are read, so export it again for opset 13",
            OPSETS.start(),
            OPSETS.end()
        )));
    }
    graph::read(graph, opset, files, budget)
}
