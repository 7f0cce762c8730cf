//! Reads VNN-LIB properties and VNN-COMP instance lists.

mod property;

pub use property::{Case, Constraint, Property};
