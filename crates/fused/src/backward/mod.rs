//! Back-substitution (CROWN/DeepPoly) and its adjoint.

pub mod images;
pub mod products;
pub mod rows;
