//! Engines: implementations of forward passes, bounds and their derivatives.

use tightrope_network::Network;

use crate::{BoundRequest, EngineError, Loaded, Real};

/// How an engine carries out a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// By its own kernels.
    Own,
    /// By the reference engine, as a whole.
    Reference {
        /// What it has no kernels for, to follow "because of".
        reason: String,
    },
}

/// An implementation of forward passes, bounds and their derivatives in precision `T`.
pub trait Engine<T: Real>: Send + Sync {
    /// The name in logs and on the command line.
    fn name(&self) -> &'static str;

    /// How `request` is carried out on `network`; the one place where an engine decides what it leaves to another.
    fn supports(&self, network: &Network, request: &BoundRequest) -> Support;

    /// A handle of `network` at `theta`, `[|θ|]`, and `buffers`, laid out as [`Network::buffers`], which owns a copy of all.
    ///
    /// # Errors
    /// If θ or the buffers do not fit the network.
    fn load(&self, network: &Network, theta: &[T], buffers: &[T]) -> Result<Box<dyn Loaded<T>>, EngineError>;
}
