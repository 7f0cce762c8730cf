//! The poolings, over one axis, two or more.

use tightrope_network::{AvgPool2d, MaxPool2d};

use super::affine::{Step, constant};
use super::arrange::{Selection, positions};
use super::draft::{Activation, Operation};
use super::graph::Importer;
use super::node::Node;
use super::window::{Plane, Window, lengths, window};
use crate::error::Problem;

/// The channels and sides of an image `[1, channels, sides…]`.
pub fn image<'d>(node: &Node<'_>, dims: &'d [usize]) -> Result<(usize, &'d [usize]), Problem> {
    match dims {
        [1, channels, sides @ ..] if !sides.is_empty() => Ok((*channels, sides)),
        _ => Err(node.problem(format!("its input has shape {dims:?}; it needs [1, channels, sides…]"))),
    }
}

impl<'a> Importer<'a> {
    pub fn average_pool(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        self.pool(node, false)
    }

    pub fn max_pool(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        // The order of the second output, which nobody reads.
        node.int("storage_order", 0)?;
        self.pool(node, true)
    }

    fn pool(&mut self, node: &mut Node<'a>, is_max: bool) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let input = self.activation(node, 0)?;
        let (channels, sides) = image(node, &input.dims)?;
        let Some(kernel) = lengths(node, "kernel_shape", 1, sides.len())? else {
            return Err(node.problem("attribute `kernel_shape` is missing"));
        };
        let window = window(node, kernel, sides)?;
        let count_padding = !is_max && node.int("count_include_pad", 0)? != 0;
        let ceil = node.int("ceil_mode", 0)? != 0;
        let out = window.positions(node, sides, ceil)?;
        let exact = out == window.positions(node, sides, false)?;
        if !exact && count_padding {
            return Err(node.problem(
                "ceil_mode = 1 with a window that leaves elements over and count_include_pad = 1 is not supported; runtimes \
                 do not agree on what it divides by",
            ));
        }
        let dims = [&[1, channels], &out[..]].concat();
        let simple = exact
            && window.dilation.iter().all(|&dilation| dilation == 1)
            && (0..sides.len()).all(|axis| window.before[axis].max(window.behind[axis]) < window.kernel[axis]);
        let result = match window.plane().filter(|_| simple) {
            Some(Plane { kernel, stride, padding, .. }) => {
                let operation = match is_max {
                    true => Operation::MaxPool2d(MaxPool2d { kernel, stride, padding }),
                    false => {
                        let count_include_pad = count_padding;
                        Operation::AvgPool2d(AvgPool2d { kernel, stride, padding, count_include_pad })
                    }
                };
                self.pooled(node, &input, operation, dims)?
            }
            None => self.gathered_pool(node, &input, &window, dims, (is_max, count_padding))?,
        };
        self.alias(node, result)
    }

    pub fn global_average_pool(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        self.global_pool(node, false)
    }

    pub fn global_max_pool(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        self.global_pool(node, true)
    }

    fn global_pool(&mut self, node: &mut Node<'a>, is_max: bool) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let input = self.activation(node, 0)?;
        let (channels, sides) = image(node, &input.dims)?;
        let (&last, others) = sides.split_last().unwrap_or((&1, &[]));
        let kernel = [others.iter().product(), last];
        let operation = match is_max {
            true => Operation::MaxPool2d(MaxPool2d { kernel, stride: kernel, padding: [0; 4] }),
            false => {
                let pool = AvgPool2d { kernel, stride: kernel, padding: [0; 4], count_include_pad: true };
                Operation::AvgPool2d(pool)
            }
        };
        let mut dims = vec![1; input.dims.len()];
        dims[1] = channels;
        let result = self.pooled(node, &input, operation, dims)?;
        self.alias(node, result)
    }

    /// A pooling of a plane, or of any sides that are laid out as one.
    fn pooled(
        &mut self,
        node: &Node<'a>,
        input: &Activation,
        operation: Operation,
        dims: Vec<usize>,
    ) -> Result<Activation, Problem> {
        let plane = |dims: &[usize]| match dims {
            [_, channels, sides @ .., last] => vec![*channels, sides.iter().product(), *last],
            _ => dims.to_vec(),
        };
        let image = self.laid(node, input, &plane(&input.dims))?;
        self.layer(node, operation, vec![image], plane(&dims), dims)
    }

    /// A pooling whose windows are laid out one after the other.
    fn gathered_pool(
        &mut self,
        node: &Node<'a>,
        input: &Activation,
        window: &Window,
        dims: Vec<usize>,
        (is_max, count_padding): (bool, bool),
    ) -> Result<Activation, Problem> {
        let (channels, sides) = image(node, &input.dims)?;
        let taps: usize = window.kernel.iter().product();
        let plane: usize = sides.iter().product();
        self.check_room(node, &[dims.iter().product(), taps])?;
        let (mut sources, mut counts) = (Vec::new(), Vec::new());
        for channel in 0..channels {
            for position in positions(&dims[2..]) {
                let mut own = Vec::new();
                for tap in positions(&window.kernel) {
                    let place = (0..sides.len()).try_fold(0, |index, axis| {
                        Some(index * sides[axis] + window.place(axis, position[axis], tap[axis], sides[axis])?)
                    });
                    own.extend(place.map(|place| (channel * plane + place) as u32));
                }
                let Some(&first) = own.first() else {
                    return Err(node.problem("a window covers nothing but padding; reduce its padding"));
                };
                counts.push(own.len());
                if is_max {
                    // An element twice changes no maximum.
                    own.resize(taps, first);
                }
                sources.extend(own);
            }
        }
        if is_max {
            let windows = Selection::one_each(vec![1, channels, counts.len() / channels, taps], sources);
            let windows = self.select(node, input, windows)?;
            let pool = MaxPool2d { kernel: [1, taps], stride: [1, taps], padding: [0; 4] };
            let flat = vec![1, channels, counts.len() / channels, 1];
            let result = self.pooled(node, &windows, Operation::MaxPool2d(pool), flat)?;
            return Ok(Activation { dims: dims.into(), ..result });
        }
        let divisors = counts.iter().map(|&count| if count_padding { taps } else { count } as f64).collect();
        let sums = self.select(node, input, Selection { dims: dims.clone(), sources, counts: Some(counts) })?;
        self.step(node, Step::Divide, &sums, &constant(node, dims, divisors))
    }
}
