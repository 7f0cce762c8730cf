//! Which taps connect a position with the other side of a layer, tabulated per axis, as windows of
//! [`crate::kernels::product`].

use crate::kernels::product::{Strides, WindowAt};
use crate::net::plan::Stage;
use crate::simd::lanes::WIDTH;

/// The places on the other side that one coordinate is connected with: consecutive ones, taps in constant steps.
#[derive(Clone, Copy)]
struct Reach {
    first: usize,
    count: usize,
    /// Tap of the first place.
    tap: usize,
}

/// One stage's connections.
pub struct Taps {
    /// For each output row and column: its inputs.
    apply: [Vec<Reach>; 2],
    /// For each input row and column: its outputs; empty for first stages.
    transpose: [Vec<Reach>; 2],
}

impl Taps {
    /// Tables for `stage`, whose windows are not dilated unless it is the first.
    pub fn new(stage: &Stage) -> Self {
        let (inputs, outputs) = (stage.input_side(), [stage.output.h, stage.output.w]);
        let apply = |axis: usize| {
            let (offset, dilation) = (stage.offset()[axis], stage.dilation[axis]);
            let reach = |p: usize| {
                // First stages are never cut off, so cut-off windows have no dilation.
                let start = p * stage.stride[axis];
                let tap = offset.saturating_sub(start).min(stage.kernel[axis]);
                let first = start + tap * dilation - offset.min(start + tap * dilation);
                let room = inputs[axis].saturating_sub(first).div_ceil(dilation);
                Reach { first, count: (stage.kernel[axis] - tap).min(room), tap }
            };
            (0..outputs[axis]).map(reach).collect()
        };
        let transpose = |axis: usize| {
            let (stride, pad, last) = (stage.stride[axis], stage.pad[axis], stage.kernel[axis] - 1);
            let reach = |q: usize| {
                let first = (q + pad).saturating_sub(last).div_ceil(stride);
                let end = ((q + pad) / stride + 1).min(outputs[axis]);
                let count = end.saturating_sub(first);
                Reach { first, count, tap: if count == 0 { 0 } else { q + pad - first * stride } }
            };
            (0..if stage.first { 0 } else { inputs[axis] }).map(reach).collect()
        };
        Taps { apply: [apply(0), apply(1)], transpose: [transpose(0), transpose(1)] }
    }

    /// The windows behind row `y` of the output, in the input map and weights `[tap][c_in]`; `places` is overwritten.
    pub fn apply(&self, stage: &Stage, vp: usize, y: usize, places: &mut Vec<WindowAt>) -> Strides {
        let (row, ci, width) = (self.apply[0][y], stage.input.c, stage.input_side()[1]);
        let taps = [stage.kernel[1] * ci, ci];
        // A row of taps reads consecutive positions, and its weights are consecutive too.
        let merged = stage.dilation[1] == 1;
        places.clear();
        places.extend(self.apply[1].iter().enumerate().map(|(x, column)| {
            let columns = if merged { [1, column.count * ci] } else { [column.count, ci] };
            WindowAt {
                count: [row.count, columns[0], columns[1]],
                input: (row.first * width + column.first) * ci * vp * WIDTH,
                weight: row.tap * taps[0] + column.tap * taps[1],
                position: y * stage.output.w + x,
            }
        }));
        let channel = vp * WIDTH;
        let [down, right] = [stage.dilation[0] * width * ci * channel, stage.dilation[1] * ci * channel];
        Strides { input: [down, right, channel], weight: [taps[0] as isize, taps[1] as isize, 1] }
    }

    /// The outputs that read input `q` along `axis`, and by which tap.
    #[inline(always)]
    pub fn outputs(&self, stage: &Stage, axis: usize, q: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (Reach { first, count, tap }, stride) = (self.transpose[axis][q], stage.stride[axis]);
        (0..count).map(move |k| (first + k, tap - k * stride))
    }

    /// The windows behind row `y` of the transpose's result, in the output map and weights `[tap][c_out]`.
    pub fn transpose(&self, stage: &Stage, vp: usize, y: usize, places: &mut Vec<WindowAt>) -> Strides {
        let (row, co) = (self.transpose[0][y], stage.output.c);
        let (position, taps) = (co * vp * WIDTH, [stage.kernel[1] * co, co]);
        places.clear();
        places.extend(self.transpose[1].iter().enumerate().map(|(x, column)| WindowAt {
            count: [row.count, column.count, co],
            input: (row.first * stage.output.w + column.first) * position,
            weight: row.tap * taps[0] + column.tap * taps[1],
            position: y * stage.input.w + x,
        }));
        // Later outputs see the input through earlier taps.
        let back = |axis: usize| -((stage.stride[axis] * taps[axis]) as isize);
        Strides { input: [stage.output.w * position, position, vp * WIDTH], weight: [back(0), back(1), 1] }
    }
}
