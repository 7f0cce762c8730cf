//! Convolutions over any number of axes, and transposed ones.
//!
//! The network has convolutions of planes. One axis is the columns of a single row; of three and more, all but the last are
//! laid out window by window, so that their taps are channels. A transposed convolution is one of the flipped kernel over
//! the input with zeros between its elements. In each case the weights are the file's own, in another order at most.

use tightrope_network::{Conv2d, ParameterId};

use super::arrange::{Selection, index, positions};
use super::draft::{Activation, Operation, Weight};
use super::graph::Importer;
use super::node::Node;
use super::numbers::Numbers;
use super::pool::image;
use super::window::{Plane, Window, lengths, window};
use crate::error::Problem;
use crate::tensor::Tensor;

impl<'a> Importer<'a> {
    pub fn conv(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 3)?;
        let input = self.activation(node, 0)?;
        let (channels, sides) = image(node, &input.dims)?;
        let tensor = self.constant_operand(node, 1)?;
        let (per_group, kernel) = match &tensor.dims[..] {
            [_, per_group, kernel @ ..] if kernel.len() == sides.len() => (*per_group, kernel.to_vec()),
            _ => {
                return Err(node.problem(format!(
                    "its weight has shape {:?}, but its input has {} axes beside batch and channels",
                    tensor.dims,
                    sides.len()
                )));
            }
        };
        self.check_kernel(node, &kernel, &tensor)?;
        let window = window(node, kernel, sides)?;
        let groups = self.groups(node)?;
        if per_group.checked_mul(groups) != Some(channels) {
            return Err(node.problem(format!(
                "its weight of shape {:?} in {groups} groups does not fit an input of {channels} channels",
                tensor.dims
            )));
        }
        let weight = self.weight(&tensor, &tensor.dims, tensor.reals()?.to_vec().into())?;
        let bias = self.bias(node, tensor.dims[0], 1.0)?;
        let result = self.convolution(node, &input, (weight, bias), &window, groups)?;
        self.alias(node, result)
    }

    fn check_kernel(&mut self, node: &mut Node<'a>, kernel: &[usize], tensor: &Tensor) -> Result<(), Problem> {
        if lengths(node, "kernel_shape", 1, kernel.len())?.is_some_and(|named| named != kernel) {
            return Err(node.problem(format!("kernel_shape does not fit its weight of shape {:?}", tensor.dims)));
        }
        Ok(())
    }

    fn groups(&mut self, node: &mut Node<'a>) -> Result<usize, Problem> {
        let groups = usize::try_from(node.int("group", 1)?).ok().filter(|&groups| groups > 0);
        groups.ok_or_else(|| node.problem("its group must be at least 1"))
    }

    /// The convolution of `[1, channels, sides…]` with a weight `[out, channels / groups, kernel…]`.
    fn convolution(
        &mut self,
        node: &Node<'a>,
        input: &Activation,
        (mut weight, bias): (Weight, Option<Weight>),
        window: &Window,
        groups: usize,
    ) -> Result<Activation, Problem> {
        let (channels, sides) = image(node, &input.dims)?;
        let out_channels = weight.shape[0];
        let mut dims = vec![1, out_channels];
        dims.extend(window.positions(node, sides, false)?);
        let (source, plane) = match window.plane() {
            Some(plane) => {
                let shape = match *sides {
                    [across] => [channels, 1, across],
                    [down, across] => [channels, down, across],
                    _ => return Err(node.problem("its window has not as many axes as its input")),
                };
                (self.laid(node, input, &shape)?, plane)
            }
            None => self.columns(node, input, window, &dims[2..])?,
        };
        let in_channels = self.drafts.get(source).shape[0];
        let Plane { kernel, stride, dilation, padding } = plane;
        weight.shape = vec![out_channels, in_channels / groups, kernel[0], kernel[1]];
        let conv = Conv2d { stride, padding, dilation, groups, ..Conv2d::new([in_channels, out_channels], kernel) };
        let conv = Conv2d { weight: ParameterId(0), ..conv };
        let (down, across) = dims.split_at(dims.len() - 1);
        let shape = vec![out_channels, down[2..].iter().product(), across[0]];
        self.layer(node, Operation::Conv2d { conv, weight, bias }, vec![source], shape, dims)
    }

    /// The windows over all axes but the last, their taps as channels: an image `[channels·taps, positions, last side]`.
    fn columns(
        &mut self,
        node: &Node<'a>,
        input: &Activation,
        window: &Window,
        out: &[usize],
    ) -> Result<(usize, Plane), Problem> {
        let (channels, sides) = image(node, &input.dims)?;
        let last = sides.len() - 1;
        let (kernel, positions_down) = (&window.kernel[..last], &out[..last]);
        let (taps, rows): (usize, usize) = (kernel.iter().product(), positions_down.iter().product());
        self.check_room(node, &[channels, taps, rows, sides[last]])?;
        let mut sources = Vec::new();
        for channel in 0..channels {
            for tap in positions(kernel) {
                for position in positions(positions_down) {
                    let place = (0..last).try_fold(channel, |index, axis| {
                        Some(index * sides[axis] + window.place(axis, position[axis], tap[axis], sides[axis])?)
                    });
                    sources.extend((0..sides[last]).map(|x| place.map(|place| place * sides[last] + x)));
                }
            }
        }
        let shape = vec![channels * taps, rows, sides[last]];
        let dims = [&[1], &shape[..]].concat();
        let columns = self.select(node, input, Selection::or_zero(dims, sources.into_iter()))?;
        let plane = Plane {
            kernel: [1, window.kernel[last]],
            stride: [1, window.stride[last]],
            dilation: [1, window.dilation[last]],
            padding: [0, window.before[last], 0, window.behind[last]],
        };
        Ok((self.laid(node, &columns, &shape)?, plane))
    }

    pub fn conv_transpose(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 3)?;
        let input = self.activation(node, 0)?;
        let (channels, sides) = image(node, &input.dims)?;
        let tensor = self.constant_operand(node, 1)?;
        let groups = self.groups(node)?;
        let (out_per_group, kernel) = match &tensor.dims[..] {
            [own, out, kernel @ ..]
                if kernel.len() == sides.len() && *own == channels && channels.is_multiple_of(groups) =>
            {
                (*out, kernel.to_vec())
            }
            _ => {
                return Err(node.problem(format!(
                    "its weight of shape {:?} in {groups} groups does not fit an input of shape {:?}",
                    tensor.dims, input.dims
                )));
            }
        };
        self.check_kernel(node, &kernel, &tensor)?;
        let axes = sides.len();
        let stride = lengths(node, "strides", 1, axes)?.unwrap_or_else(|| vec![1; axes]);
        let dilation = lengths(node, "dilations", 1, axes)?.unwrap_or_else(|| vec![1; axes]);
        let (begin, end) = self.transposed_pads(node, sides, (&kernel, &stride, &dilation))?;
        // Zeros between the elements and around them, or fewer elements where the padding of the transposed convolution is
        // wider than its kernel reaches.
        let mut wide = vec![1, channels];
        let mut first = Vec::new();
        for axis in 0..axes {
            let reach = ((kernel[axis].max(1) - 1) as i64).checked_mul(dilation[axis] as i64);
            let inner =
                (sides[axis] as i64 - 1).checked_mul(stride[axis] as i64).and_then(|inner| inner.checked_add(1));
            let side = inner.zip(reach).and_then(|(inner, reach)| {
                let (before, behind) = (reach.checked_sub(begin[axis])?, reach.checked_sub(end[axis])?);
                first.push(before);
                usize::try_from(inner.checked_add(before)?.checked_add(behind)?).ok()
            });
            let Some(side) = side.filter(|&side| side as i64 > reach.unwrap_or(i64::MAX)) else {
                return Err(node.problem("its padding leaves nothing of its output, or a length is impossible"));
            };
            wide.push(side);
        }
        self.check_room(node, &wide)?;
        let source = |position: Vec<usize>| {
            let mut from = vec![0, position[1]];
            for axis in 0..axes {
                let at = usize::try_from(position[axis + 2] as i64 - first[axis]).ok()?;
                let place = at / stride[axis];
                from.push(Some(place).filter(|&place| at.is_multiple_of(stride[axis]) && place < sides[axis])?);
            }
            Some(index(&input.dims, &from))
        };
        let sources: Vec<Option<usize>> = positions(&wide).map(source).collect();
        let spread = self.select(node, &input, Selection::or_zero(wide, sources.into_iter()))?;
        // [in, out / groups, kernel] becomes [out, in / groups, flipped kernel].
        let (in_per_group, taps) = (channels / groups, kernel.iter().product::<usize>());
        let out = groups.saturating_mul(out_per_group);
        let place = |i: usize| {
            let (o, rest) = (i / (in_per_group * taps), i % (in_per_group * taps));
            let (own, tap) = (rest / taps, rest % taps);
            let channel = o / out_per_group * in_per_group + own;
            (channel * out_per_group + o % out_per_group) * taps + (taps - 1 - tap)
        };
        let numbers = Numbers::from(tensor.reals()?.to_vec());
        let shape = [&[out, in_per_group], &kernel[..]].concat();
        let weight = self.weight(&tensor, &shape, numbers.picked((0..tensor.len()).map(place)))?;
        let bias = self.bias(node, out, 1.0)?;
        let none = vec![0; axes];
        let window = Window { kernel, stride: vec![1; axes], dilation, before: none.clone(), behind: none };
        let result = self.convolution(node, &spread, (weight, bias), &window, groups)?;
        self.alias(node, result)
    }

    /// What a transposed convolution cuts off at both ends; less than 0 adds.
    fn transposed_pads(
        &mut self,
        node: &mut Node<'a>,
        sides: &[usize],
        (kernel, stride, dilation): (&[usize], &[usize], &[usize]),
    ) -> Result<(Vec<i64>, Vec<i64>), Problem> {
        let axes = sides.len();
        let pads = lengths(node, "pads", 0, 2 * axes)?.unwrap_or_else(|| vec![0; 2 * axes]);
        let extra = lengths(node, "output_padding", 0, axes)?.unwrap_or_else(|| vec![0; axes]);
        let target = lengths(node, "output_shape", 1, axes)?;
        let mode = node.string("auto_pad")?.unwrap_or_default();
        let (mut begin, mut end) = (Vec::new(), Vec::new());
        for axis in 0..axes {
            let whole = (|| {
                let reach = kernel[axis].max(1).checked_sub(1)?.checked_mul(dilation[axis])?.checked_add(1)?;
                let steps = sides[axis].checked_sub(1)?.checked_mul(stride[axis])?;
                i64::try_from(steps.checked_add(reach)?.checked_add(extra[axis])?).ok()
            })();
            let Some(whole) = whole else { return Err(node.problem("its output is impossibly large")) };
            let total = match (&target, mode.as_str()) {
                (Some(target), _) => Some(target[axis]),
                (None, "SAME_UPPER" | "SAME_LOWER") => sides[axis].checked_mul(stride[axis]),
                (None, "" | "NOTSET" | "VALID") => None,
                (None, other) => return Err(node.problem(format!("auto_pad = {other} is not known"))),
            };
            let (first, last) = match total {
                None if mode == "VALID" => (0, 0),
                None => (pads[axis] as i64, pads[axis + axes] as i64),
                Some(total) => {
                    let Ok(total) = i64::try_from(total) else {
                        return Err(node.problem("its output is impossibly large"));
                    };
                    let cut = (whole - total).max(0);
                    match mode.as_str() {
                        // What is wanted beyond the whole comes behind it.
                        _ if total > whole => (0, whole - total),
                        "SAME_UPPER" => (cut / 2, cut - cut / 2),
                        _ => (cut - cut / 2, cut / 2),
                    }
                }
            };
            begin.push(first);
            end.push(last - extra[axis] as i64);
        }
        Ok((begin, end))
    }
}
