//! Networks: graphs of layers over one flat parameter vector θ, with presets, initialisation and files.
//!
//! A [`Network`] holds structure only. Its parameters are one `Vec<f32>` θ whose layout is
//! [`Network::parameters`]: parameters in node order, weight before bias, each row-major. The statistics of its batch
//! norms are one `Vec<f32>` of buffers in the same way ([`Network::buffers`]). A [`Model`] is all of it together, with
//! the exact [`Weights`] where a file states numbers that f32 does not hold.

mod description;
mod error;
mod files;
mod fold;
mod frozen;
mod init;
mod layers;
mod layout;
mod model;
mod network;

mod presets;
mod split;
mod sums;
mod temporary;
mod text;
mod toml_text;
mod units;
mod weights;

pub use description::Description;
pub use error::NetworkError;
pub use files::{MODEL_FILE, NETWORK_FILE, no_safetensors, output_target, write_atomically};
pub use init::Initialisation;
pub use layers::{Activation, Affine, AvgPool2d, BatchNorm, Conv2d, Gather, Layer, LayerParameters, Linear, MaxPool2d};
pub use layout::{BufferId, BufferLayout, Layout, ParameterId, ParameterLayout, TensorId, TensorInfo};
pub use model::Model;
pub use network::{Network, NetworkBuilder, Node, NodeId};
pub use presets::{Architecture, Normalisation, Preset};
pub use temporary::{remove_abandoned, temporary_owner, temporary_path};
pub use text::{
    bytes_text, choice_text, compared_text, counted_text, nearest_name, number_text, quoted_text, rounded_text,
    screen_text,
};
pub use toml_text::parse_toml;
pub use weights::{Place, Weights};
