//! Complete verification: decides properties by attack, optimised bounds and branch and bound.

mod attack;
mod ball;
mod bound;
mod boxes;
mod decide;
mod endgame;
mod exact;
mod integers;
mod mixed;
mod point;
mod problem;
mod record;
mod settings;
mod tree;
mod units;
mod ways;

pub use bound::alpha::{AlphaBounds, AlphaCrown, AlphaSettings};
pub(crate) use bound::handle::{Handle, check_kinds};
pub(crate) use bound::prepared::Learned;
pub use decide::decide;
pub(crate) use decide::decide_prepared;
pub(crate) use point::Judge;
pub use settings::{Branching, Decision, Outcome, Progress, Settings, Statistics};
