//! The interval domain, images in lanes.

pub mod ball;
pub mod ball_rows;
pub mod chunk;
pub mod margins;
pub mod rows;
