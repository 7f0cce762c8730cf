//! The micro-kernel of whole layers with images in lanes: every input channel, in constant strides, without lists.
//!
//! As in [`crate::block`], a block of outputs stays in registers while the sum runs over a window. Here one step
//! serves P *planes* at once, each with an input and weights of its own: one for points, two for centre and radius
//! of intervals. What becomes of a finished sum (bias, ReLU, the adjoint of both) is computed while it is in
//! registers, so that no map is read and written again for it.

use crate::lanes::{Lanes, WIDTH};

/// What a sum runs over, outer loops first; strides in f32.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub count: [usize; 3],
    pub input: [usize; 3],
    pub weight: [isize; 3],
}

/// Where the weights of an output are found.
pub trait Weights<S: Lanes, const P: usize>: Copy {
    /// The same weights from output `first` on.
    unsafe fn from(self, first: usize) -> Self;
    /// The planes' weights of output `b`, `at` being the place in the window, in all lanes.
    unsafe fn get(self, at: isize, b: usize) -> [S::V; P];
}

/// Weights packed with outputs next to each other, plane by plane.
#[derive(Clone, Copy)]
pub struct Packed<const P: usize>(pub [*const f32; P]);

impl<S: Lanes, const P: usize> Weights<S, P> for Packed<P> {
    #[inline(always)]
    unsafe fn from(self, first: usize) -> Self {
        // SAFETY: the caller's outputs lie in the weights.
        Packed(self.0.map(|plane| unsafe { plane.add(first) }))
    }
    #[inline(always)]
    unsafe fn get(self, at: isize, b: usize) -> [S::V; P] {
        let mut weights = [unsafe { S::zero() }; P];
        for p in 0..P {
            // SAFETY: as above.
            weights[p] = unsafe { S::splat(*self.0[p].offset(at).add(b)) };
        }
        weights
    }
}

/// What becomes of an output's finished sums.
pub trait Finish<S: Lanes, const P: usize, const VP: usize>: Copy {
    /// Takes the sums of `output`.
    unsafe fn finish(self, output: usize, sums: [[S::V; VP]; P]);
}

/// Finishes Σ over the span of input · weight for outputs `start .. start + count`, all planes.
///
/// # Safety
/// The machine has `S`; pointers reach as far as span and outputs say; inputs are aligned.
#[inline]
pub unsafe fn product<S: Lanes, W: Weights<S, P>, F: Finish<S, P, VP>, const P: usize, const VP: usize>(
    span: &Span,
    inputs: [*const f32; P],
    weights: W,
    [start, count]: [usize; 2],
    finish: F,
) {
    const { assert!(P * VP == 1 || P * VP == 2 || P * VP == 4) };
    // Balanced blocks: 14 outputs as 7 + 7, because a block of 1 would leave the pipeline idle.
    let blocks = count.div_ceil(S::BLOCK[P * VP / 2]);
    let mut first = start;
    for block in 0..blocks {
        let n = count / blocks + usize::from(block < count % blocks);
        macro_rules! dispatch {
            ($($n:literal)*) => {
                match n {
                    $($n => run_block::<S, W, F, P, VP, $n>(span, inputs, weights, first, finish),)*
                    _ => unreachable!("blocks have at most 16 outputs"),
                }
            };
        }
        // SAFETY: passed on from the caller.
        unsafe {
            match P * VP {
                1 => dispatch!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
                2 => dispatch!(1 2 3 4 5 6 7 8 9 10 11 12 13),
                _ => dispatch!(1 2 3 4 5 6),
            }
        }
        first += n;
    }
}

#[inline(never)]
unsafe fn run_block<
    S: Lanes,
    W: Weights<S, P>,
    F: Finish<S, P, VP>,
    const P: usize,
    const VP: usize,
    const NB: usize,
>(
    span: &Span,
    inputs: [*const f32; P],
    weights: W,
    first: usize,
    finish: F,
) {
    // SAFETY: the caller of `product` vouches for the machine and the memory.
    unsafe { S::run(|| block::<S, W, F, P, VP, NB>(span, inputs, weights, first, finish)) }
}

#[inline(always)]
unsafe fn block<S: Lanes, W: Weights<S, P>, F: Finish<S, P, VP>, const P: usize, const VP: usize, const NB: usize>(
    span: &Span,
    inputs: [*const f32; P],
    weights: W,
    first: usize,
    finish: F,
) {
    // SAFETY: the caller of `product` vouches for the machine and the memory.
    unsafe {
        let weights = weights.from(first);
        let mut sums = [[[S::zero(); VP]; P]; NB];
        for y in 0..span.count[0] {
            for x in 0..span.count[1] {
                let mut from = y * span.input[0] + x * span.input[1];
                let mut at = y as isize * span.weight[0] + x as isize * span.weight[1];
                for _ in 0..span.count[2] {
                    let mut values = [[S::zero(); VP]; P];
                    for p in 0..P {
                        for v in 0..VP {
                            values[p][v] = S::load(inputs[p].add(from + v * WIDTH));
                        }
                    }
                    for b in 0..NB {
                        let w = weights.get(at, b);
                        for p in 0..P {
                            for v in 0..VP {
                                sums[b][p][v] = S::fma(values[p][v], w[p], sums[b][p][v]);
                            }
                        }
                    }
                    from += span.input[2];
                    at += span.weight[2];
                }
            }
        }
        for b in 0..NB {
            finish.finish(first + b, sums[b]);
        }
    }
}
