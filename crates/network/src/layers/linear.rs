//! Fully connected layers.

use super::{Needs, Start};
use crate::NetworkError;
use crate::description::{LayerDescription, Names, Reading};
use crate::layout::ParameterId;

/// y = W x + b on a flat input, with `weight [out_features, in_features]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Input features.
    pub in_features: usize,
    /// Output features.
    pub out_features: usize,
    /// Weight tensor.
    pub weight: ParameterId,
    /// Bias tensor `[out_features]`.
    pub bias: Option<ParameterId>,
}

impl Linear {
    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, String> {
        let &[features] = input else {
            return Err(format!("a linear layer needs a flat input, got {input:?}; put a flatten before it"));
        };
        if features != self.in_features {
            return Err(format!("weight takes {} features, the input has {features}", self.in_features));
        }
        Ok(vec![self.out_features])
    }

    pub(super) fn needs(&self) -> Needs {
        Needs {
            weight: Some((self.weight, vec![self.out_features, self.in_features])),
            bias: self.bias.map(|bias| (bias, vec![self.out_features])),
            ..Needs::default()
        }
    }

    pub(super) fn start(&self) -> Start {
        Start::Random { fan_in: self.in_features }
    }

    /// Keys of a description that this kind reads.
    pub(super) const KEYS: &[&str] = &["out_features", "weight", "bias"];

    pub(super) fn read(reading: &mut Reading<'_>) -> Result<Self, NetworkError> {
        let text = reading.text;
        let in_features = reading.shape.iter().product();
        let out_features = reading.need("out_features", text.out_features)?;
        let weight = reading.parameter("weight", text.weight.as_ref(), true, &[out_features, in_features])?;
        let weight = weight.ok_or_else(|| reading.refuse("a linear layer needs its weight"))?;
        let bias = reading.parameter("bias", text.bias.as_ref(), true, &[out_features])?;
        Ok(Linear { in_features, out_features, weight, bias })
    }

    pub(super) fn write(&self, text: &mut LayerDescription, names: Names<'_>) {
        text.out_features = Some(self.out_features);
        text.weight = Some(names.of(self.weight));
        text.bias = Some(names.of_or_none(self.bias));
    }
}
