//! Proofs that a network has a property: their file format and an independent checker.
//!
//! The checker shares no code with the engines and the search that make proofs. It reads the network's f32 parameters
//! as exact numbers and bounds the network as a function of real numbers, every rounding of its own f64 arithmetic
//! taken against the proof ([`Checker`]); a certificate that passes is therefore a proof about the real-valued network.

mod builder;
mod check;
mod error;
mod file;
mod layers;
mod path;
mod proof;
mod rounding;
mod state;
mod substitution;
mod validate;
mod walk;

pub use builder::TreeBuilder;
pub use check::{Checker, Report, check};
pub use error::CertificateError;
pub use file::{Certificate, MAGIC, MAX_BYTES, VERSION, network_digest, property_digest};
pub use proof::{
    BoundProof, CaseProof, LayerRefinement, LayerSlopes, Leaf, Neuron, Proof, Refinement, RefinementId, Side, Slopes,
    SlopesId, Step, Tree,
};
