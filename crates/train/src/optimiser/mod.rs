//! The optimiser and what happens to a gradient before it.

mod adam;
mod gradient;

pub use adam::Adam;
pub use gradient::{add_l1, clip_norm, weight_ranges};
