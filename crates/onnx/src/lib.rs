//! ONNX files in and out: a network with its parameters as a graph that other tools run and verify.
//!
//! [`import`] reads feed-forward graphs of the operators in [`SUPPORTED_OPERATORS`]; anything else
//! is an error that names the node. [`export`] writes opset 13 with an input `input` `[N, …]` and an
//! output `logits` `[N, K]`. Parameters keep their initializers' names both ways.
//!
//! ```
//! use tightrope_network::{Initialisation, Model, Preset};
//! let network = Preset::Cnn3Tiny.build(&[1, 28, 28], 10, None).unwrap();
//! let theta = Initialisation::Default.theta(&network, 7);
//! let model = Model::new(network, theta);
//! let bytes = tightrope_onnx::export_bytes(&model).unwrap();
//! assert_eq!(tightrope_onnx::import_bytes(&bytes, "(memory)").unwrap(), model);
//! ```

mod element;
mod error;
mod export;
mod external;
mod import;
mod proto;
mod tensor;

pub use error::{OnnxError, Problem};
pub use export::{export, export_bytes};
pub use import::{SUPPORTED_OPERATORS, import, import_bytes};
