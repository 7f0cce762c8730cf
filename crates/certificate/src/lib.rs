//! Proofs that a network has a property: their file format and an independent checker.

mod builder;
mod error;
mod file;
mod proof;

pub use builder::TreeBuilder;
pub use error::CertificateError;
pub use file::{Certificate, MAGIC, MAX_BYTES, VERSION, network_digest, property_digest};
pub use proof::{
    BoundProof, CaseProof, LayerRefinement, LayerSlopes, Leaf, Neuron, Proof, Refinement, RefinementId, Side, Slopes,
    SlopesId, Step, Tree,
};
