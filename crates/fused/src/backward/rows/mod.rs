//! Back-substitution of one image with rows in lanes.

pub mod adjoint;
pub mod input;
pub mod lines;
pub mod relax;
pub mod set;
pub mod signs;
pub mod terms;
pub mod tile;
pub mod walk;
