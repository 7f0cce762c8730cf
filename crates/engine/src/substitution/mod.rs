//! Back-substitution of chosen rows over chosen sets: what α-CROWN and branch and bound ask of an engine.
//!
//! A *position* below is an index into the nodes that activations, max poolings and products read, a *site* one into the functions
//! that do; see [`Sites`].

mod ascent;
mod charges;
mod cut;
mod domain;
mod interval;
mod lines;
mod nonlinearity;

pub use ascent::{AdamStep, SlopeAscent};
pub use charges::Charges;
pub(crate) use charges::{GENEROUS, gamma, lane_sum};
pub(crate) use cut::CutBox;
pub use domain::{Domain, Multiplier, SetOf, Trace};
pub use interval::OutwardInterval;
pub use lines::NodeLines;
pub use nonlinearity::{Nonlinearity, Site, Sites};
