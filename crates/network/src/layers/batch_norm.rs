//! Batch norm: per-channel normalisation by statistics that are buffers, not parameters (Ioffe and Szegedy 2015).

use super::{Needs, Start};
use crate::NetworkError;
use crate::description::{LayerDescription, Names, Reading};
use crate::layout::{BufferId, ParameterId};

/// y = w·(x − mean)/√(variance + ε) + b per channel of the first axis, with w and b in θ, mean and variance in the buffers.
///
/// Where buffers are given, the layer is an affine map. In training the statistics are those of the batch at hand.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Channels: the length of the input's first axis.
    pub channels: usize,
    /// ε > 0 of the root.
    pub epsilon: f64,
    /// Part of a new batch's statistics in the running ones, in [0, 1].
    pub momentum: f64,
    /// Trainable factor w `[channels]`.
    pub weight: ParameterId,
    /// Trainable summand b `[channels]`.
    pub bias: ParameterId,
    /// Mean `[channels]`.
    pub mean: BufferId,
    /// Variance `[channels]`.
    pub variance: BufferId,
}

impl BatchNorm {
    /// ε where nothing else is said.
    pub const EPSILON: f64 = 1e-5;
    /// Momentum where nothing else is said.
    pub const MOMENTUM: f64 = 0.1;

    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, String> {
        if input.first() != Some(&self.channels) {
            return Err(format!("{} channels do not cover an input of shape {input:?}", self.channels));
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return Err(format!("epsilon is {}, but must be a number > 0", self.epsilon));
        }
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(format!("momentum is {}, but must be in [0, 1]", self.momentum));
        }
        Ok(input.to_vec())
    }

    pub(super) fn needs(&self) -> Needs {
        let shape = || vec![self.channels];
        Needs {
            weight: Some((self.weight, shape())),
            bias: Some((self.bias, shape())),
            buffers: vec![(self.mean, shape()), (self.variance, shape())],
        }
    }

    pub(super) fn start(&self) -> Start {
        Start::Identity
    }

    /// Keys of a description that this kind reads.
    pub(super) const KEYS: &[&str] = &["weight", "bias", "epsilon", "momentum"];

    pub(super) fn read(reading: &mut Reading<'_>) -> Result<Self, NetworkError> {
        let text = reading.text;
        let channels = reading.shape.first().copied().unwrap_or(0);
        let mut parameter = |role: &str, given: Option<_>| {
            let id = reading.parameter(role, given, true, &[channels])?;
            id.ok_or_else(|| reading.refuse(format!("a batch norm needs its {role}; use an affine layer without")))
        };
        let (weight, bias) = (parameter("weight", text.weight.as_ref())?, parameter("bias", text.bias.as_ref())?);
        let (mean, variance) = reading.statistics(channels)?;
        let epsilon = text.epsilon.unwrap_or(Self::EPSILON);
        let momentum = text.momentum.unwrap_or(Self::MOMENTUM);
        Ok(BatchNorm { channels, epsilon, momentum, weight, bias, mean, variance })
    }

    pub(super) fn write(&self, text: &mut LayerDescription, names: Names<'_>) {
        text.weight = Some(names.of(self.weight));
        text.bias = Some(names.of(self.bias));
        text.epsilon = Some(self.epsilon);
        text.momentum = Some(self.momentum);
    }
}
