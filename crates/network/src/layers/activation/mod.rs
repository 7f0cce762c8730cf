//! Activations: one function of one variable, applied to every element.

pub(super) mod clip;
pub(super) mod leaky_relu;
pub(super) mod power;

use crate::description::{Kind, LayerDescription};

/// An elementwise function.
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
    /// eˣ.
    Exp,
    /// ln(1 + eˣ).
    Softplus,
    /// 1/x, which 0 has none of: where x may be 0 nothing is known of it.
    Reciprocal,
    /// xⁿ.
    Power {
        /// n; from 2 to [`Activation::LARGEST_EXPONENT`].
        exponent: u32,
    },
}

impl Activation {
    /// The largest exponent of a power: what keeps rounding errors of powers and their lines within what the engines allow.
    pub const LARGEST_EXPONENT: u32 = 16;

    /// The kind's name in descriptions and messages.
    pub fn kind(self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::LeakyRelu { .. } => "leaky_relu",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Clip { .. } => "clip",
            Activation::Exp => "exp",
            Activation::Softplus => "softplus",
            Activation::Reciprocal => "reciprocal",
            Activation::Power { .. } => "power",
        }
    }

    /// True if f(c·x) = c·f(x) for every c > 0, so that values may be counted in other units.
    pub fn is_homogeneous(self) -> bool {
        match self {
            Activation::Relu | Activation::LeakyRelu { .. } => true,
            Activation::Sigmoid
            | Activation::Tanh
            | Activation::Clip { .. }
            | Activation::Exp
            | Activation::Softplus
            | Activation::Reciprocal
            | Activation::Power { .. } => false,
        }
    }

    /// Fails unless the constants are in their ranges.
    pub(super) fn check(self) -> Result<(), String> {
        match self {
            Activation::Relu
            | Activation::Sigmoid
            | Activation::Tanh
            | Activation::Exp
            | Activation::Softplus
            | Activation::Reciprocal => Ok(()),
            Activation::LeakyRelu { slope } => leaky_relu::check(slope),
            Activation::Clip { lower, upper } => clip::check(lower, upper),
            Activation::Power { exponent } => power::check(exponent),
        }
    }

    pub(super) fn text_kind(self) -> Kind {
        match self {
            Activation::Relu => Kind::Relu,
            Activation::LeakyRelu { .. } => Kind::LeakyRelu,
            Activation::Sigmoid => Kind::Sigmoid,
            Activation::Tanh => Kind::Tanh,
            Activation::Clip { .. } => Kind::Clip,
            Activation::Exp => Kind::Exp,
            Activation::Softplus => Kind::Softplus,
            Activation::Reciprocal => Kind::Reciprocal,
            Activation::Power { .. } => Kind::Power,
        }
    }

    pub(super) fn write(self, text: &mut LayerDescription) {
        match self {
            Activation::Relu
            | Activation::Sigmoid
            | Activation::Tanh
            | Activation::Exp
            | Activation::Softplus
            | Activation::Reciprocal => {}
            Activation::LeakyRelu { slope } => leaky_relu::write(slope, text),
            Activation::Clip { lower, upper } => clip::write(lower, upper, text),
            Activation::Power { exponent } => power::write(exponent, text),
        }
    }
}
