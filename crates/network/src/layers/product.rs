//! Products of two factors, element by element.

/// The output shape: the input holds the first factor and, behind it along the first axis, the second one.
pub(super) fn output_shape(input: &[usize]) -> Result<Vec<usize>, String> {
    match input {
        [channels, rest @ ..] if channels.is_multiple_of(2) => Ok([&[channels / 2], rest].concat()),
        _ => Err(format!(
            "multiplies the two halves of its input along the first axis, which {input:?} does not have; give it both \
             factors, one behind the other"
        )),
    }
}
