//! Sliding windows: kernel, strides, dilations and explicit or automatic padding.

use super::node::Node;
use crate::error::Problem;

/// How a window moves over [height, width].
pub struct Window {
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Top, left, bottom, right.
    pub padding: [usize; 4],
}

/// Reads the window attributes of a convolution or pooling over an input of `side`.
pub fn window(node: &mut Node, kernel: [usize; 2], side: [usize; 2]) -> Result<Window, Problem> {
    let stride = lengths::<2>(node, "strides", 1)?.unwrap_or([1; 2]);
    let dilation = lengths::<2>(node, "dilations", 1)?.unwrap_or([1; 2]);
    let explicit = lengths::<4>(node, "pads", 0)?.unwrap_or([0; 4]);
    let mode = node.string("auto_pad")?.unwrap_or_default();
    let padding = match mode.as_str() {
        "" | "NOTSET" => explicit,
        "VALID" => [0; 4],
        "SAME_UPPER" | "SAME_LOWER" => {
            let mut padding = [0; 4];
            for axis in 0..2 {
                // The output has ⌈side / stride⌉ positions; an odd total leaves one more at the named end.
                let last = (side[axis].div_ceil(stride[axis]) - 1).checked_mul(stride[axis]);
                let reach = kernel[axis].saturating_sub(1).checked_mul(dilation[axis]);
                let total = last
                    .zip(reach)
                    .and_then(|(last, reach)| last.checked_add(reach)?.checked_add(1)?.checked_sub(side[axis]))
                    .ok_or_else(|| {
                        node.problem("auto_pad does not define the padding of this window; export it with pads")
                    })?;
                let (small, large) = (total / 2, total - total / 2);
                [padding[axis], padding[axis + 2]] = if mode == "SAME_UPPER" { [small, large] } else { [large, small] };
            }
            padding
        }
        other => {
            return Err(
                node.problem(format!("auto_pad = {other} is not known; use NOTSET, VALID, SAME_UPPER or SAME_LOWER"))
            );
        }
    };
    Ok(Window { stride, dilation, padding })
}

/// A list attribute of exactly `N` lengths, each at least `least`.
pub fn lengths<const N: usize>(
    node: &mut Node,
    name: &'static str,
    least: usize,
) -> Result<Option<[usize; N]>, Problem> {
    let Some(list) = node.ints(name)? else { return Ok(None) };
    let read = list.iter().map(|&value| usize::try_from(value).ok().filter(|&length| length >= least));
    let read: Option<Vec<usize>> = read.collect();
    match read.and_then(|lengths| lengths.try_into().ok()) {
        Some(lengths) => Ok(Some(lengths)),
        None => Err(node.problem(format!(
            "attribute `{name}` is {list:?}; it must have {N} values of at least {least}, as for 2-D windows"
        ))),
    }
}
