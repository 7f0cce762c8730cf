//! Where the elements of activations are: in which layer, in which order, in which shape.
//!
//! A new order of a layer's elements costs nothing until somebody needs them laid out: functions of single elements are
//! applied to the layer as it is, and linear layers take the order into their columns. What drops, repeats, pads or sums
//! elements is a [`Gather`] layer; several in a row become one.

use std::rc::Rc;

use tightrope_network::Gather;

use super::draft::{Activation, Operation};
use super::graph::{Importer, Operand};
use super::node::Node;
use crate::error::Problem;
use crate::tensor::{self, Tensor, elements};

/// Most elements of a tensor that is made anew, with an index or more for each: a few bytes of a file may ask for it.
pub const MOST_ELEMENTS: usize = 1 << 23;

/// Steps through the elements of a shape in row-major order.
pub fn positions(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    let count: usize = dims.iter().product();
    let mut next = vec![0; dims.len()];
    (0..count).map(move |_| {
        let own = next.clone();
        for axis in (0..dims.len()).rev() {
            next[axis] += 1;
            if next[axis] < dims[axis] {
                break;
            }
            next[axis] = 0;
        }
        own
    })
}

/// The row-major index of the element at `position`.
pub fn index(dims: &[usize], position: &[usize]) -> usize {
    dims.iter().zip(position).fold(0, |index, (&side, &at)| index * side + at)
}

/// The shape that two shapes broadcast to.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let side = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis]);
    (0..rank)
        .map(|axis| match (side(a, axis), side(b, axis)) {
            (1, other) | (other, 1) => Some(other),
            (own, other) => (own == other).then_some(own),
        })
        .collect()
}

/// The element of a tensor of shape `dims` that meets each element of the shape `full`, to which it broadcasts.
pub fn spread(dims: &[usize], full: &[usize]) -> Vec<u32> {
    let lead = full.len() - dims.len();
    let of = |position: Vec<usize>| {
        let own = dims.iter().zip(&position[lead..]).map(|(&side, &at)| if side == 1 { 0 } else { at });
        dims.iter().zip(own).fold(0, |index, (&side, at)| index * side + at) as u32
    };
    positions(full).map(of).collect()
}

/// A layer's own shape for a tensor of the graph: without the batch of one.
pub fn own_shape(dims: &[usize]) -> Vec<usize> {
    match dims {
        [] => vec![1],
        [1, rest @ ..] if !rest.is_empty() => rest.to_vec(),
        _ => dims.to_vec(),
    }
}

/// What an output sums, for [`Gather`].
pub struct Selection {
    pub dims: Vec<usize>,
    /// Elements of the tensor that is read, one output after the other.
    pub sources: Vec<u32>,
    /// How many of them each output sums; none for one each.
    pub counts: Option<Vec<usize>>,
}

impl Selection {
    /// One element for each output.
    pub fn one_each(dims: Vec<usize>, sources: Vec<u32>) -> Self {
        Selection { dims, sources, counts: None }
    }

    /// An element or 0 for each output.
    pub fn or_zero(dims: Vec<usize>, sources: impl Iterator<Item = Option<usize>>) -> Self {
        let (mut list, mut counts) = (Vec::new(), Vec::new());
        for source in sources {
            counts.push(usize::from(source.is_some()));
            list.extend(source.map(|source| source as u32));
        }
        let full = list.len() == counts.len();
        Selection { dims, sources: list, counts: (!full).then_some(counts) }
    }

    fn gather(&self, shape: Vec<usize>) -> Gather {
        match &self.counts {
            None => Gather::one_each(shape, self.sources.clone()),
            Some(counts) => Gather::sums(shape, counts, self.sources.clone()),
        }
    }

    /// This one after `gather`, if no output would sum an element twice.
    fn after(&self, gather: &Gather, most: usize) -> Option<Self> {
        let outputs = self.counts.as_ref().map_or(self.sources.len(), Vec::len);
        let (mut sources, mut counts) = (Vec::new(), Vec::with_capacity(outputs));
        let mut next = self.sources.iter();
        for output in 0..outputs {
            let first = sources.len();
            let own = self.counts.as_ref().map_or(1, |counts| counts[output]);
            next.by_ref().take(own).for_each(|&source| sources.extend(gather.sources(source as usize)));
            sources[first..].sort_unstable();
            if sources.len() > most || sources[first..].windows(2).any(|pair| pair[0] == pair[1]) {
                return None;
            }
            counts.push(sources.len() - first);
        }
        let single = counts.iter().all(|&count| count == 1);
        Some(Selection { dims: self.dims.clone(), sources, counts: (!single).then_some(counts) })
    }
}

impl<'a> Importer<'a> {
    /// The elements that `selection` says of an activation: another order of the same layer where it is one, else a layer.
    pub fn select(
        &mut self,
        node: &Node<'a>,
        activation: &Activation,
        mut selection: Selection,
    ) -> Result<Activation, Problem> {
        if elements(&selection.dims).is_none_or(|count| count == 0) {
            return Err(node.problem(format!("its output shape {:?} is impossible", selection.dims)));
        }
        tensor::spend(
            &mut self.budget,
            selection.sources.len() + selection.counts.as_ref().map_or(0, Vec::len),
            node.label(),
        )?;
        if let Some(order) = &activation.order {
            selection.sources.iter_mut().for_each(|source| *source = order[*source as usize]);
            // Sums read in increasing order.
            let mut first = 0;
            for &count in selection.counts.iter().flatten() {
                selection.sources[first..first + count].sort_unstable();
                first += count;
            }
        }
        let (mut draft, mut sole) = (activation.draft, activation.sole);
        while let Operation::Gather(gather) = &self.drafts.get(draft).operation {
            let most = 2 * selection.sources.len().max(gather.terms());
            let Some(joint) = selection.after(gather, most) else { break };
            (selection, sole) = (joint, false);
            draft = self.drafts.get(draft).inputs[0];
        }
        let dims: Rc<[usize]> = selection.dims.as_slice().into();
        let length: usize = self.drafts.get(draft).shape.iter().product();
        if selection.counts.is_none() && selection.sources.len() == length {
            let mut seen = vec![false; length];
            selection.sources.iter().for_each(|&source| seen[source as usize] = true);
            if seen.into_iter().all(|seen| seen) {
                let sorted = selection.sources.is_sorted();
                let order = if sorted { None } else { Some(selection.sources.into()) };
                return Ok(Activation { draft, dims, order, sole });
            }
        }
        let shape = own_shape(&dims);
        let gather = Operation::Gather(selection.gather(shape.clone()));
        let draft = self.push(node, gather, vec![draft], shape)?;
        Ok(Activation { draft, dims, order: None, sole: true })
    }

    /// The layer whose own elements, in their order, are those of the activation, with this shape.
    pub fn laid(&mut self, node: &Node<'a>, activation: &Activation, shape: &[usize]) -> Result<usize, Problem> {
        let Activation { draft, order, sole, .. } = activation;
        if order.is_none() {
            if let Some(draft) = self.drafts.shaped(*draft, shape, *sole) {
                return Ok(draft);
            }
            if shape.len() == 1 {
                return Ok(self.drafts.flat(&format!("{}.flatten", node.label()), *draft));
            }
        }
        let count = activation.len();
        tensor::spend(&mut self.budget, count, node.label())?;
        let sources: Vec<u32> = match order {
            Some(order) => order.to_vec(),
            None => (0..count as u32).collect(),
        };
        let mut selection = Selection::one_each(shape.to_vec(), sources);
        let mut draft = *draft;
        while let Operation::Gather(gather) = &self.drafts.get(draft).operation {
            let Some(joint) = selection.after(gather, 2 * count.max(gather.terms())) else { break };
            selection = joint;
            draft = self.drafts.get(draft).inputs[0];
        }
        let plain = selection.counts.is_none() && selection.sources.is_sorted() && {
            let below = &self.drafts.get(draft).shape;
            below[..] == *shape
        };
        if plain {
            return Ok(draft);
        }
        let gather = selection.gather(shape.to_vec());
        self.push(node, Operation::Gather(gather), vec![draft], shape.to_vec())
    }

    /// The activation in the order of the graph.
    pub fn plain(&mut self, node: &Node<'a>, activation: &Activation) -> Result<Activation, Problem> {
        if activation.order.is_none() {
            return Ok(activation.clone());
        }
        let draft = self.laid(node, activation, &own_shape(&activation.dims))?;
        Ok(Activation { draft, dims: activation.dims.clone(), order: None, sole: true })
    }

    /// The activation repeated along axes of length 1, or with more of them, until it has the shape `dims`.
    pub fn expanded(
        &mut self,
        node: &Node<'a>,
        activation: &Activation,
        dims: &[usize],
    ) -> Result<Activation, Problem> {
        if activation.dims[..] == *dims {
            return Ok(activation.clone());
        }
        if activation.len() == dims.iter().product::<usize>() {
            return Ok(Activation { dims: dims.into(), ..activation.clone() });
        }
        self.check_room(node, dims)?;
        let sources = spread(&activation.dims, dims);
        self.select(node, activation, Selection::one_each(dims.to_vec(), sources))
    }

    /// Fails if a tensor of this shape is more than the budget holds, or more than one may take.
    pub fn check_room(&self, node: &Node<'a>, dims: &[usize]) -> Result<(), Problem> {
        match elements(dims) {
            Some(count) if count <= self.budget.min(MOST_ELEMENTS) => Ok(()),
            _ => Err(node.problem(format!("its output of shape {dims:?} would take too much room in memory"))),
        }
    }

    /// Elements of an operand, one for each output, constant or not.
    pub fn picked(
        &mut self,
        node: &Node<'a>,
        operand: &Operand,
        dims: Vec<usize>,
        sources: Vec<u32>,
    ) -> Result<Operand, Problem> {
        match operand {
            Operand::Constant(tensor) => {
                tensor::spend(&mut self.budget, sources.len(), &tensor.name)?;
                Ok(Operand::Constant(Rc::new(Tensor::picked(tensor, dims, &sources))))
            }
            Operand::Activation(activation) => {
                self.select(node, activation, Selection::one_each(dims, sources)).map(Operand::Activation)
            }
        }
    }

    /// The operand's elements in another shape.
    pub fn reshaped(&mut self, operand: &Operand, dims: Vec<usize>) -> Result<Operand, Problem> {
        Ok(match operand {
            Operand::Constant(tensor) => {
                tensor::spend(&mut self.budget, tensor.len(), &tensor.name)?;
                Operand::Constant(Rc::new(Tensor { dims, ..Tensor::clone(tensor) }))
            }
            Operand::Activation(activation) => {
                Operand::Activation(Activation { dims: dims.into(), ..activation.clone() })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tightrope_network::Gather;

    use super::{Selection, broadcast, positions, spread};

    #[test]
    fn shapes_broadcast_as_numpy_does() {
        assert_eq!(broadcast(&[2, 1], &[3]), Some(vec![2, 3]));
        assert_eq!(broadcast(&[], &[4]), Some(vec![4]));
        assert_eq!(broadcast(&[2], &[3]), None);
        assert_eq!(spread(&[2, 1], &[2, 3]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(spread(&[3], &[2, 3]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(positions(&[2, 2]).collect::<Vec<_>>(), [[0, 0], [0, 1], [1, 0], [1, 1]]);
        assert_eq!(positions(&[]).count(), 1);
    }

    #[test]
    fn selections_join() {
        let sums = Gather::sums(vec![3], &[2, 0, 1], vec![0, 3, 1]);
        let joint = Selection::one_each(vec![2], vec![2, 0]).after(&sums, 9).unwrap();
        assert_eq!((joint.sources, joint.counts), (vec![1, 0, 3], Some(vec![1, 2])));
        let both = Selection { dims: vec![1], sources: vec![0, 2], counts: Some(vec![2]) };
        assert_eq!(both.after(&sums, 9).unwrap().sources, [0, 1, 3]);
        let twice = Gather::one_each(vec![2], vec![1, 1]);
        assert!(Selection { dims: vec![1], sources: vec![0, 1], counts: Some(vec![2]) }.after(&twice, 9).is_none());
    }
}
