//! Back-substitution of chosen rows over chosen sets: what α-CROWN and branch and bound ask of an engine.
//!
//! A *position* below is an index into [`tightrope_network::Network::pre_activations`].

mod charges;
mod domain;
mod interval;
mod lines;

pub use charges::Charges;
pub(crate) use charges::{GENEROUS, gamma, lane_sum};
pub use domain::{Domain, Multiplier, SetOf, Trace};
pub use interval::OutwardInterval;
pub use lines::Lines;
