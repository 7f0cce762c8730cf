//! The constant of leaky ReLU: x where x > 0, slope·x elsewhere.

use super::Activation;
use crate::description::{LayerDescription, Reading};

/// The slope of a description that gives none, as in common frameworks.
const DEFAULT_SLOPE: f64 = 0.01;

/// Keys of a description that this kind reads.
pub(in crate::layers) const KEYS: &[&str] = &["slope"];

/// Fails unless `slope` is in [0, 1).
pub(super) fn check(slope: f64) -> Result<(), String> {
    match (0.0..1.0).contains(&slope) {
        true => Ok(()),
        false => Err(format!("the slope {slope} is not in [0, 1)")),
    }
}

pub(in crate::layers) fn read(reading: &Reading<'_>) -> Activation {
    Activation::LeakyRelu { slope: reading.text.slope.unwrap_or(DEFAULT_SLOPE) }
}

pub(super) fn write(slope: f64, text: &mut LayerDescription) {
    text.slope = Some(slope);
}
