//! Exact binary numbers of any length, and enclosures of real numbers that are none.
//!
//! Every f32 and f64 is a [`Dyadic`], and so are their sums, differences and products. Quotients and roots are not: an
//! [`Enclosure`] holds them to some three hundred binary digits, far below anything that f64 can tell apart.

mod dyadic;
mod enclosure;

pub use dyadic::Dyadic;
pub use enclosure::Enclosure;
