//! Flatten, Reshape, Squeeze, Unsqueeze, Shape, Transpose, Expand and Tile: the same elements in other shapes and orders.

use super::arrange::{broadcast, index, own_shape, positions, spread};
use super::graph::{Importer, Operand};
use super::node::Node;
use crate::error::Problem;
use crate::proto::code;
use crate::tensor::{self, Data, Tensor};

/// `axis`, counted from the end if negative, of `rank` axes.
pub fn axis(node: &Node<'_>, given: i64, rank: usize) -> Result<usize, Problem> {
    let counted = if given < 0 { given.saturating_add(rank as i64) } else { given };
    usize::try_from(counted).ok().filter(|&axis| axis < rank).ok_or_else(|| {
        node.problem(format!("axis {given} is none of the {rank} axes that there are, the batch included"))
    })
}

impl<'a> Importer<'a> {
    pub fn flatten(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let operand = self.operand(node, 0)?;
        let dims = operand.dims().to_vec();
        let given = node.int("axis", 1)?;
        let rank = dims.len() as i64;
        let at = if given < 0 { given.saturating_add(rank) } else { given };
        let Some(at) = usize::try_from(at).ok().filter(|&at| at <= dims.len()) else {
            return Err(node.problem(format!("axis = {given} is none of the {rank} axes; use axis = 1")));
        };
        let flat = vec![dims[..at].iter().product(), dims[at..].iter().product()];
        let operand = self.reshaped(&operand, flat)?;
        let operand = self.flattened(node, operand);
        self.bind_operand(node, 0, operand)
    }

    /// An image that has become a vector gets a layer of this node's name.
    fn flattened(&mut self, node: &Node<'a>, operand: Operand) -> Operand {
        match operand {
            Operand::Activation(mut activation)
                if activation.order.is_none() && own_shape(&activation.dims).len() == 1 =>
            {
                let flat = self.drafts.flat(node.label(), activation.draft);
                // The new flatten has one reader; the layer below it keeps its own.
                activation.sole |= flat != activation.draft;
                activation.draft = flat;
                Operand::Activation(activation)
            }
            other => other,
        }
    }

    pub fn reshape(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        let operand = self.operand(node, 0)?;
        let target = self.constant_operand(node, 1)?;
        let zero_is_a_length = node.int("allowzero", 0)? != 0;
        let target = target.integers()?;
        match resolve(target, operand.dims(), zero_is_a_length) {
            Some(dims) => {
                let operand = self.reshaped(&operand, dims)?;
                let operand = self.flattened(node, operand);
                self.bind_operand(node, 0, operand)
            }
            None => Err(node.problem(format!(
                "cannot reshape {:?}, a batch of one included, to {target:?}; the elements must be as many",
                operand.dims()
            ))),
        }
    }

    /// The axes that a node names in its attribute or its second input.
    pub fn axes(&mut self, node: &mut Node<'a>, input: usize) -> Result<Option<Vec<i64>>, Problem> {
        if let Some(axes) = node.ints("axes")? {
            return Ok(Some(axes.to_vec()));
        }
        match node.input(input) {
            Some(_) => Ok(Some(self.constant_operand(node, input)?.integers()?.to_vec())),
            None => Ok(None),
        }
    }

    pub fn squeeze(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 2)?;
        let operand = self.operand(node, 0)?;
        let dims = operand.dims().to_vec();
        let axes = match self.axes(node, 1)? {
            None => (0..dims.len()).filter(|&axis| dims[axis] == 1).collect(),
            Some(axes) => axes.iter().map(|&given| axis(node, given, dims.len())).collect::<Result<Vec<_>, _>>()?,
        };
        if let Some(&long) = axes.iter().find(|&&axis| dims[axis] != 1) {
            return Err(node.problem(format!("axis {long} of {dims:?} is longer than 1")));
        }
        let rest = (0..dims.len()).filter(|axis| !axes.contains(axis)).map(|axis| dims[axis]).collect();
        let operand = self.reshaped(&operand, rest)?;
        self.bind_operand(node, 0, operand)
    }

    pub fn unsqueeze(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 2)?;
        let operand = self.operand(node, 0)?;
        let Some(axes) = self.axes(node, 1)? else { return Err(node.problem("names no axes")) };
        let rank = operand.dims().len() + axes.len();
        let axes = axes.iter().map(|&given| axis(node, given, rank)).collect::<Result<Vec<_>, _>>()?;
        let mut rest = operand.dims().iter().copied();
        let dims: Vec<usize> =
            (0..rank).map(|axis| if axes.contains(&axis) { Some(1) } else { rest.next() }.unwrap_or(1)).collect();
        if rest.next().is_some() {
            return Err(node.problem(format!("names an axis twice: {axes:?}")));
        }
        let operand = self.reshaped(&operand, dims)?;
        self.bind_operand(node, 0, operand)
    }

    /// The shape for a batch of one, a constant like any other.
    pub fn shape(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let operand = self.operand(node, 0)?;
        let rank = operand.dims().len() as i64;
        let place = |given: i64| if given < 0 { given.saturating_add(rank) } else { given }.clamp(0, rank) as usize;
        let (start, end) = (place(node.int("start", 0)?), place(node.int("end", rank)?));
        let values: Vec<i64> = operand.dims()[start..end.max(start)].iter().map(|&side| side as i64).collect();
        let (name, dims) = (node.proto.output[0].clone(), vec![values.len()]);
        let tensor = Tensor { name, dims, data: Data::Integer(values), kind: code::TENSOR_INT64, trainable: false };
        self.bind_constant(node, tensor)
    }

    pub fn transpose(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let operand = self.operand(node, 0)?;
        let dims = operand.dims().to_vec();
        let order: Vec<usize> = match node.ints("perm")? {
            None => (0..dims.len()).rev().collect(),
            Some(axes) => axes.iter().map(|&axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect(),
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..dims.len()) {
            return Err(node.problem(format!("perm = {order:?} is no order of {} axes", dims.len())));
        }
        let turned: Vec<usize> = order.iter().map(|&axis| dims[axis]).collect();
        let long = order.iter().filter(|&&axis| dims[axis] > 1);
        let operand = if long.is_sorted() {
            self.reshaped(&operand, turned)?
        } else {
            self.check_room(node, &dims)?;
            let source = |position: Vec<usize>| {
                let mut from = vec![0; dims.len()];
                order.iter().zip(position).for_each(|(&axis, at)| from[axis] = at);
                index(&dims, &from) as u32
            };
            let sources = positions(&turned).map(source).collect();
            self.picked(node, &operand, turned, sources)?
        };
        self.bind_operand(node, 0, operand)
    }

    pub fn expand(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        let operand = self.operand(node, 0)?;
        let shape = self.constant_operand(node, 1)?;
        let target = self.lengths_of(node, &shape)?;
        let Some(dims) = broadcast(operand.dims(), &target) else {
            return Err(node.problem(format!("cannot expand {:?} to {target:?}", operand.dims())));
        };
        self.check_room(node, &dims)?;
        let sources = spread(operand.dims(), &dims);
        let operand = self.picked(node, &operand, dims, sources)?;
        self.bind_operand(node, 0, operand)
    }

    pub fn tile(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        let operand = self.operand(node, 0)?;
        let repeats = self.constant_operand(node, 1)?;
        let repeats = self.lengths_of(node, &repeats)?;
        let own = operand.dims().to_vec();
        let dims: Option<Vec<usize>> =
            own.iter().zip(&repeats).map(|(&side, &count)| side.checked_mul(count)).collect();
        let Some(dims) = dims.filter(|dims| dims.len() == repeats.len() && dims.len() == own.len()) else {
            return Err(node.problem(format!("repeats {repeats:?} do not fit the shape {own:?}")));
        };
        self.check_room(node, &dims)?;
        let source = |position: Vec<usize>| {
            position.iter().zip(&own).fold(0, |index, (&at, &side)| index * side + at % side) as u32
        };
        let sources = positions(&dims).map(source).collect();
        let operand = self.picked(node, &operand, dims, sources)?;
        self.bind_operand(node, 0, operand)
    }

    /// Blocks of channels as blocks of pixels, and back.
    pub fn depth_space(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let operand = self.operand(node, 0)?;
        let block = usize::try_from(node.int("blocksize", 0)?).unwrap_or(0);
        let to_space = node.proto.op_type == "DepthToSpace";
        let rows_first = node.string("mode")?.is_some_and(|mode| mode == "CRD");
        let &[batch, channels, height, width] = operand.dims() else {
            return Err(node.problem("needs an image [batch, channels, height, width]"));
        };
        let square = block.checked_mul(block).filter(|&square| square > 0);
        let fits = square.is_some_and(|square| match to_space {
            true => channels.is_multiple_of(square),
            false => height.is_multiple_of(block) && width.is_multiple_of(block),
        });
        if !fits {
            return Err(node.problem(format!("blocksize = {block} does not fit the shape {:?}", operand.dims())));
        }
        self.check_room(node, operand.dims())?;
        let own = operand.dims().to_vec();
        let (dims, sources): (Vec<usize>, Vec<u32>) = if to_space {
            let depth = channels / (block * block);
            let dims = vec![batch, depth, height * block, width * block];
            let source = |p: Vec<usize>| {
                let (y, x) = (p[2] % block, p[3] % block);
                let channel = match rows_first {
                    true => (p[1] * block + y) * block + x,
                    false => (y * block + x) * depth + p[1],
                };
                index(&own, &[p[0], channel, p[2] / block, p[3] / block]) as u32
            };
            let sources = positions(&dims).map(source).collect();
            (dims, sources)
        } else {
            let dims = vec![batch, channels * block * block, height / block, width / block];
            let source = |p: Vec<usize>| {
                let (place, channel) = (p[1] / channels, p[1] % channels);
                index(&own, &[p[0], channel, p[2] * block + place / block, p[3] * block + place % block]) as u32
            };
            let sources = positions(&dims).map(source).collect();
            (dims, sources)
        };
        let operand = self.picked(node, &operand, dims, sources)?;
        self.bind_operand(node, 0, operand)
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
