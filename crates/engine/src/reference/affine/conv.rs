//! Convolutions as matrix products over gathered columns.
//!
//! A column is one output position of one row of the batch; its K = (channels per group)·kh·kw
//! entries are the input values under the window. Only columns with a non-zero output entry are
//! gathered where the caller's data says so: that is how coefficient rows with a small receptive
//! field stay cheap without any special case.

use std::ops::Range;

use tightrope_network::Conv2d;

use crate::Real;
use crate::reference::gemm::{View, multiply};

/// Columns per matrix product: enough for an efficient product, small enough for the cache.
const BLOCK: usize = 1024;

/// Marks a tap that falls into the zero padding.
const OUTSIDE: u32 = u32::MAX;

pub(super) struct ConvGeometry {
    groups: usize,
    group_inputs: usize,
    group_outputs: usize,
    taps: usize,
    input_plane: usize,
    positions: usize,
    /// `[taps, positions]`: offset in the input plane under a tap, or [`OUTSIDE`].
    offsets: Vec<u32>,
}

/// The columns of one matrix product: output positions, in spans that belong to one row of the batch each.
#[derive(Default)]
struct Columns {
    positions: Vec<u32>,
    spans: Vec<Span>,
}

struct Span {
    row: usize,
    /// Its columns.
    range: Range<usize>,
}

impl Columns {
    fn push(&mut self, row: usize, position: usize) {
        let end = self.positions.len() + 1;
        match self.spans.last_mut() {
            Some(span) if span.row == row => span.range.end = end,
            _ => self.spans.push(Span { row, range: end - 1..end }),
        }
        self.positions.push(position as u32);
    }

    fn clear(&mut self) {
        self.positions.clear();
        self.spans.clear();
    }

    fn len(&self) -> usize {
        self.positions.len()
    }
}

impl ConvGeometry {
    pub(super) fn new(conv: &Conv2d, input: &[usize], output: &[usize]) -> Self {
        let (height, width) = (input[1], input[2]);
        let (rows, columns) = (output[1], output[2]);
        let mut offsets = Vec::with_capacity(conv.kernel[0] * conv.kernel[1] * rows * columns);
        for ky in 0..conv.kernel[0] {
            for kx in 0..conv.kernel[1] {
                for oy in 0..rows {
                    for ox in 0..columns {
                        // Wraps below zero for padding at the top or left, which then fails the bound.
                        let y = (oy * conv.stride[0] + ky * conv.dilation[0]).wrapping_sub(conv.padding[0]);
                        let x = (ox * conv.stride[1] + kx * conv.dilation[1]).wrapping_sub(conv.padding[1]);
                        offsets.push(if y < height && x < width { (y * width + x) as u32 } else { OUTSIDE });
                    }
                }
            }
        }
        ConvGeometry {
            groups: conv.groups,
            group_inputs: conv.in_channels / conv.groups,
            group_outputs: conv.out_channels / conv.groups,
            taps: conv.kernel[0] * conv.kernel[1],
            input_plane: height * width,
            positions: rows * columns,
            offsets,
        }
    }

    fn inputs(&self) -> usize {
        self.groups * self.group_inputs * self.input_plane
    }

    fn outputs(&self) -> usize {
        self.groups * self.group_outputs * self.positions
    }

    fn depth(&self) -> usize {
        self.group_inputs * self.taps
    }

    /// Marks the positions of each row where some channel of `y` is not 0.
    fn live_positions<T: Real>(&self, y: &[T]) -> Vec<bool> {
        let mut live = vec![false; y.len() / self.outputs() * self.positions];
        for (row, live) in y.chunks_exact(self.outputs()).zip(live.chunks_exact_mut(self.positions)) {
            for plane in row.chunks_exact(self.positions) {
                live.iter_mut().zip(plane).for_each(|(l, &v)| *l |= v != T::ZERO);
            }
        }
        live
    }

    /// Input positions under the windows of the marked output positions.
    pub(super) fn window_reach(&self, mask: &[bool]) -> Vec<bool> {
        let mut result = vec![false; mask.len() / self.positions * self.input_plane];
        for (mask, result) in mask.chunks_exact(self.positions).zip(result.chunks_exact_mut(self.input_plane)) {
            for position in (0..self.positions).filter(|&p| mask[p]) {
                let taps = self.offsets.iter().skip(position).step_by(self.positions);
                taps.filter(|offset| **offset != OUTSIDE).for_each(|&offset| result[offset as usize] = true);
            }
        }
        result
    }

    /// Calls `work` on blocks of columns: all of them, or those marked in `mask` (`[batch, positions]`).
    fn for_columns(&self, batch: usize, mask: Option<&[bool]>, mut work: impl FnMut(&Columns)) {
        let mut columns = Columns::default();
        for row in 0..batch {
            let live = |p: &usize| mask.is_none_or(|mask| mask[row * self.positions + p]);
            for position in (0..self.positions).filter(live) {
                if columns.len() == BLOCK {
                    work(&columns);
                    columns.clear();
                }
                columns.push(row, position);
            }
        }
        if columns.len() > 0 {
            work(&columns);
        }
    }

    /// `[K, columns]`: the input values of group `group` under each column's window.
    fn gather_windows<T: Real>(&self, x: &[T], group: usize, columns: &Columns, target: &mut Vec<T>) {
        target.resize(self.depth() * columns.len(), T::ZERO);
        let mut lines = target.chunks_exact_mut(columns.len());
        for channel in group * self.group_inputs..(group + 1) * self.group_inputs {
            for (offsets, line) in self.offsets.chunks_exact(self.positions).zip(&mut lines) {
                for span in &columns.spans {
                    let plane = &x[span.row * self.inputs() + channel * self.input_plane..][..self.input_plane];
                    for (value, &position) in
                        line[span.range.clone()].iter_mut().zip(&columns.positions[span.range.clone()])
                    {
                        let offset = offsets[position as usize];
                        *value = if offset == OUTSIDE { T::ZERO } else { plane[offset as usize] };
                    }
                }
            }
        }
    }

    /// Adds `[K, columns]` back to the input pixels: the transpose of [`Self::gather_windows`].
    fn scatter_windows<T: Real>(&self, values: &[T], group: usize, columns: &Columns, x: &mut [T]) {
        let mut lines = values.chunks_exact(columns.len());
        for channel in group * self.group_inputs..(group + 1) * self.group_inputs {
            for (offsets, line) in self.offsets.chunks_exact(self.positions).zip(&mut lines) {
                for span in &columns.spans {
                    let plane = &mut x[span.row * self.inputs() + channel * self.input_plane..][..self.input_plane];
                    for (&value, &position) in
                        line[span.range.clone()].iter().zip(&columns.positions[span.range.clone()])
                    {
                        let offset = offsets[position as usize];
                        if offset != OUTSIDE {
                            plane[offset as usize] += value;
                        }
                    }
                }
            }
        }
    }

    /// `[group_outputs, columns]`: the output-side values of group `group`.
    fn gather_outputs<T: Real>(&self, y: &[T], group: usize, columns: &Columns, target: &mut Vec<T>) {
        target.resize(self.group_outputs * columns.len(), T::ZERO);
        for (index, line) in target.chunks_exact_mut(columns.len()).enumerate() {
            for span in &columns.spans {
                let plane = &y[self.output_plane(span.row, group, index)];
                let positions = &columns.positions[span.range.clone()];
                line[span.range.clone()].iter_mut().zip(positions).for_each(|(v, &p)| *v = plane[p as usize]);
            }
        }
    }

    /// Where the plane of output `index` of a group lies in the batch.
    fn output_plane(&self, row: usize, group: usize, index: usize) -> Range<usize> {
        let first = row * self.outputs() + (group * self.group_outputs + index) * self.positions;
        first..first + self.positions
    }

    fn group_weight<'a, T>(&self, weight: &'a [T], group: usize) -> &'a [T] {
        let size = self.group_outputs * self.depth();
        &weight[group * size..(group + 1) * size]
    }

    /// y = W x at the positions marked in `mask` (everywhere if none); other entries of y stay.
    pub(super) fn apply<T: Real>(&self, weight: &[T], x: &[T], batch: usize, y: &mut [T], mask: Option<&[bool]>) {
        let (mut windows, mut product) = (Vec::new(), Vec::new());
        self.for_columns(batch, mask, |columns| {
            for group in 0..self.groups {
                self.gather_windows(x, group, columns, &mut windows);
                product.resize(self.group_outputs * columns.len(), T::ZERO);
                let weight = View::new(self.group_weight(weight, group), self.group_outputs, self.depth());
                multiply(&mut product, weight, View::new(&windows, self.depth(), columns.len()), false);
                for (index, line) in product.chunks_exact(columns.len()).enumerate() {
                    for span in &columns.spans {
                        let plane = &mut y[self.output_plane(span.row, group, index)];
                        let positions = &columns.positions[span.range.clone()];
                        line[span.range.clone()].iter().zip(positions).for_each(|(&v, &p)| plane[p as usize] = v);
                    }
                }
            }
        });
    }

    /// x += Wᵀ y, skipping columns where y is 0.
    pub(super) fn transpose<T: Real>(&self, weight: &[T], y: &[T], batch: usize, x: &mut [T]) {
        let (mut outputs, mut product) = (Vec::new(), Vec::new());
        self.for_columns(batch, Some(&self.live_positions(y)), |columns| {
            for group in 0..self.groups {
                self.gather_outputs(y, group, columns, &mut outputs);
                product.resize(self.depth() * columns.len(), T::ZERO);
                let weight = View::new(self.group_weight(weight, group), self.group_outputs, self.depth());
                let right = View::new(&outputs, self.group_outputs, columns.len());
                multiply(&mut product, weight.transposed(), right, false);
                self.scatter_windows(&product, group, columns, x);
            }
        });
    }

    /// gradient += Σ y xᵀ over columns where y is not 0.
    pub(super) fn weight_gradient<T: Real>(&self, x: &[T], y: &[T], batch: usize, gradient: &mut [T]) {
        let (mut windows, mut outputs) = (Vec::new(), Vec::new());
        let size = self.group_outputs * self.depth();
        self.for_columns(batch, Some(&self.live_positions(y)), |columns| {
            for group in 0..self.groups {
                self.gather_windows(x, group, columns, &mut windows);
                self.gather_outputs(y, group, columns, &mut outputs);
                let left = View::new(&outputs, self.group_outputs, columns.len());
                let right = View::new(&windows, self.depth(), columns.len()).transposed();
                multiply(&mut gradient[group * size..(group + 1) * size], left, right, true);
            }
        });
    }
}
