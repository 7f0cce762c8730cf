//! The micro-kernels: every multiply–add of the engine is done here.

pub mod finish;
pub mod gather;
pub mod outer;
pub mod peak;
pub mod product;
