//! Layouts of named tensors in a flat vector: of the parameters in θ, and of the buffers beside it.

use std::marker::PhantomData;
use std::ops::Range;

/// Index of a tensor in the [`Layout`] of its kind.
pub trait TensorId: Copy {
    /// The id of tensor `index`.
    fn new(index: usize) -> Self;
    /// Its index.
    fn index(self) -> usize;
}

/// Index of a parameter tensor in its [`ParameterLayout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(pub usize);

/// Index of a buffer in its [`BufferLayout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

impl TensorId for ParameterId {
    fn new(index: usize) -> Self {
        ParameterId(index)
    }

    fn index(self) -> usize {
        self.0
    }
}

impl TensorId for BufferId {
    fn new(index: usize) -> Self {
        BufferId(index)
    }

    fn index(self) -> usize {
        self.0
    }
}

/// One named tensor inside a flat vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, as in the ONNX or safetensors file it came from (`0.weight`).
    pub name: String,
    /// Shape; row-major in the vector.
    pub shape: Vec<usize>,
    /// First element in the vector.
    pub offset: usize,
}

impl TensorInfo {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor's elements in the vector.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// All parameter tensors, in θ's order: node order, weight before bias, without gaps.
pub type ParameterLayout = Layout<ParameterId>;

/// All buffers, in their vector's order: node order, mean before variance, without gaps.
pub type BufferLayout = Layout<BufferId>;

/// Where tensors with ids of type `Id` stand in one flat vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout<Id> {
    entries: Vec<TensorInfo>,
    total: usize,
    id: PhantomData<Id>,
}

impl<Id> Default for Layout<Id> {
    fn default() -> Self {
        Layout { entries: Vec::new(), total: 0, id: PhantomData }
    }
}

impl<Id: TensorId> Layout<Id> {
    /// Appends a tensor and returns its id.
    pub(crate) fn push(&mut self, name: String, shape: Vec<usize>) -> Id {
        let info = TensorInfo { name, shape, offset: self.total };
        self.total += info.len();
        self.entries.push(info);
        Id::new(self.entries.len() - 1)
    }

    /// The layouts of the first `count` tensors and of the rest.
    pub(crate) fn split_at(&self, count: usize) -> (Self, Self) {
        let (mut before, mut behind) = (Layout::default(), Layout::default());
        for (index, info) in self.iter().enumerate() {
            let layout = if index < count { &mut before } else { &mut behind };
            layout.push(info.name.clone(), info.shape.clone());
        }
        (before, behind)
    }

    /// The tensor `id`.
    pub fn get(&self, id: Id) -> &TensorInfo {
        &self.entries[id.index()]
    }

    /// The tensor called `name`.
    pub fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// All tensors in the vector's order.
    pub fn iter(&self) -> impl Iterator<Item = &TensorInfo> {
        self.entries.iter()
    }

    /// Length of the vector.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The elements of tensor `id` in `vector`.
    pub fn slice<'a, T>(&self, vector: &'a [T], id: Id) -> &'a [T] {
        &vector[self.get(id).range()]
    }

    /// The elements of tensor `id` in `vector`, mutably.
    pub fn slice_mut<'a, T>(&self, vector: &'a mut [T], id: Id) -> &'a mut [T] {
        &mut vector[self.get(id).range()]
    }
}
