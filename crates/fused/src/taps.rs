//! Which taps connect a position with the other side of a layer, tabulated per axis, as spans of [`crate::product`].

use crate::lanes::WIDTH;
use crate::plan::Stage;
use crate::product::Span;
use crate::weights::padded;

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

    /// The sum behind output (`y`, `x`): the span, where it starts in the input map and in weights `[tap][c_in][c_out padded]`.
    pub fn apply(&self, stage: &Stage, vp: usize, [y, x]: [usize; 2]) -> (Span, usize, usize) {
        let (row, column) = (self.apply[0][y], self.apply[1][x]);
        let (ci, width, stride) = (stage.input.c, stage.input_side()[1], padded(stage.output.c));
        let [down, right] = [stage.dilation[0] * width * ci * vp * WIDTH, stage.dilation[1] * ci * vp * WIDTH];
        let taps = [stage.kernel[1] * ci * stride, ci * stride];
        // A row of taps reads consecutive positions, and its weights are consecutive too.
        let merged = stage.dilation[1] == 1;
        let columns = if merged { [1, column.count * ci] } else { [column.count, ci] };
        let span = Span {
            count: [row.count, columns[0], columns[1]],
            input: [down, right, vp * WIDTH],
            weight: [taps[0] as isize, taps[1] as isize, stride as isize],
        };
        let input = (row.first * width + column.first) * ci * vp * WIDTH;
        (span, input, row.tap * taps[0] + column.tap * taps[1])
    }

    /// The sum behind input (`y`, `x`) of the transpose: as [`Taps::apply`], from the output map and weights
    /// `[tap][c_out][c_in padded]`.
    pub fn transpose(&self, stage: &Stage, vp: usize, [y, x]: [usize; 2]) -> (Span, usize, usize) {
        let (row, column) = (self.transpose[0][y], self.transpose[1][x]);
        let (co, stride) = (stage.output.c, padded(stage.input.c));
        let position = co * vp * WIDTH;
        let taps = [stage.kernel[1] * co * stride, co * stride];
        let span = Span {
            count: [row.count, column.count, co],
            input: [stage.output.w * position, position, vp * WIDTH],
            // Later outputs see the input through earlier taps.
            weight: [-((stage.stride[0] * taps[0]) as isize), -((stage.stride[1] * taps[1]) as isize), stride as isize],
        };
        let output = (row.first * stage.output.w + column.first) * position;
        (span, output, row.tap * taps[0] + column.tap * taps[1])
    }
}
