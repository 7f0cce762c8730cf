//! Sums of selected elements: what re-orders, cuts, pads, repeats, interleaves or sums without weights.

use std::sync::Arc;

use crate::NetworkError;
use crate::description::{LayerDescription, Reading};

/// y_i = Σ x_j over the elements j of the input that output i reads; an output that reads none is 0.
///
/// As a matrix it is sparse and has ones alone, so that no number of it is rounded anywhere. Transposes, slices, paddings,
/// the parts of a concatenation, nearest-neighbour resizing, the columns of a convolution over any number of axes and
/// sums along axes are all of this kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    shape: Vec<usize>,
    /// First source of each output, and the number of sources; none where each output has one.
    starts: Option<Arc<[usize]>>,
    sources: Arc<[u32]>,
}

impl Gather {
    /// Outputs of `shape`, each of which is the element of the input that `sources` says.
    pub fn one_each(shape: Vec<usize>, sources: Vec<u32>) -> Self {
        Gather { shape, starts: None, sources: sources.into() }
    }

    /// Outputs of `shape`, of which output i sums the next `counts[i]` of `sources`.
    pub fn sums(shape: Vec<usize>, counts: &[usize], sources: Vec<u32>) -> Self {
        if sources.len() == counts.len() && counts.iter().all(|&count| count == 1) {
            return Gather::one_each(shape, sources);
        }
        let mut starts = vec![0_usize; counts.len() + 1];
        for (i, &count) in counts.iter().enumerate() {
            starts[i + 1] = starts[i].saturating_add(count);
        }
        Gather { shape, starts: Some(starts.into()), sources: sources.into() }
    }

    /// The output's shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of outputs.
    fn outputs(&self) -> usize {
        self.starts.as_ref().map_or(self.sources.len(), |starts| starts.len() - 1)
    }

    /// The elements of the input that output `i` sums, in increasing order.
    pub fn sources(&self, i: usize) -> &[u32] {
        match &self.starts {
            None => std::slice::from_ref(&self.sources[i]),
            Some(starts) => &self.sources[starts[i]..starts[i + 1]],
        }
    }

    /// The element of the input that each output is, where each is one.
    pub fn single(&self) -> Option<&[u32]> {
        self.starts.is_none().then_some(&self.sources[..])
    }

    /// Additions of one evaluation.
    pub fn terms(&self) -> usize {
        self.sources.len()
    }

    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, String> {
        let elements: usize = input.iter().product();
        let count = self.shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        if count != Some(self.outputs()) {
            return Err(format!("it has sources for {} outputs, not for the shape {:?}", self.outputs(), self.shape));
        }
        if let Some(starts) = &self.starts
            && (starts.windows(2).any(|pair| pair[0] > pair[1]) || starts.last() != Some(&self.sources.len()))
        {
            return Err(format!("its counts do not add up to its {} sources", self.sources.len()));
        }
        if let Some(source) = self.sources.iter().find(|&&source| source as usize >= elements) {
            return Err(format!("it reads element {source} of an input of {elements}"));
        }
        // So no sum is longer than the input, which bounds of rounding errors rely on.
        let unordered = |&i: &usize| self.sources(i).windows(2).any(|pair| pair[0] >= pair[1]);
        if let Some(output) = (0..self.outputs()).find(unordered) {
            return Err(format!("the sources of output {output} are not in increasing order, each once"));
        }
        Ok(self.shape.clone())
    }

    /// Keys of a description that this kind reads.
    pub(super) const KEYS: &[&str] = &["shape", "sources", "counts"];

    pub(super) fn read(reading: &Reading<'_>) -> Result<Self, NetworkError> {
        let text = reading.text;
        let shape = reading.need("shape", text.shape.clone())?;
        let sources = reading.need("sources", text.sources.clone())?;
        Ok(match &text.counts {
            None => Gather::one_each(shape, sources),
            Some(counts) => Gather::sums(shape, counts, sources),
        })
    }

    pub(super) fn write(&self, text: &mut LayerDescription) {
        text.shape = Some(self.shape.clone());
        text.sources = Some(self.sources.to_vec());
        text.counts = self.starts.as_ref().map(|starts| starts.windows(2).map(|pair| pair[1] - pair[0]).collect());
    }
}
