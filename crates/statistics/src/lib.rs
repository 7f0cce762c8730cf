//! What results are told with: intervals of proportions, Pareto fronts and their hypervolume, means over repetitions, paired tests.

mod moments;
mod paired;
pub mod pareto;
mod proportion;

pub use moments::Moments;
pub use paired::{Discordant, PairedDifferences};
pub use proportion::Proportion;
