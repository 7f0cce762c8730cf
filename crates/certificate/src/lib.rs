//! Proofs that a network has a property: their file format and an independent checker.
//!
//! The checker shares no code with the engines and the search that make proofs, but for exact arithmetic: where floating
//! point cannot tell, the search asks for the checker's own ([`ExactNetwork`]). It reads the network's weights as
//! exact numbers and bounds the network as a function of real numbers, every rounding of its own f64 arithmetic taken
//! against the proof ([`Checker`]), or none at all where a proof asks for it ([`ExactLeaf`]); a certificate that passes is
//! therefore a proof about the real-valued network.

mod budget;
mod builder;
mod check;
mod curved;
mod cuts;
mod deadline;
mod error;
mod exact;
mod exact_network;
mod file;
mod function;
mod layers;
mod max_pool;
mod numbers;
mod path;
mod product;
mod proof;
mod rounding;
mod smooth;
mod state;
mod statement;
mod substitution;
mod validate;
mod walk;

pub use builder::TreeBuilder;
pub use check::{Checker, Report, check};
pub use error::CertificateError;
pub use exact_network::{ExactNetwork, Form};
pub use file::{Certificate, MAGIC, MAX_BYTES, VERSION, network_digest, property_digest};
pub use numbers::check_kinds;
pub use proof::{
    BoundProof, CaseProof, ExactLeaf, LayerRefinement, LayerSlopes, Leaf, Neuron, Proof, Refinement, RefinementId,
    Side, Slopes, SlopesId, Step, Tree,
};
pub use statement::Statement;
