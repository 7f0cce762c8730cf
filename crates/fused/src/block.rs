//! The micro-kernel behind applying a layer and its transpose: a register block of output channels.
//!
//! Output-stationary: a block of up to [`Lanes::BLOCK`] output channels stays in registers while the
//! sum runs over *segments*, one per tap (or row of taps), and in each segment over a list of live
//! input channels. One step loads the VP vectors of an input channel and multiplies them with one
//! broadcast weight per output. On AVX-512 that is 2 loads and 8 embedded broadcasts for 16
//! multiply–adds, so the two multiply–add ports, not the load ports, are the limit; there is no
//! im2col copy, and a dead input channel costs nothing because it is not in the list.
//!
//! What the lanes mean is the caller's business: images for clean and interval passes, rows (the
//! neurons being bounded) for back-substitution.

use crate::lanes::{Lanes, WIDTH};

/// One run of the sum: input channels at one place and the weights that belong to them.
#[derive(Clone, Copy)]
pub struct Segment {
    /// Vectors of channel 0 of the input, `[channel][VP][16]`.
    pub input: *const f32,
    /// Weights of channel 0, `[channel][stride]`.
    pub weight: *const f32,
    /// Channels to sum over.
    pub list: *const u16,
    /// How many of them have all VP vectors.
    pub full: usize,
    /// How many after those have only the first vector (the others are zero).
    pub first_only: usize,
}

/// Where the outputs go.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Output memory.
    pub output: *mut f32,
    /// Indices of the outputs, into the weights' rows and into `offsets`.
    pub outputs: &'a [u16],
    /// Place of each output in the output memory.
    pub offsets: &'a [u32],
}

/// output[o] = (ADD ? output[o] : 0) + Σ over segments of input · weight[o], for all outputs of the target.
///
/// # Safety
/// The machine has `S`; all pointers reach as far as the lists and `stride` say; vectors are aligned.
#[inline]
pub unsafe fn gather<S: Lanes, const VP: usize, const ADD: bool>(
    segments: &[Segment],
    stride: usize,
    target: Target<'_>,
) {
    let count = target.outputs.len();
    if count == 0 {
        return;
    }
    // Balanced blocks: 10 outputs as 5 + 5, because a block of 2 would leave the pipeline idle.
    let blocks = count.div_ceil(S::BLOCK[VP - 1]);
    let (size, larger) = (count / blocks, count % blocks);
    let mut start = 0;
    for block in 0..blocks {
        let n = size + usize::from(block < larger);
        let outputs = &target.outputs[start..start + n];
        let contiguous = outputs.iter().enumerate().all(|(b, &o)| usize::from(o) == usize::from(outputs[0]) + b);
        macro_rules! dispatch {
            ($($n:literal)*) => {
                match (n, contiguous) {
                    $(($n, true) => run_block::<S, $n, VP, ADD, true>(segments, stride, outputs, target),
                      ($n, false) => run_block::<S, $n, VP, ADD, false>(segments, stride, outputs, target),)*
                    _ => unreachable!("blocks have at most 16 outputs"),
                }
            };
        }
        // SAFETY: passed on from the caller.
        unsafe {
            if VP == 2 {
                dispatch!(1 2 3 4 5 6 7 8 9 10 11 12 13)
            } else {
                dispatch!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
            }
        }
        start += n;
    }
}

#[inline(never)]
unsafe fn run_block<S: Lanes, const NB: usize, const VP: usize, const ADD: bool, const CONTIGUOUS: bool>(
    segments: &[Segment],
    stride: usize,
    outputs: &[u16],
    target: Target<'_>,
) {
    // SAFETY: the caller of `gather` vouches for the machine and the memory.
    unsafe { S::run(|| block::<S, NB, VP, ADD, CONTIGUOUS>(segments, stride, outputs, target)) }
}

#[inline(always)]
unsafe fn block<S: Lanes, const NB: usize, const VP: usize, const ADD: bool, const CONTIGUOUS: bool>(
    segments: &[Segment],
    stride: usize,
    outputs: &[u16],
    target: Target<'_>,
) {
    // SAFETY: the caller of `gather` vouches for the machine and the memory.
    unsafe {
        let mut index = [0_usize; NB];
        let mut place = [std::ptr::null_mut::<f32>(); NB];
        for b in 0..NB {
            index[b] = usize::from(outputs[b]);
            place[b] = target.output.add(target.offsets[index[b]] as usize);
        }
        let mut sums = [[S::zero(); VP]; NB];
        if ADD {
            for b in 0..NB {
                for v in 0..VP {
                    sums[b][v] = S::load(place[b].add(v * WIDTH));
                }
            }
        }
        for segment in segments {
            let mut list = segment.list;
            let weight = if CONTIGUOUS { segment.weight.add(index[0]) } else { segment.weight };
            for _ in 0..segment.full {
                let channel = usize::from(*list);
                list = list.add(1);
                let input = segment.input.add(channel * VP * WIDTH);
                let row = weight.add(channel * stride);
                let mut values = [S::zero(); VP];
                for v in 0..VP {
                    values[v] = S::load(input.add(v * WIDTH));
                }
                for b in 0..NB {
                    let w = S::splat(*row.add(if CONTIGUOUS { b } else { index[b] }));
                    for v in 0..VP {
                        sums[b][v] = S::fma(values[v], w, sums[b][v]);
                    }
                }
            }
            for _ in 0..segment.first_only {
                let channel = usize::from(*list);
                list = list.add(1);
                let value = S::load(segment.input.add(channel * VP * WIDTH));
                let row = weight.add(channel * stride);
                for b in 0..NB {
                    let w = S::splat(*row.add(if CONTIGUOUS { b } else { index[b] }));
                    sums[b][0] = S::fma(value, w, sums[b][0]);
                }
            }
        }
        for b in 0..NB {
            for v in 0..VP {
                S::store(place[b].add(v * WIDTH), sums[b][v]);
            }
        }
    }
}
