//! Bounds of a network over a box by back-substitution of lines, and the ascent on their slopes and multipliers.

pub(crate) mod alpha;
pub(crate) mod ascent;
pub(crate) mod forms;
pub(crate) mod handle;
pub(crate) mod prepared;
pub(crate) mod root;
pub(crate) mod split;
