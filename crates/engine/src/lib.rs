//! Regions, specifications and the engines that bound networks and differentiate the bounds.
//!
//! Everything above this crate speaks to an engine through the [`Engine`] trait: clean forward
//! passes, bounds by a [`Relaxation`], and vector–Jacobian products through either.

pub mod activation;
mod engine;
mod error;
mod loss;
mod real;
mod reference;
mod region;
mod relaxation;
mod spec;

pub use engine::{
    BoundRequest, Bounds, Cotangents, Engine, Gradients, LayerBounds, LayerCotangent, LayerSlopes, Perturbation,
    PopulationBatch, RegionGradient, Tape, Wants,
};
pub use error::EngineError;
pub use loss::{CertifiedLoss, NaturalLoss, certified_cross_entropy, cross_entropy};
pub use real::Real;
pub use reference::{AffineMap, Reference, Weights};
pub use region::{Ball, Norm, Region};
pub use relaxation::Relaxation;
pub use spec::Spec;
