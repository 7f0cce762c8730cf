//! What is asked of an engine about a batch of regions, and what it answers.

use tightrope_network::NodeId;

use crate::{EngineError, Final, LowerSlope, Relaxation, SlopeAscent};

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
    /// Optimise the lower slopes behind each row of the specification, for each sample by itself, from those of the
    /// relaxation on, and take the best bound met (α-CROWN, Xu et al. 2021, with the intermediate bounds of the relaxation).
    /// Over boxes alone, along adaptive lines, and no gradient goes through it.
    pub ascent: Option<SlopeAscent>,
}

impl BoundRequest {
    /// Lower bounds of the specification only.
    pub const fn lower(relaxation: Relaxation) -> Self {
        BoundRequest { relaxation, upper: false, layers: false, until: None, shrinkage: 1.0, ascent: None }
    }

    /// Fails if it contradicts itself.
    ///
    /// # Errors
    /// If the shrinkage is outside (0, 1], or below 1 for a relaxation other than interval arithmetic, or slopes shall be
    /// optimised where the relaxation has no choice of them.
    pub fn check(&self) -> Result<(), EngineError> {
        let c = self.shrinkage;
        if !(c > 0.0 && c <= 1.0) {
            return Err(EngineError::Usage(format!("the ReLU shrinkage {c} must be above 0 and at most 1")));
        }
        if c < 1.0 && (self.relaxation != Relaxation::Ibp || self.until.is_some()) {
            let problem = "ReLU shrinkage is a part of interval arithmetic on the logits; ask for ibp";
            return Err(EngineError::Usage(problem.into()));
        }
        let Some(ascent) = self.ascent else { return Ok(()) };
        ascent.check()?;
        let choice = match self.relaxation.lower_slope() {
            Some(LowerSlope::Adaptive) => self.relaxation.last() == Final::Backward,
            Some(LowerSlope::Parallel | LowerSlope::Constant) | None => false,
        };
        if choice {
            return Ok(());
        }
        Err(EngineError::Usage(format!("{} has no slopes to optimise; ask for crown", self.relaxation)))
    }

    /// Fails if no tape can be made for it.
    ///
    /// # Errors
    /// If slopes shall be optimised.
    pub fn check_taped(&self) -> Result<(), EngineError> {
        match self.ascent {
            None => Ok(()),
            Some(_) => Err(EngineError::Usage(
                "no gradient goes through slopes that are optimised; ask for bounds alone".into(),
            )),
        }
    }

    /// How slopes are optimised, if they are at all.
    pub fn climbs(&self) -> Option<SlopeAscent> {
        self.ascent.filter(|ascent| ascent.steps > 0)
    }

    /// Both bounds of every element of `node`.
    pub fn until(relaxation: Relaxation, node: NodeId) -> Self {
        BoundRequest { upper: true, until: Some(node), ..BoundRequest::lower(relaxation) }
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
