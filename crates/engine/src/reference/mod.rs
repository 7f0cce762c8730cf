//! The reference engine: plain readable Rust, generic over f32 and f64, for every layer kind and graph.

/// The reference engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;
