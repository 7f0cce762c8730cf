//! What results are told with: intervals of proportions, Pareto fronts and their hypervolume, means over repetitions.

mod moments;
pub mod pareto;
mod proportion;

pub use moments::Moments;
pub use proportion::Proportion;
