//! Per-channel affine layers: normalisation, or batch norm with fixed statistics.

use super::{Needs, Start};
use crate::NetworkError;
use crate::description::{LayerDescription, Names, Reading};
use crate::layout::ParameterId;

/// Element `e` of the input uses channel `e / inner`: y = w·(scale·x + shift) + b.
///
/// Batch norm: scale = 1/√(var+eps), shift = −mean·scale, with trainable w and b. Input
/// normalisation: scale = 1/std, shift = −mean/std and no parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// Consecutive elements that share a channel (H·W for `[C, H, W]`, 1 for one value per element).
    pub inner: usize,
    /// Constant factor per channel.
    pub scale: Vec<f64>,
    /// Constant summand per channel.
    pub shift: Vec<f64>,
    /// Trainable factor `[channels]`.
    pub weight: Option<ParameterId>,
    /// Trainable summand `[channels]`.
    pub bias: Option<ParameterId>,
}

impl Affine {
    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, String> {
        let elements: usize = input.iter().product();
        let channels = self.scale.len();
        if self.inner == 0 || channels.checked_mul(self.inner) != Some(elements) || self.shift.len() != channels {
            return Err(format!(
                "{channels} channels of {} elements do not cover an input of shape {input:?}",
                self.inner
            ));
        }
        if self.scale.iter().chain(&self.shift).any(|value| !value.is_finite()) {
            return Err("a scale or shift is not finite".into());
        }
        Ok(input.to_vec())
    }

    pub(super) fn needs(&self) -> Needs {
        let with_shape = |id| (id, vec![self.scale.len()]);
        Needs { weight: self.weight.map(with_shape), bias: self.bias.map(with_shape), ..Needs::default() }
    }

    pub(super) fn start(&self) -> Start {
        Start::Identity
    }

    /// Keys of a description that this kind reads.
    pub(super) const KEYS: &[&str] = &["weight", "bias", "inner", "scale", "shift", "mean", "std"];

    pub(super) fn read(reading: &mut Reading<'_>) -> Result<Self, NetworkError> {
        let text = reading.text;
        let (scale, shift) = constants(reading)?;
        let elements: usize = reading.shape.iter().product();
        let inner = text.inner.unwrap_or(elements.checked_div(scale.len()).unwrap_or(0));
        let channels = scale.len();
        let weight = reading.parameter("weight", text.weight.as_ref(), false, &[channels])?;
        let bias = reading.parameter("bias", text.bias.as_ref(), false, &[channels])?;
        Ok(Affine { inner, scale, shift, weight, bias })
    }

    pub(super) fn write(&self, text: &mut LayerDescription, names: Names<'_>) {
        text.inner = Some(self.inner);
        text.scale = Some(self.scale.clone());
        text.shift = Some(self.shift.clone());
        text.weight = self.weight.map(|id| names.of(id));
        text.bias = self.bias.map(|id| names.of(id));
    }
}

/// Scale and shift of a description.
fn constants(reading: &Reading<'_>) -> Result<(Vec<f64>, Vec<f64>), NetworkError> {
    let text = reading.text;
    match (&text.scale, &text.shift, &text.mean, &text.std) {
        (Some(scale), Some(shift), None, None) => Ok((scale.clone(), shift.clone())),
        (Some(scale), None, None, None) => Ok((scale.clone(), vec![0.0; scale.len()])),
        (None, None, Some(mean), Some(std)) if mean.len() == std.len() && std.iter().all(|&s| s > 0.0) => {
            let scale: Vec<f64> = std.iter().map(|s| 1.0 / s).collect();
            let shift = mean.iter().zip(&scale).map(|(m, s)| -m * s).collect();
            Ok((scale, shift))
        }
        _ => {
            Err(reading
                .refuse("an affine layer needs `scale` (and `shift`), or `mean` and positive `std` of equal length"))
        }
    }
}
