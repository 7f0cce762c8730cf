//! Weights that other programs have trained: PyTorch state dicts and safetensors, and how they get into a network.
//!
//! Nothing in a file is executed: a pickle is read as data ([`pickle`]), and what its functions would have made of it is
//! known for tensors alone.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use tightrope_network::Preset;
//! use tightrope_weights::{Mapping, read};
//!
//! let network = Preset::Cnn3.build(&[1, 28, 28], 10, None)?;
//! let tensors = read(Path::new("cnn3.pt"))?;
//! let model = Mapping::default().model(network, &tensors)?.model;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod assign;
mod error;
mod order;
pub mod pickle;
mod read;
mod tensor;
mod torch;

pub use assign::{Fitted, Mapping};
pub use error::WeightsError;
pub use read::read;
pub use tensor::NamedTensor;
