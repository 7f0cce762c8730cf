//! Random networks, parameters, regions and specifications, each a function of a seed.

mod family;
mod network;
mod parameters;
mod piece;
mod region;
mod rng;
mod specification;

pub use family::{Family, network};
pub use network::{Constants, Knobs, Recipe};
pub use parameters::{gaussian, statistics, uniform};
pub use piece::Piece;
pub use region::{Shape, region, region_in};
pub use rng::{Rng, draws};
pub use specification::specification;
