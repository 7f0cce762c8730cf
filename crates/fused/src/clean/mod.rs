//! Clean passes, images in lanes.

pub mod batch;
pub mod chunk;
