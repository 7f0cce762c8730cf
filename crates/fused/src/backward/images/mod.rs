//! Back-substitution of margins, and of narrow stages, with images in lanes.

pub mod adjoint;
pub mod ascent;
pub mod constants;
pub mod lines;
pub mod neurons;
pub mod walk;
