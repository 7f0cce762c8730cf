//! What is asked of an engine about a batch of regions, and what it answers.

use tightrope_network::NodeId;

use crate::Relaxation;

/// What to bound and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundRequest {
    /// Bounding method.
    pub relaxation: Relaxation,
    /// Also bound the specification from above.
    pub upper: bool,
    /// Also return the bounds of every pre-activation.
    pub layers: bool,
    /// Bound the values of this node in place of the logits: one row per element, whatever the relaxation bounds the
    /// logits with. The specification must be [`crate::Spec::Logits`].
    pub until: Option<NodeId>,
}

impl BoundRequest {
    /// Lower bounds of the specification only.
    pub fn lower(relaxation: Relaxation) -> Self {
        BoundRequest { relaxation, upper: false, layers: false, until: None }
    }

    /// Both bounds of every element of `node`.
    pub fn until(relaxation: Relaxation, node: NodeId) -> Self {
        BoundRequest { relaxation, upper: true, layers: false, until: Some(node) }
    }
}

/// Bounds of one pre-activation node over a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerBounds<T> {
    /// The node.
    pub node: NodeId,
    /// Lower bounds `[N, n]`.
    pub lower: Vec<T>,
    /// Upper bounds `[N, n]`.
    pub upper: Vec<T>,
}

/// Bounds of a specification over a batch of regions.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds<T> {
    /// Rows per sample R.
    pub rows: usize,
    /// Lower bounds `[N, R]`.
    pub lower: Vec<T>,
    /// Upper bounds `[N, R]` if requested.
    pub upper: Option<Vec<T>>,
    /// Bounds of the pre-activations in network order if requested: those that the lines of each activation were made
    /// from (IBP's for `crown-ibp`).
    pub layers: Vec<LayerBounds<T>>,
}
