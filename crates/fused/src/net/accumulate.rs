//! Weight-gradient sums of one worker: which form of the outer-product kernel each stage uses.

use crate::kernels::outer::{Sum, outer};
use crate::net::Net;
use crate::net::geometry::{Field, patch_offsets, tap_range};
use crate::net::gradients::GradientSums;
use crate::net::plan::Stage;
use crate::net::weights::padded;
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, WIDTH};
use crate::simd::pool::Pool;

/// Most weights a stage may have for lane-wise partial sums: sixteen-fold that is 128 KB; beyond, sums over lanes inside the
/// loop were faster.
const LANEWISE_WEIGHTS: usize = 1 << 11;

/// Values of both factors that one pass over all taps takes: 64 KB, little more than a first-level cache.
const CHUNK: usize = 1 << 14;

/// Gradient sums of one worker over its share of the batch.
#[derive(Default)]
pub struct Accumulator {
    /// What is summed over lanes already.
    pub sums: GradientSums,
    /// Lane-wise partial sums per stage, of W and of |W|; empty for large stages.
    partial: Vec<[Buffer; 2]>,
    /// The first factor with channels in lanes.
    transposed: Buffer,
    rights: Vec<(u32, u32)>,
}

/// Free memory for the gradients of a batch's weights.
#[derive(Default)]
pub struct GradientScratch {
    pub accumulators: Pool<Accumulator>,
    /// Inputs of dense stages with elements in lanes.
    pub panels: Pool<Buffer>,
}

impl GradientScratch {
    /// Sums slots in order; their memory goes back to the pool, but for the first's, which holds the total.
    pub fn reduce(&self, slots: Vec<Accumulator>) -> Option<Accumulator> {
        let mut slots = slots.into_iter();
        let mut total = slots.next()?;
        for slot in slots {
            total.sums.add(&slot.sums);
            self.accumulators.give(slot);
        }
        Some(total)
    }
}

/// Which of a stage's two gradients a product belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// W.
    Signed,
    /// |W|.
    Absolute,
}

/// True if a stage's weights get lane-wise partial sums.
pub fn is_small(stage: &Stage) -> bool {
    stage.taps() * stage.input.c * padded(stage.output.c) <= LANEWISE_WEIGHTS
}

impl Accumulator {
    /// Zeros for the network in the memory already there; `absolute` for methods with an interval pass.
    pub fn reset(&mut self, net: &Net<'_>, absolute: bool) {
        self.sums.reset(net, absolute);
        self.partial.resize_with(net.plan.stages.len(), Default::default);
        self.partial.iter_mut().flatten().for_each(|partial| partial.fill(0.0));
    }

    /// The first `len` lane-wise partial sums of a small stage's W, `[tap][c_in][c_out padded][16]`.
    pub fn lanewise(&mut self, index: usize, len: usize) -> *mut f32 {
        self.partial[index][0].at_least(len).as_mut_ptr()
    }

    /// Adds Σ over positions and lanes of left ⊗ right: `left` on the stage's outputs (a window), `right` on its inputs, `vp` vectors per channel.
    ///
    /// # Safety
    /// The machine has `S`. Both fields hold their windows and one more vector block of slack after
    /// the end of `left`; all entries are finite numbers, zero where nothing shall be added.
    pub unsafe fn add<S: Lanes>(&mut self, stage: &Stage, index: usize, of: Of, vp: usize, left: Field, right: Field) {
        let (ci, co) = (stage.input.c, stage.output.c);
        let weights = stage.taps() * ci * padded(co);
        let lanewise = is_small(stage);
        let slot = usize::from(of == Of::Absolute);
        let (output, lane) = if lanewise {
            (self.partial[index][slot].at_least(weights * WIDTH).as_mut_ptr(), WIDTH)
        } else {
            let sums = &mut self.sums.stages[index];
            (if slot == 0 { sums.signed.as_mut_ptr() } else { sums.absolute.as_mut_ptr() }, 1)
        };
        let (rows, columns) = (left.window.h, left.window.w);
        // Strides of the first factor: [position][channel][VP][16], or transposed [position][VP·16][channel].
        let (left_data, position, inner, next) = if lanewise {
            (left.data, co * vp * WIDTH, [vp, WIDTH], vp * WIDTH)
        } else {
            let position = vp * WIDTH * padded(co);
            let target = self.transposed.at_least(rows * columns * position).as_mut_ptr();
            // SAFETY: the caller's slack covers the channels that pad the last block.
            unsafe { S::run(|| transpose_field::<S>(left.data, target, rows * columns, co, vp)) };
            (target.cast_const(), position, [vp * WIDTH, padded(co)], WIDTH)
        };
        let lefts = if lanewise { co } else { padded(co) / WIDTH };
        let base = Sum {
            left: left_data,
            right: right.data,
            output,
            count: [rows, columns, inner[0]],
            left_stride: [columns * position, position, inner[1]],
            right_stride: [
                stage.stride[0] * right.window.w * ci * vp * WIDTH,
                stage.stride[1] * ci * vp * WIDTH,
                if lanewise { WIDTH } else { 1 },
            ],
            left_next: next,
            output_next: WIDTH,
        };
        let run = |sum: &Sum, rights: &[(u32, u32)]| {
            // SAFETY: strides and counts describe the fields the caller gave.
            unsafe {
                if lanewise { outer::<S, false>(sum, lefts, rights) } else { outer::<S, true>(sum, lefts, rights) }
            }
        };
        self.rights.clear();
        if stage.first {
            // Padded coordinates: every tap is read from everywhere, so taps share one block.
            let offsets = patch_offsets(stage, right.window.w);
            let places = offsets
                .iter()
                .enumerate()
                .map(|(j, &offset)| (offset * (vp * WIDTH) as u32, (j * padded(co) * lane) as u32));
            self.rights.extend(places);
            run(&base, &self.rights);
            return;
        }
        self.rights.extend((0..ci).map(|i| ((i * vp * WIDTH) as u32, (i * padded(co) * lane) as u32)));
        // A few positions at a time go through all taps, so that both factors stay in the first-level cache.
        let chunk = (CHUNK / ((ci + co) * vp * WIDTH)).max(1);
        let wide = chunk.min(columns);
        let high = (chunk / columns).clamp(1, rows);
        for y in (0..rows).step_by(high) {
            let (first_row, chunk_rows) = (left.window.y + y, high.min(rows - y));
            for x in (0..columns).step_by(wide) {
                let (first_column, chunk_columns) = (left.window.x + x, wide.min(columns - x));
                for ky in 0..stage.kernel[0] {
                    let inputs = (right.window.y, right.window.h);
                    let (py, ny, qy) = tap_range(stage, 0, ky, (first_row, chunk_rows), inputs);
                    for kx in 0..stage.kernel[1] {
                        let inputs = (right.window.x, right.window.w);
                        let (px, nx, qx) = tap_range(stage, 1, kx, (first_column, chunk_columns), inputs);
                        if ny == 0 || nx == 0 {
                            continue;
                        }
                        let tap = ky * stage.kernel[1] + kx;
                        // SAFETY: the ranges stay in both windows.
                        let sum = unsafe {
                            Sum {
                                left: base.left.add(((y + py) * columns + x + px) * position),
                                right: base.right.add((qy * right.window.w + qx) * ci * vp * WIDTH),
                                output: base.output.add(tap * ci * padded(co) * lane),
                                count: [ny, nx, inner[0]],
                                ..base
                            }
                        };
                        run(&sum, &self.rights);
                    }
                }
            }
        }
    }

    /// Adds the lane-wise partial sums to `sums`.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn finish<S: Lanes>(&mut self) {
        for (sums, partial) in self.sums.stages.iter_mut().zip(&self.partial) {
            for (target, partial) in [&mut sums.signed, &mut sums.absolute].into_iter().zip(partial) {
                // SAFETY: the buffer is aligned and whole vectors long.
                unsafe {
                    S::run(|| {
                        for (index, target) in target.iter_mut().take(partial.len() / WIDTH).enumerate() {
                            *target += S::sum(S::load(partial.as_ptr().add(index * WIDTH)));
                        }
                    });
                }
            }
        }
    }
}

/// `[position][channel][vp][16]` to `[position][vp·16][channel padded]`.
#[inline(always)]
unsafe fn transpose_field<S: Lanes>(source: *const f32, target: *mut f32, positions: usize, co: usize, vp: usize) {
    let columns = padded(co);
    for position in 0..positions {
        for v in 0..vp {
            for block in (0..columns).step_by(WIDTH) {
                // SAFETY: passed on from the caller.
                unsafe {
                    let from = source.add(((position * co + block) * vp + v) * WIDTH);
                    let to = target.add((position * vp + v) * WIDTH * columns + block);
                    S::transpose(from, vp * WIDTH, to, columns);
                }
            }
        }
    }
}

/// target[c] += Σ over bands and lanes of `values`, `[band][channel][16]`.
///
/// # Safety
/// The machine has `S`; `values` holds all bands.
pub unsafe fn sum_lanes<S: Lanes>(values: &Buffer, bands: usize, channels: usize, target: &mut [f32]) {
    // SAFETY: passed on from the caller.
    unsafe {
        S::run(|| {
            for (c, target) in target.iter_mut().enumerate().take(channels) {
                let mut sum = S::zero();
                for band in 0..bands {
                    sum = S::add(sum, S::load(values[(band * channels + c) * WIDTH..].as_ptr()));
                }
                *target += S::sum(sum);
            }
        });
    }
}

/// target[c] += Σ over positions and lanes of `values`.
///
/// # Safety
/// The machine has `S`; `values` is aligned and holds `positions · channels`.
pub unsafe fn sum_channels<S: Lanes, const VP: usize>(
    values: *const f32,
    positions: usize,
    channels: usize,
    target: &mut [f32],
) {
    // SAFETY: passed on from the caller.
    unsafe {
        S::run(|| {
            for (c, target) in target.iter_mut().enumerate().take(channels) {
                let mut sum = S::zero();
                for position in 0..positions {
                    for v in 0..VP {
                        sum = S::add(sum, S::load(values.add(((position * channels + c) * VP + v) * WIDTH)));
                    }
                }
                *target += S::sum(sum);
            }
        });
    }
}
