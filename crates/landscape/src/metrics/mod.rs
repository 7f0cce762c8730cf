//! What a function along a line is like: how much it jumps, bends, reacts to weight noise and deviates from convexity.

mod convexity;
mod jumps;
mod kinks;
mod sensitivity;
mod variation;

pub use convexity::{Convexity, convexity};
pub use jumps::{Jump, JumpSearch, jumps};
pub use kinks::{Kink, KinkSearch, kinks};
pub use sensitivity::{Sensitivity, sensitivity};
pub use variation::{Variation, variation};

use serde::Serialize;

/// All metrics of one curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Spread, total variation, and the parts of it that no finer step removes.
    pub variation: Variation,
    /// Jumps found in the steps whose differences stand out, largest first.
    pub jumps: Vec<Jump>,
    /// Kinks found where the slope changes most, largest first.
    pub kinks: Vec<Kink>,
    /// Deviation from convexity.
    pub convexity: Convexity,
    /// Reaction to weight noise at t = 0.
    pub sensitivity: Sensitivity,
}
