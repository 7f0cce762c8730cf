//! The domains composed into the named relaxations.

pub mod adjoint;
pub mod batch;
pub mod forward;
pub mod interval;
pub mod job;
pub mod packet;
pub mod scratch;
pub mod sums;
