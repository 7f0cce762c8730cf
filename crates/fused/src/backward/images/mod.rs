//! Back-substitution of margins with images in lanes.

pub mod adjoint;
pub mod ascent;
pub mod constants;
pub mod lines;
pub mod walk;
