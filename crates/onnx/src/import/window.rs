//! Sliding windows over any number of axes: kernel, strides, dilations and explicit or automatic padding.

use super::node::Node;
use crate::error::Problem;

/// How a window moves, by axis.
#[derive(Clone, Debug)]
pub struct Window {
    pub kernel: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    /// Padding before and behind the input.
    pub before: Vec<usize>,
    pub behind: Vec<usize>,
}

impl Window {
    /// Elements from the first to the last that the window covers along an axis.
    pub fn extent(&self, axis: usize) -> Option<usize> {
        self.kernel[axis].checked_sub(1)?.checked_mul(self.dilation[axis])?.checked_add(1)
    }

    /// The input's place under a tap of the window at a position; none in the padding.
    pub fn place(&self, axis: usize, position: usize, tap: usize, side: usize) -> Option<usize> {
        let at = position * self.stride[axis] + tap * self.dilation[axis];
        at.checked_sub(self.before[axis]).filter(|&place| place < side)
    }

    /// Positions along each axis; `ceil` rounds up where windows leave elements over, but none may begin behind the input.
    pub fn positions(&self, node: &Node<'_>, side: &[usize], ceil: bool) -> Result<Vec<usize>, Problem> {
        let along = |axis: usize| {
            let padded = side[axis].checked_add(self.before[axis])?.checked_add(self.behind[axis])?;
            let room = padded.checked_sub(self.extent(axis)?)?;
            let stride = self.stride[axis];
            let mut count = room / stride + 1;
            if ceil
                && !room.is_multiple_of(stride)
                && count.checked_mul(stride)? < side[axis].checked_add(self.before[axis])?
            {
                count += 1;
            }
            Some(count)
        };
        (0..side.len()).map(along).collect::<Option<Vec<_>>>().ok_or_else(|| {
            let sizes = |sides: &[usize]| sides.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
            node.problem(format!(
                "a {} window (stride {:?}, padding {:?} and {:?}, dilation {:?}) does not fit an input of {}",
                sizes(&self.kernel),
                self.stride,
                self.before,
                self.behind,
                self.dilation,
                sizes(side)
            ))
        })
    }

    /// The same over two axes: one axis becomes the columns of a single row.
    pub fn plane(&self) -> Option<Plane> {
        let wide = |values: &[usize], otherwise: usize| match *values {
            [across] => Some([otherwise, across]),
            [down, across] => Some([down, across]),
            _ => None,
        };
        let (before, behind) = (wide(&self.before, 0)?, wide(&self.behind, 0)?);
        Some(Plane {
            kernel: wide(&self.kernel, 1)?,
            stride: wide(&self.stride, 1)?,
            dilation: wide(&self.dilation, 1)?,
            padding: [before[0], before[1], behind[0], behind[1]],
        })
    }
}

/// A window over rows and columns.
pub struct Plane {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Top, left, bottom, right.
    pub padding: [usize; 4],
}

/// Reads the window attributes of a convolution or pooling over an input of `side`.
pub fn window(node: &mut Node<'_>, kernel: Vec<usize>, side: &[usize]) -> Result<Window, Problem> {
    let axes = side.len();
    let stride = lengths(node, "strides", 1, axes)?.unwrap_or_else(|| vec![1; axes]);
    let dilation = lengths(node, "dilations", 1, axes)?.unwrap_or_else(|| vec![1; axes]);
    let explicit = lengths(node, "pads", 0, 2 * axes)?.unwrap_or_else(|| vec![0; 2 * axes]);
    let mode = node.string("auto_pad")?.unwrap_or_default();
    let mut padding = match mode.as_str() {
        "" | "NOTSET" => explicit,
        "VALID" | "SAME_UPPER" | "SAME_LOWER" => vec![0; 2 * axes],
        other => {
            return Err(
                node.problem(format!("auto_pad = {other} is not known; use NOTSET, VALID, SAME_UPPER or SAME_LOWER"))
            );
        }
    };
    if mode.starts_with("SAME") {
        for axis in 0..axes {
            // The output has ⌈side / stride⌉ positions; an odd total leaves one more at the named end.
            let last = (side[axis].div_ceil(stride[axis]).saturating_sub(1)).checked_mul(stride[axis]);
            let reach = kernel[axis].saturating_sub(1).checked_mul(dilation[axis]);
            let total = last
                .zip(reach)
                .and_then(|(last, reach)| last.checked_add(reach)?.checked_add(1)?.checked_sub(side[axis]))
                .ok_or_else(|| {
                    node.problem("auto_pad does not define the padding of this window; export it with pads")
                })?;
            let (small, large) = (total / 2, total - total / 2);
            (padding[axis], padding[axis + axes]) = if mode == "SAME_UPPER" { (small, large) } else { (large, small) };
        }
    }
    let behind = padding.split_off(axes);
    Ok(Window { kernel, stride, dilation, before: padding, behind })
}

/// A list attribute of exactly `count` lengths, each at least `least`.
pub fn lengths(
    node: &mut Node<'_>,
    name: &'static str,
    least: usize,
    count: usize,
) -> Result<Option<Vec<usize>>, Problem> {
    let Some(list) = node.ints(name)? else { return Ok(None) };
    let read = list.iter().map(|&value| usize::try_from(value).ok().filter(|&length| length >= least));
    match read.collect::<Option<Vec<usize>>>().filter(|lengths| lengths.len() == count) {
        Some(lengths) => Ok(Some(lengths)),
        None => {
            Err(node
                .problem(format!("attribute `{name}` is {list:?}; it must have {count} values of at least {least}")))
        }
    }
}
