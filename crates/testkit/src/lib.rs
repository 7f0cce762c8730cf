//! What the tests of the workspace share: reference data and golden cases, random networks and regions, a naive evaluator.

pub mod differences;
pub mod evaluate;
pub mod golden;
pub mod random;
pub mod shared;
