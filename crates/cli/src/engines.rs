//! Which engine computes: the one place to plug in another.

use anyhow::bail;
use clap::ValueEnum;
use tightrope_engine::{BoundRequest, Engine, Real, Reference, Support};
use tightrope_fused::Fused;
use tightrope_network::Network;

use crate::context::Context;
use crate::tensors::Element;

/// `--engine`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// The fastest engine that can do what is asked.
    Auto,
    /// Plain code for every layer kind, in f32 or f64.
    Reference,
    /// Vector kernels in f32; layer kinds without a kernel go to the reference engine.
    Fused,
}

/// `--precision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionChoice {
    /// Single precision.
    F32,
    /// Double precision, always by the reference engine.
    F64,
}

/// A scalar type with its engines.
pub trait Precision: Real + Element {
    /// The engine of a choice.
    fn engine(choice: EngineChoice) -> anyhow::Result<Box<dyn Engine<Self>>>;
}

impl Precision for f32 {
    fn engine(choice: EngineChoice) -> anyhow::Result<Box<dyn Engine<f32>>> {
        match choice {
            EngineChoice::Reference => Ok(Box::new(Reference)),
            EngineChoice::Auto | EngineChoice::Fused => Ok(Box::new(Fused::new()?)),
        }
    }
}

impl Precision for f64 {
    fn engine(choice: EngineChoice) -> anyhow::Result<Box<dyn Engine<f64>>> {
        match choice {
            EngineChoice::Auto | EngineChoice::Reference => Ok(Box::new(Reference)),
            EngineChoice::Fused => {
                bail!("--engine fused computes in f32; use --precision f32, or --engine reference for f64")
            }
        }
    }
}

/// Tells under `-v` if the engine leaves a request to the reference engine, and why.
pub fn tell<T: Real>(context: &Context, engine: &dyn Engine<T>, network: &Network, request: &BoundRequest) {
    if let Support::Reference { reason } = engine.supports(network, request) {
        context
            .detail(&format!("the {} engine leaves this to the reference engine because of {reason}", engine.name()));
    }
}
