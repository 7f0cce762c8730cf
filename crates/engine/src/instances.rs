//! The code of each scalar type that is generated here, once, instead of anew in every crate that calls it.
//!
//! A generic function is compiled where its types are named: without this, each test program would hold the whole
//! reference engine, and take its time to be built.

use tightrope_network::{Activation as Kind, Network};

use crate::activation::{self, Activation};
use crate::{EngineError, Loaded, Real, reference};

/// What generic code asks of a scalar type to get to functions compiled in this crate.
pub trait Instances: Sized {
    /// [`Reference`](crate::Reference)'s handle of `network`.
    ///
    /// # Errors
    /// If θ or the buffers do not fit the network.
    fn load_reference(
        network: &Network,
        theta: &[Self],
        buffers: &[Self],
    ) -> Result<Box<dyn Loaded<Self>>, EngineError>
    where
        Self: Real;

    /// The function that a layer of `kind` applies.
    fn activation(kind: Kind) -> Box<dyn Activation<Self>>
    where
        Self: Real;
}

macro_rules! instances {
    ($t:ty) => {
        impl Instances for $t {
            #[inline(never)]
            fn load_reference(
                network: &Network,
                theta: &[Self],
                buffers: &[Self],
            ) -> Result<Box<dyn Loaded<Self>>, EngineError> {
                reference::load(network, theta, buffers)
            }

            #[inline(never)]
            fn activation(kind: Kind) -> Box<dyn Activation<Self>> {
                activation::of_kind(kind)
            }
        }
    };
}

instances!(f32);
instances!(f64);
