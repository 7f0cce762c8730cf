//! Safetensors files in and out: input batches read and checked, results written piece by piece.

mod reader;
mod writer;

pub use reader::{Arrays, Inputs};
pub use writer::{Element, TensorShape, TensorWriter};
