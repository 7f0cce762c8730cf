//! Pixels in memory: bytes as image files have them, or numbers of the user's own.

use std::borrow::Cow;
use std::ops::Range;

/// Values of all images of a split, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pixels {
    /// One byte a value, which stands for byte/255: a quarter of the memory of numbers.
    Bytes(Vec<u8>),
    /// Numbers as they are.
    Numbers(Vec<f32>),
}

impl Pixels {
    pub(crate) fn len(&self) -> usize {
        match self {
            Pixels::Bytes(bytes) => bytes.len(),
            Pixels::Numbers(numbers) => numbers.len(),
        }
    }

    /// Bytes of memory that one value takes.
    pub(crate) fn width(&self) -> usize {
        match self {
            Pixels::Bytes(_) => size_of::<u8>(),
            Pixels::Numbers(_) => size_of::<f32>(),
        }
    }

    /// Appends the values of `range` to `out`.
    pub(crate) fn append(&self, range: Range<usize>, out: &mut Vec<f32>) {
        match self {
            Pixels::Bytes(bytes) => out.extend(bytes[range].iter().map(|&byte| f32::from(byte) / 255.0)),
            Pixels::Numbers(numbers) => out.extend_from_slice(&numbers[range]),
        }
    }

    /// The values of `range`.
    pub(crate) fn get(&self, range: Range<usize>) -> Cow<'_, [f32]> {
        match self {
            Pixels::Bytes(_) => {
                let mut out = Vec::with_capacity(range.len());
                self.append(range, &mut out);
                Cow::Owned(out)
            }
            Pixels::Numbers(numbers) => Cow::Borrowed(&numbers[range]),
        }
    }

    /// Parts of `size` values each, in the order of `indices`.
    pub(crate) fn parts(&self, size: usize, indices: &[usize]) -> Pixels {
        let range = |&index: &usize| index * size..(index + 1) * size;
        match self {
            Pixels::Bytes(bytes) => {
                Pixels::Bytes(indices.iter().flat_map(|index| &bytes[range(index)]).copied().collect())
            }
            Pixels::Numbers(numbers) => {
                Pixels::Numbers(indices.iter().flat_map(|index| &numbers[range(index)]).copied().collect())
            }
        }
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        match self {
            Pixels::Bytes(bytes) => bytes.truncate(length),
            Pixels::Numbers(numbers) => numbers.truncate(length),
        }
    }

    /// Calls `take` with the bytes of all values: as they are, or the numbers' in little-endian order.
    pub(crate) fn visit_bytes(&self, mut take: impl FnMut(&[u8])) {
        match self {
            Pixels::Bytes(bytes) => take(bytes),
            Pixels::Numbers(numbers) => numbers.iter().for_each(|value| take(&value.to_le_bytes())),
        }
    }

    /// The first value that is no finite number.
    pub(crate) fn not_finite(&self) -> Option<usize> {
        match self {
            Pixels::Bytes(_) => None,
            Pixels::Numbers(numbers) => numbers.iter().position(|value| !value.is_finite()),
        }
    }
}
