//! The layout of the flat parameter vector θ.

use std::ops::Range;

/// Index of a parameter tensor in its [`ParameterLayout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(pub usize);

/// One named tensor inside θ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Name, as in the ONNX or safetensors file it came from (`0.weight`).
    pub name: String,
    /// Shape; row-major in θ.
    pub shape: Vec<usize>,
    /// First element in θ.
    pub offset: usize,
}

impl ParameterInfo {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor's elements in θ.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// All parameter tensors, in θ's order: node order, weight before bias, without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParameterLayout {
    entries: Vec<ParameterInfo>,
    total: usize,
}

impl ParameterLayout {
    /// Appends a tensor and returns its id.
    pub(crate) fn push(&mut self, name: String, shape: Vec<usize>) -> ParameterId {
        let info = ParameterInfo { name, shape, offset: self.total };
        self.total += info.len();
        self.entries.push(info);
        ParameterId(self.entries.len() - 1)
    }

    /// The tensor `id`.
    pub fn get(&self, id: ParameterId) -> &ParameterInfo {
        &self.entries[id.0]
    }

    /// The tensor called `name`.
    pub fn find(&self, name: &str) -> Option<&ParameterInfo> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// All tensors in θ's order.
    pub fn iter(&self) -> impl Iterator<Item = &ParameterInfo> {
        self.entries.iter()
    }

    /// Length of θ.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The elements of tensor `id` in `theta`.
    pub fn slice<'a, T>(&self, theta: &'a [T], id: ParameterId) -> &'a [T] {
        &theta[self.get(id).range()]
    }

    /// The elements of tensor `id` in `theta`, mutably.
    pub fn slice_mut<'a, T>(&self, theta: &'a mut [T], id: ParameterId) -> &'a mut [T] {
        &mut theta[self.get(id).range()]
    }
}
