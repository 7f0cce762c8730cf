//! A tensor under its name.

/// A tensor of a file, in single precision, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// The name in the file.
    pub name: String,
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its values, the nearest f32 of each.
    pub values: Vec<f32>,
}
