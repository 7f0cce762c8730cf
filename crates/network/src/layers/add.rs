//! Sums of layers of equal shape, as in residual networks.

/// The output shape for at least two inputs.
pub(super) fn output_shape(inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    match inputs.iter().find(|shape| **shape != inputs[0]) {
        Some(other) => Err(format!("adds shapes {:?} and {other:?}, which differ", inputs[0])),
        None => Ok(inputs[0].to_vec()),
    }
}
