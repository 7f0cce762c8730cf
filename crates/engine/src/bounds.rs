//! What is asked of an engine about a batch of regions, and what it answers.

use tightrope_network::NodeId;

use crate::{EngineError, Relaxation};

/// What to bound and how.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// ReLU shrinkage c in (0, 1] (Müller et al. 2023): interval arithmetic alone takes c·u for the upper end of a ReLU
    /// with l < 0 < u. Below 1 the answers bound nothing; they are for training.
    pub shrinkage: f64,
}

impl BoundRequest {
    /// Lower bounds of the specification only.
    pub fn lower(relaxation: Relaxation) -> Self {
        BoundRequest { relaxation, upper: false, layers: false, until: None, shrinkage: 1.0 }
    }

    /// Fails if it contradicts itself.
    ///
    /// # Errors
    /// If the shrinkage is outside (0, 1], or below 1 for a relaxation other than interval arithmetic.
    pub fn check(&self) -> Result<(), EngineError> {
        let c = self.shrinkage;
        if !(c > 0.0 && c <= 1.0) {
            return Err(EngineError::Usage(format!("the ReLU shrinkage {c} must be above 0 and at most 1")));
        }
        if c < 1.0 && (self.relaxation != Relaxation::Ibp || self.until.is_some()) {
            let problem = "ReLU shrinkage is a part of interval arithmetic on the logits; ask for ibp";
            return Err(EngineError::Usage(problem.into()));
        }
        Ok(())
    }

    /// Both bounds of every element of `node`.
    pub fn until(relaxation: Relaxation, node: NodeId) -> Self {
        BoundRequest { relaxation, upper: true, layers: false, until: Some(node), shrinkage: 1.0 }
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
