//! Complete verification: decides properties by attack, optimised bounds and branch and bound.

mod alpha;
mod ascent;
mod attack;
mod boxes;
mod branch;
mod decide;
mod dual;
mod endgame;
mod exact;
mod leaf;
mod linear;
mod lines;
mod point;
mod problem;
mod program;
mod queue;
mod record;
mod region;
mod root;
mod rounding;
mod settings;
mod subproblem;
mod tree;
mod units;

pub use alpha::{AlphaBounds, AlphaCrown, AlphaSettings};
pub use decide::decide;
pub(crate) use point::Judge;
pub(crate) use program::Program;
pub use settings::{Branching, Decision, Outcome, Progress, Settings, Statistics};
