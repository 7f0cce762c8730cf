//! One file per data set.

pub(crate) mod digits;
pub(crate) mod mnist;
