//! Activations: one function of one variable, applied to every element.

pub(super) mod clip;
pub(super) mod leaky_relu;

use crate::description::{Kind, LayerDescription};

/// An elementwise, non-decreasing function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x where x > 0, slope·x elsewhere.
    LeakyRelu {
        /// Slope below 0, in [0, 1).
        slope: f64,
    },
    /// 1/(1 + e⁻ˣ).
    Sigmoid,
    /// (eˣ − e⁻ˣ)/(eˣ + e⁻ˣ).
    Tanh,
    /// min(max(x, lower), upper): hard tanh with [−1, 1], ReLU-N with [0, N].
    Clip {
        /// Smallest value; finite.
        lower: f64,
        /// Largest value; finite and > `lower`.
        upper: f64,
    },
}

impl Activation {
    /// The kind's name in descriptions and messages.
    pub fn kind(self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::LeakyRelu { .. } => "leaky_relu",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Clip { .. } => "clip",
        }
    }

    /// True if f(c·x) = c·f(x) for every c > 0, so that values may be counted in other units.
    pub fn is_homogeneous(self) -> bool {
        match self {
            Activation::Relu | Activation::LeakyRelu { .. } => true,
            Activation::Sigmoid | Activation::Tanh | Activation::Clip { .. } => false,
        }
    }

    /// Fails unless the constants are in their ranges.
    pub(super) fn check(self) -> Result<(), String> {
        match self {
            Activation::Relu | Activation::Sigmoid | Activation::Tanh => Ok(()),
            Activation::LeakyRelu { slope } => leaky_relu::check(slope),
            Activation::Clip { lower, upper } => clip::check(lower, upper),
        }
    }

    pub(super) fn text_kind(self) -> Kind {
        match self {
            Activation::Relu => Kind::Relu,
            Activation::LeakyRelu { .. } => Kind::LeakyRelu,
            Activation::Sigmoid => Kind::Sigmoid,
            Activation::Tanh => Kind::Tanh,
            Activation::Clip { .. } => Kind::Clip,
        }
    }

    pub(super) fn write(self, text: &mut LayerDescription) {
        match self {
            Activation::Relu | Activation::Sigmoid | Activation::Tanh => {}
            Activation::LeakyRelu { slope } => leaky_relu::write(slope, text),
            Activation::Clip { lower, upper } => clip::write(lower, upper, text),
        }
    }
}
