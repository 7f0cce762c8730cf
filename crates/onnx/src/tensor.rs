//! Constant tensors: decoding, broadcasting along a channel axis, and encoding.

use crate::element::{self, Class};
use crate::error::Problem;
use crate::external::Files;
use crate::proto::{TensorProto, code};

/// Most elements a stored tensor may claim; beyond it the file is taken for damaged.
const MAX_ELEMENTS: usize = 1 << 31;

/// A decoded constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Name in the graph.
    pub name: String,
    /// Shape; the data has exactly its product of elements.
    pub dims: Vec<usize>,
    /// Row-major elements.
    pub data: Data,
    /// `TensorProto.DataType` of the elements.
    pub kind: i32,
    /// True for an initializer, false for the value of a Constant node.
    pub trainable: bool,
}

/// The elements of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Floating-point numbers.
    Real(Vec<f64>),
    /// Whole numbers, and truth values as 0 and 1.
    Integer(Vec<i64>),
}

/// Most axes of a tensor, as in the common array libraries.
const MAX_AXES: usize = 32;

/// The product of `dims`, if it is a possible number of elements.
pub fn elements(dims: &[usize]) -> Option<usize> {
    if dims.len() > MAX_AXES {
        return None;
    }
    let count = dims.iter().try_fold(1_usize, |product, &side| product.checked_mul(side))?;
    (count <= MAX_ELEMENTS).then_some(count)
}

impl Tensor {
    /// Decodes a stored tensor under the name `name`; what lies in other files comes from `files` and is taken off `budget`.
    pub fn decode(
        proto: &TensorProto,
        name: &str,
        trainable: bool,
        files: &Files<'_>,
        budget: &mut usize,
    ) -> Result<Self, Problem> {
        let fail = |problem: String| Problem::tensor(name, problem);
        let dims = proto.dims.iter().map(|&side| usize::try_from(side).ok()).collect::<Option<Vec<_>>>();
        let Some((dims, count)) = dims.and_then(|dims| elements(&dims).map(|count| (dims, count))) else {
            return Err(fail(format!("has the impossible shape {:?}; the file is damaged", proto.dims)));
        };
        let kind = proto.data_type;
        let Some(class) = element::class(kind) else {
            return Err(fail(format!("has data type {}; export the model with float32 weights", element::name(kind))));
        };
        let stored;
        let raw = if proto.data_location != 0 || !proto.external_data.is_empty() {
            spend(budget, count, name)?;
            stored = files.read(proto, name, count * element::width(kind))?;
            Some(&stored[..])
        } else {
            proto.raw_data.as_deref()
        };
        let data = match (class, raw) {
            (Class::Real, Some(raw)) => Data::Real(element::reals(kind, raw).map_err(fail)?),
            (Class::Real, None) => Data::Real(element::listed_reals(proto)),
            (Class::Integer, Some(raw)) => Data::Integer(element::integers(kind, raw).map_err(fail)?),
            (Class::Integer, None) => Data::Integer(element::listed_integers(proto)),
        };
        let tensor = Tensor { name: name.into(), dims, data, kind, trainable };
        if tensor.len() != count {
            return Err(fail(format!(
                "holds {} values for the shape {:?}; the file is damaged",
                tensor.len(),
                tensor.dims
            )));
        }
        Ok(tensor)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Real(values) => values.len(),
            Data::Integer(values) => values.len(),
        }
    }

    /// The floating-point elements; fails if one of them is NaN or infinite.
    pub fn reals(&self) -> Result<&[f64], Problem> {
        let values = self.extended_reals()?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(index) => Err(Problem::tensor(
                &self.name,
                format!("holds {} at element {index}; the file is damaged or the training diverged", values[index]),
            )),
        }
    }

    /// The floating-point elements, among them infinite ones.
    pub fn extended_reals(&self) -> Result<&[f64], Problem> {
        match &self.data {
            Data::Real(values) => Ok(values),
            Data::Integer(_) => Err(Problem::tensor(&self.name, "holds integers where float32 values are needed")),
        }
    }

    /// The integer elements.
    pub fn integers(&self) -> Result<&[i64], Problem> {
        match &self.data {
            Data::Integer(values) => Ok(values),
            Data::Real(_) => Err(Problem::tensor(&self.name, "holds floats where int64 values are needed")),
        }
    }

    /// Elements `sources` of this tensor, as one of the shape `dims`.
    pub fn picked(&self, dims: Vec<usize>, sources: &[u32]) -> Tensor {
        let data = match &self.data {
            Data::Real(values) => Data::Real(sources.iter().map(|&i| values[i as usize]).collect()),
            Data::Integer(values) => Data::Integer(sources.iter().map(|&i| values[i as usize]).collect()),
        };
        Tensor { dims, data, ..self.without_data() }
    }

    /// The tensor but for its elements.
    fn without_data(&self) -> Tensor {
        Tensor { name: self.name.clone(), dims: vec![], data: Data::Integer(vec![]), ..*self }
    }

    /// Broadcasts to an activation of shape `full` and returns (values per channel, elements per channel).
    ///
    /// Element `e` of the activation meets `values[e / inner]`. None if the shapes do not broadcast
    /// to the activation's own shape; `budget` bounds the values and is lowered by them.
    pub fn per_channel(&self, full: &[usize], budget: &mut usize) -> Result<Option<(Vec<f64>, usize)>, Problem> {
        let values = self.reals()?;
        if self.dims.len() > full.len() {
            return Ok(None);
        }
        let mut dims = vec![1; full.len() - self.dims.len()];
        dims.extend_from_slice(&self.dims);
        if dims.iter().zip(full).any(|(&own, &side)| own != 1 && own != side) {
            return Ok(None);
        }
        let shared = dims.iter().rev().take_while(|&&own| own == 1).count();
        let (outer, inner) = full.split_at(full.len() - shared);
        let (channels, inner): (usize, usize) = (outer.iter().product(), inner.iter().product());
        spend(budget, channels, &self.name)?;
        let spread = (0..channels)
            .map(|channel| {
                let (mut rest, mut index, mut stride) = (channel, 0, 1);
                for axis in (0..outer.len()).rev() {
                    let position = rest % full[axis];
                    rest /= full[axis];
                    if dims[axis] != 1 {
                        index += position * stride;
                    }
                    stride *= dims[axis];
                }
                values[index]
            })
            .collect();
        Ok(Some((spread, inner)))
    }
}

/// Lowers `budget` by `count` values for `name`, or fails: a small file must not claim much memory.
pub fn spend(budget: &mut usize, count: usize, name: &str) -> Result<(), Problem> {
    match budget.checked_sub(count) {
        Some(rest) => {
            *budget = rest;
            Ok(())
        }
        None => Err(Problem::tensor(
            name,
            "the model's parameters and constants would take too much room in memory; use a smaller network",
        )),
    }
}

/// Encodes float32 values.
pub fn encode_floats(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    TensorProto {
        dims: dims.iter().map(|&side| side as i64).collect(),
        data_type: code::TENSOR_FLOAT,
        name: name.into(),
        raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        ..Default::default()
    }
}

/// Encodes int64 values as a vector.
pub fn encode_integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        dims: vec![values.len() as i64],
        data_type: code::TENSOR_INT64,
        name: name.into(),
        raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Data, Tensor};
    use crate::proto::code;

    fn tensor(dims: &[usize]) -> Tensor {
        let count = dims.iter().product::<usize>();
        let data = Data::Real((0..count).map(|i| i as f64).collect());
        Tensor { name: "c".into(), dims: dims.to_vec(), data, kind: code::TENSOR_FLOAT, trainable: true }
    }

    #[test]
    fn constants_broadcast_as_numpy_does() {
        let spread = |dims: &[usize], view: &[usize]| {
            {
                let full: Vec<usize> = std::iter::once(1).chain(view.iter().copied()).collect();
                tensor(dims).per_channel(&full, &mut 1000)
            }
            .unwrap()
        };
        assert_eq!(spread(&[], &[2, 3]), Some((vec![0.0], 6)));
        assert_eq!(spread(&[1, 2, 1], &[2, 3]), Some((vec![0.0, 1.0], 3)));
        assert_eq!(spread(&[3], &[2, 3]), Some((vec![0.0, 1.0, 2.0, 0.0, 1.0, 2.0], 1)));
        assert_eq!(spread(&[2, 1, 2], &[2, 3, 2]).unwrap().0[4..8], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(spread(&[1, 3, 1], &[2, 3, 2]), Some((vec![0.0, 1.0, 2.0, 0.0, 1.0, 2.0], 2)));
        assert_eq!(spread(&[4], &[2, 3]), None);
        assert_eq!(spread(&[2, 2, 3], &[2, 3]), None);
        assert_eq!(spread(&[1, 1, 2, 3], &[2, 3]), None);
    }
}
