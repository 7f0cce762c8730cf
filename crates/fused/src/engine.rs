//! The [`Engine`] implementation: picks the instruction set, and says what is left to the reference engine.

use std::sync::Arc;

use tightrope_engine::{BoundRequest, Engine, EngineError, Loaded, LowerSlope, Reference, Region, Spec, Support};
use tightrope_network::Network;

use crate::loaded::LoadedFused;
use crate::loaded_normed::LoadedNormed;
use crate::net::plan::Plan;
use crate::scratch::Scratch;
use crate::simd::isa::Isa;

/// The fused engine.
///
/// Holds no state but scratch memory, which grows to what the calls need, is reused, and is shared by all handles.
#[derive(Clone)]
pub struct Fused {
    pub(crate) isa: Isa,
    pub(crate) scratch: Arc<Scratch>,
}

impl Fused {
    /// The engine on the best instruction set of this machine, or the one that `TIGHTROPE_ISA` names.
    ///
    /// # Errors
    /// If the variable names no instruction set, or one that the machine lacks.
    pub fn new() -> Result<Self, EngineError> {
        Fused::on(Isa::detect()?)
    }

    /// The engine on a given instruction set.
    ///
    /// # Errors
    /// If the machine lacks it.
    pub fn on(isa: Isa) -> Result<Self, EngineError> {
        let isa = Isa::named(isa.name())?;
        Ok(Fused { isa, scratch: Arc::default() })
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

/// What of a request the kernels lack, whatever the network.
pub(crate) fn lacks(request: &BoundRequest) -> Option<&'static str> {
    match (request.relaxation.lower_slope(), request.until) {
        (None | Some(LowerSlope::Adaptive | LowerSlope::Parallel | LowerSlope::Constant), None) => None,
        (None | Some(LowerSlope::Adaptive | LowerSlope::Parallel | LowerSlope::Constant), Some(_)) => {
            Some("bounds of a layer in place of the logits")
        }
    }
}

/// Whether a request is the reference engine's: the kernels lack it, or optimise slopes for margins over boxes from below alone.
pub(crate) fn leaves(request: &BoundRequest, region: &Region<f32>, spec: &Spec<f32>) -> bool {
    let climbs = request.climbs().is_some();
    let covered = !request.upper && region.ball.is_none() && matches!(spec, Spec::Margins { .. });
    lacks(request).is_some() || climbs && !covered
}

impl Engine<f32> for Fused {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn supports(&self, network: &Network, request: &BoundRequest) -> Support {
        match (Plan::new(network), lacks(request)) {
            (Err(reason), _) => Support::Reference { reason },
            (_, Some(reason)) => Support::Reference { reason: reason.into() },
            (Ok(_), None) => Support::Own,
        }
    }

    fn load(&self, network: &Network, theta: &[f32], buffers: &[f32]) -> Result<Box<dyn Loaded<f32>>, EngineError> {
        match Plan::new(network) {
            Ok(plan) if plan.has_norms() => Ok(Box::new(LoadedNormed::new(
                LoadedFused::new(self.clone(), network, plan, Arc::new(theta.to_vec()))?,
                buffers,
            )?)),
            Ok(plan) => {
                EngineError::check_length("the buffers", buffers.len(), 0)?;
                Ok(Box::new(LoadedFused::new(self.clone(), network, plan, Arc::new(theta.to_vec()))?))
            }
            Err(_) => Reference.load(network, theta, buffers),
        }
    }
}
