//! The domains composed into the named relaxations: a job says what is asked, forward and adjoint work on a chunk of it.

pub mod adjoint;
pub mod batch;
pub mod forward;
pub mod hybrid;
pub mod image;
pub mod image_adjoint;
pub mod interval;
pub mod job;
pub mod narrow;
pub mod packet;
pub mod scratch;
pub mod sums;
