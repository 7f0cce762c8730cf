//! The constant of powers: xⁿ for a whole n.

use super::Activation;
use crate::NetworkError;
use crate::description::{LayerDescription, Reading};

/// Keys of a description that this kind reads.
pub(in crate::layers) const KEYS: &[&str] = &["exponent"];

/// Fails unless `exponent` is in [2, [`Activation::LARGEST_EXPONENT`]].
pub(super) fn check(exponent: u32) -> Result<(), String> {
    let largest = Activation::LARGEST_EXPONENT;
    match (2..=largest).contains(&exponent) {
        true => Ok(()),
        false => Err(format!("the exponent {exponent} is not a whole number from 2 to {largest}")),
    }
}

pub(in crate::layers) fn read(reading: &Reading<'_>) -> Result<Activation, NetworkError> {
    Ok(Activation::Power { exponent: reading.need("exponent", reading.text.exponent)? })
}

pub(super) fn write(exponent: u32, text: &mut LayerDescription) {
    text.exponent = Some(exponent);
}
