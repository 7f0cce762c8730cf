//! From an ONNX graph to a model.
//!
//! Axis 0 of every activation is the batch. Nodes are read in file order, which ONNX requires to be
//! topological. Reshapes that keep the order of elements only change how later nodes see a layer.
//! Constants next to each other are folded: Sub then Div becomes one affine layer, MatMul then Add of
//! a vector one linear layer with bias. Constants keep the precision of the file, and what is computed from them is exact
//! or enclosed ([`numbers`]), so that a proof about the model is one about the file. A tensor that several nodes use as a parameter becomes one
//! parameter per use (`w`, `w.2`, …).

mod activation;
mod affine;
mod draft;
mod graph;
mod linear;
mod node;
mod numbers;
mod pool;
mod scan;
mod shape;
mod window;

#[cfg(test)]
mod tests;

use std::path::Path;

use prost::Message;
use tightrope_network::Model;

use crate::error::{OnnxError, Problem};
use crate::proto::ModelProto;

pub(crate) use affine::Step;
pub(crate) use draft::Names;

/// The operators that [`import`] reads.
pub const SUPPORTED_OPERATORS: [&str; 24] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Constant",
    "Conv",
    "Div",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
];

/// The versions of ONNX's own operators whose meaning is known here.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// Most values that an import may keep in parameters and constants together.
const BUDGET: usize = 1 << 28;

/// Reads an ONNX file.
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
    match std::fs::read(path) {
        Ok(bytes) => import_bytes(&bytes, &origin),
        Err(error) => Err(Problem::from(error).at(origin)),
    }
}

/// Reads an ONNX file's content; `origin` names it in errors. See [`import`].
///
/// # Errors
/// As [`import`].
pub fn import_bytes(bytes: &[u8], origin: &str) -> Result<Model, OnnxError> {
    read(bytes, BUDGET).map_err(|problem| problem.at(origin))
}

/// Reads a model that keeps at most `budget` values in parameters and constants.
fn read(bytes: &[u8], budget: usize) -> Result<Model, Problem> {
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
    graph::read(graph, budget)
}
