//! The constants of clip, min(max(x, lower), upper).

use super::Activation;
use crate::NetworkError;
use crate::description::{LayerDescription, Reading};

/// Keys of a description that this kind reads.
pub(in crate::layers) const KEYS: &[&str] = &["lower", "upper"];

/// Fails unless both ends are finite and lower < upper.
pub(super) fn check(lower: f64, upper: f64) -> Result<(), String> {
    match lower.is_finite() && upper.is_finite() && lower < upper {
        true => Ok(()),
        false => Err(format!("cannot clip to [{lower}, {upper}]; give finite ends with lower < upper")),
    }
}

pub(in crate::layers) fn read(reading: &Reading<'_>) -> Result<Activation, NetworkError> {
    let lower = reading.need("lower", reading.text.lower)?;
    let upper = reading.need("upper", reading.text.upper)?;
    Ok(Activation::Clip { lower, upper })
}

pub(super) fn write(lower: f64, upper: f64, text: &mut LayerDescription) {
    text.lower = Some(lower);
    text.upper = Some(upper);
}
