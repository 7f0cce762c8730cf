//! Regions, specifications and the engines that bound networks and differentiate the bounds.
//!
//! Everything above this crate speaks to an [`Engine`]: [`Engine::load`] puts a network and θ in place, and the [`Loaded`]
//! handle gives clean forward passes, bounds by a [`Relaxation`], vector–Jacobian products through either, and the losses
//! of perturbed members.

pub mod activation;
mod bounds;
mod engine;
mod error;
mod gradient;
mod instances;
mod loaded;
mod max_pool;
mod population;
mod product;
mod real;
mod reference;
mod region;
mod relaxation;
mod spec;
mod substitution;
mod vector;

pub use bounds::{BoundRequest, Bounds, LayerBounds};
pub use engine::{Engine, Support};
pub use error::EngineError;
pub use gradient::{BatchPass, Cotangents, Gradients, LayerCotangent, RegionGradient, Tape, Wants};
pub use instances::Instances;
pub use loaded::{Loaded, members_in_turn};
pub use max_pool::{MaxPool, PoolLines};
pub use population::{MemberLoss, MemberOutput, MemberRequest, Perturbation};
pub use product::{Product, ProductLines};
pub use real::Real;
pub use reference::Reference;
pub use region::{Ball, Norm, Region};
pub use relaxation::{Final, Intermediate, LowerSlope, Relaxation};
pub use spec::Spec;
pub use substitution::{
    AdamStep, Charges, Domain, Multiplier, NodeLines, Nonlinearity, OutwardInterval, SetOf, Site, Sites, SlopeAscent,
    Trace,
};
