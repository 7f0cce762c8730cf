//! Flatten, Reshape and Transpose: new views of the same elements, and reordered constants.

use super::draft::Activation;
use super::graph::{Importer, Operand};
use super::node::Node;
use crate::error::Problem;
use crate::tensor::{self, Tensor};

impl<'a> Importer<'a> {
    /// Lets the node's output show the activation's elements as `view`; flat views become a layer.
    fn viewed(&mut self, node: &Node<'a>, mut activation: Activation, view: Vec<usize>) -> Result<(), Problem> {
        if view.len() == 1 && activation.view.len() != 1 {
            let flat = self.drafts.flat(node.label(), activation.draft);
            // The new flatten has one reader; the layer below it keeps its own.
            activation.sole |= flat != activation.draft;
            activation.draft = flat;
        }
        activation.view = view.into();
        self.alias(node, activation)
    }

    pub fn flatten(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let activation = self.activation(node, 0)?;
        let rank = activation.view.len() as i64 + 1;
        let given = node.int("axis", 1)?;
        let axis = if given < 0 { given.saturating_add(rank) } else { given };
        let keeps_batch = match axis {
            0 => self.single,
            axis if (1..=rank).contains(&axis) => activation.view[..axis as usize - 1].iter().all(|&side| side == 1),
            _ => false,
        };
        if !keeps_batch {
            return Err(node.problem(format!("axis = {given} does not keep each sample in one row; use axis = 1")));
        }
        let view = vec![activation.len()];
        self.viewed(node, activation, view)
    }

    pub fn reshape(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        let operand = self.operand(node, 0)?;
        let target = self.constant_operand(node, 1)?;
        let zero_is_a_length = node.int("allowzero", 0)? != 0;
        let target = target.integers()?;
        let fail = |shape: &[usize]| {
            Err(node.problem(format!(
                "cannot reshape {shape:?} to {target:?}; the batch must stay the first axis and the elements as many"
            )))
        };
        match operand {
            Operand::Constant(tensor) => match resolve(target, &tensor.dims, zero_is_a_length) {
                Some(dims) => {
                    tensor::spend(&mut self.budget, tensor.len(), &tensor.name)?;
                    self.bind_constant(node, Tensor { dims, ..Tensor::clone(&tensor) })
                }
                None => fail(&tensor.dims),
            },
            Operand::Activation(activation) => {
                let mut full = vec![1];
                full.extend_from_slice(&activation.view);
                match resolve(target, &full, zero_is_a_length).as_deref() {
                    Some([1, view @ ..]) if !view.is_empty() => self.viewed(node, activation, view.to_vec()),
                    _ => fail(&full),
                }
            }
        }
    }

    pub fn transpose(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let operand = self.operand(node, 0)?;
        let rank = match &operand {
            Operand::Constant(tensor) => tensor.dims.len(),
            Operand::Activation(activation) => activation.view.len() + 1,
        };
        let order: Vec<usize> = match node.ints("perm")? {
            None => (0..rank).rev().collect(),
            Some(axes) => axes.iter().map(|&axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect(),
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return Err(node.problem(format!("perm = {order:?} is no order of {rank} axes")));
        }
        match operand {
            Operand::Constant(tensor) => {
                tensor::spend(&mut self.budget, tensor.len(), &tensor.name)?;
                self.bind_constant(node, tensor.transposed(&order))
            }
            Operand::Activation(activation) => {
                let long: Vec<usize> =
                    order.iter().copied().filter(|&axis| axis > 0 && activation.view[axis - 1] > 1).collect();
                if order[0] != 0 || !long.is_sorted() {
                    return Err(node.problem(format!(
                        "perm = {order:?} of {:?} would reorder elements; only axes of length 1 may move",
                        activation.view
                    )));
                }
                let view: Vec<usize> = order[1..].iter().map(|&axis| activation.view[axis - 1]).collect();
                self.viewed(node, activation, view)
            }
        }
    }
}

/// The shape that `target` (with 0 for "as before" and at most one −1 for "the rest") gives to `dims`.
fn resolve(target: &[i64], dims: &[usize], zero_is_a_length: bool) -> Option<Vec<usize>> {
    let mut shape = Vec::new();
    let mut open = None;
    for (axis, &side) in target.iter().enumerate() {
        shape.push(match side {
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            0 if !zero_is_a_length => *dims.get(axis)?,
            _ => usize::try_from(side).ok()?,
        });
    }
    let (elements, known) = (tensor::elements(dims)?, tensor::elements(&shape)?);
    if let Some(axis) = open {
        shape[axis] = elements.checked_div(known)?;
    }
    (tensor::elements(&shape)? == elements).then_some(shape)
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn reshape_targets_follow_the_standard() {
        assert_eq!(resolve(&[0, -1], &[1, 3, 4], false), Some(vec![1, 12]));
        assert_eq!(resolve(&[-1, 12], &[1, 3, 4], false), Some(vec![1, 12]));
        assert_eq!(resolve(&[1, 0, 2, 2], &[1, 3, 4], false), Some(vec![1, 3, 2, 2]));
        assert_eq!(resolve(&[1, 0, 2, 2], &[1, 3, 4], true), None);
        assert_eq!(resolve(&[-1, -1], &[1, 3, 4], false), None);
        assert_eq!(resolve(&[-1, 5], &[1, 3, 4], false), None);
        assert_eq!(resolve(&[-1, 0], &[1, 0], false), None);
        assert_eq!(resolve(&[i64::MAX, i64::MAX], &[1, 3, 4], false), None);
        assert_eq!(resolve(&[1, 12, -2], &[1, 3, 4], false), None);
    }
}
