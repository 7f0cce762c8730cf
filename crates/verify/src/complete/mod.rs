//! Complete verification: decides properties by attack, optimised bounds and branch and bound.

mod alpha;
mod ascent;
mod boxes;
mod branch;
mod decide;
mod dual;
mod leaf;
mod linear;
mod lines;
mod problem;
mod program;
mod queue;
mod record;
mod region;
mod root;
mod rounding;
mod search;
mod settings;
mod subproblem;
mod tree;

pub use alpha::{AlphaBounds, AlphaCrown, AlphaSettings};
pub use decide::decide;
pub use settings::{Branching, Decision, Outcome, Progress, Settings, Statistics};
