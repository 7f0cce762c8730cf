//! The micro-kernel of whole layers with images in lanes: every input channel, in constant strides, without lists.
//!
//! As in [`crate::kernels::gather`], a block of outputs stays in registers while the sum runs over a window. Here there
//! are P *planes*, each with an input and weights of its own: one for points, two for centre and radius of intervals.
//! With thirty-two images they are summed one after the other, so that the window of one plane fits the first-level
//! cache; with sixteen together, so that a step has enough to do. A block takes a row of positions, so that its weights
//! stay in that cache. What becomes of a finished sum (bias, ReLU, the adjoint of both) is computed while it is in
//! registers, so that no map is read and written again for it.

use crate::simd::lanes::{Lanes, WIDTH};

/// Strides of a window, outer loops first: in f32 for inputs, in rows for weights.
#[derive(Clone, Copy)]
pub struct Strides {
    pub input: [usize; 3],
    pub weight: [isize; 3],
}

/// The window of one position.
#[derive(Clone, Copy)]
pub struct WindowAt {
    pub count: [usize; 3],
    /// Where it starts in the input.
    pub input: usize,
    /// Where it starts among the rows of the weights.
    pub weight: usize,
    /// Number of the position.
    pub position: usize,
}

/// Where the weights of an output are found.
pub trait WeightSource<S: Lanes, const P: usize>: Copy + Send + Sync {
    /// The same weights from output `first` on.
    unsafe fn from(self, first: usize) -> Self;
    /// The weights of output `b` in a block of `NB` for G planes from `FIRST` on, in all lanes.
    unsafe fn get<const FIRST: usize, const G: usize, const NB: usize>(self, row: isize, b: usize) -> [S::V; G];
}

/// Planes that are summed at once.
const fn together(planes: usize, vectors: usize) -> usize {
    if vectors == 1 { planes } else { 1 }
}

/// Most outputs of a block.
const fn most<S: Lanes>(planes: usize, vectors: usize) -> usize {
    S::BLOCK[together(planes, vectors) * vectors / 2]
}

/// What the layout of [`Panels`] depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Planes of the weights: 1 for points, 2 (W and |W|) for intervals.
    pub planes: usize,
    /// Those that are summed at once.
    pub together: usize,
    /// Most outputs of a block.
    pub most: usize,
}

impl Shape {
    /// For so many planes, and vectors of images.
    pub fn of<S: Lanes>(planes: usize, vectors: usize) -> Self {
        Shape { planes, together: together(planes, vectors), most: most::<S>(planes, vectors) }
    }
}

/// Weights in panels: block by block of outputs `[group of planes summed at once][row][plane][output]`.
#[derive(Clone, Copy)]
pub struct Panels {
    pub data: *const f32,
    pub rows: usize,
}

// SAFETY: only read, while the weights are borrowed.
unsafe impl Send for Panels {}
unsafe impl Sync for Panels {}

impl<S: Lanes, const P: usize> WeightSource<S, P> for Panels {
    #[inline(always)]
    unsafe fn from(self, first: usize) -> Self {
        // SAFETY: the blocks before hold that many weights.
        Panels { data: unsafe { self.data.add(first * P * self.rows) }, ..self }
    }
    #[inline(always)]
    unsafe fn get<const FIRST: usize, const G: usize, const NB: usize>(self, row: isize, b: usize) -> [S::V; G] {
        // SAFETY: the row lies in the panel.
        unsafe {
            let row = self.data.add(FIRST * self.rows * NB).offset(row * (G * NB) as isize);
            let mut weights = [S::zero(); G];
            for g in 0..G {
                weights[g] = S::splat(*row.add(g * NB + b));
            }
            weights
        }
    }
}

/// Sizes of the blocks that `count` outputs are divided into, at most `most` each: 14 as 7 + 7, because a block of 1
/// would leave the pipeline idle.
pub fn blocks(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let blocks = count.div_ceil(most);
    (0..blocks).map(move |block| count / blocks + usize::from(block < count % blocks))
}

/// What becomes of an output's finished sums.
pub trait Finish<S: Lanes, const P: usize, const VP: usize>: Copy {
    /// Takes the sums of `output` at `position`.
    unsafe fn finish(self, position: usize, output: usize, sums: [[S::V; VP]; P]);
    /// The finish for one band of positions, where bands must not share memory.
    unsafe fn in_band(self, _band: usize) -> Self {
        self
    }
}

/// One chunk's share of a product: the planes' input maps and what becomes of the sums.
#[derive(Clone, Copy)]
pub struct Maps<F, const P: usize> {
    pub inputs: [*const f32; P],
    pub finish: F,
}

impl<F, const P: usize> Maps<F, P> {
    /// Both parts; a method, so that closures capture the whole.
    pub fn parts(self) -> ([*const f32; P], F) {
        (self.inputs, self.finish)
    }
}

// SAFETY: the maps outlive the product, and no two tasks write to the same place.
unsafe impl<F, const P: usize> Send for Maps<F, P> {}
unsafe impl<F, const P: usize> Sync for Maps<F, P> {}

/// Finishes Σ over the window of input · weight at all `places` for outputs `start .. start + count`, all planes.
///
/// # Safety
/// The machine has `S`; pointers reach as far as windows and outputs say; inputs are aligned.
pub unsafe fn product<S: Lanes, W: WeightSource<S, P>, F: Finish<S, P, VP>, const P: usize, const VP: usize>(
    strides: &Strides,
    places: &[WindowAt],
    inputs: [*const f32; P],
    weights: W,
    [start, count]: [usize; 2],
    finish: F,
) {
    const { assert!((P == 1 || P == 2) && (VP == 1 || VP == 2)) };
    let mut first = start;
    for n in blocks(count, most::<S>(P, VP)) {
        macro_rules! dispatch {
            ($g:tt: $($n:literal)*) => {
                match n {
                    $($n => run_block::<S, W, F, P, VP, $g, $n>(strides, places, inputs, weights, first, finish),)*
                    _ => unreachable!("blocks have at most 16 outputs"),
                }
            };
        }
        // SAFETY: passed on from the caller.
        unsafe {
            match (P, VP) {
                (1, 1) => dispatch!(P: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
                (_, 1) => dispatch!(P: 1 2 3 4 5 6 7 8 9 10 11 12 13),
                _ => dispatch!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13),
            }
        }
        first += n;
    }
}

#[inline(never)]
unsafe fn run_block<
    S: Lanes,
    W: WeightSource<S, P>,
    F: Finish<S, P, VP>,
    const P: usize,
    const VP: usize,
    const G: usize,
    const NB: usize,
>(
    strides: &Strides,
    places: &[WindowAt],
    inputs: [*const f32; P],
    weights: W,
    first: usize,
    finish: F,
) {
    if NB > most::<S>(P, VP) || G != together(P, VP) {
        // Nothing to compile for instruction sets with smaller blocks.
        unreachable!("blocks fit the register file");
    }
    // SAFETY: the caller of `product` vouches for the machine and the memory.
    unsafe {
        S::run(|| {
            let weights = weights.from(first);
            for place in places {
                let group = window::<S, W, P, VP, G, NB, 0>(strides, place, inputs, weights);
                let mut sums = [[[S::zero(); VP]; P]; NB];
                for b in 0..NB {
                    sums[b][..G].copy_from_slice(&group[b]);
                }
                if G < P {
                    let group = window::<S, W, P, VP, G, NB, 1>(strides, place, inputs, weights);
                    for b in 0..NB {
                        sums[b][G..].copy_from_slice(&group[b]);
                    }
                }
                for b in 0..NB {
                    finish.finish(place.position, first + b, sums[b]);
                }
            }
        });
    }
}

/// Σ over the window of G planes from `FIRST` on.
#[inline(always)]
unsafe fn window<
    S: Lanes,
    W: WeightSource<S, P>,
    const P: usize,
    const VP: usize,
    const G: usize,
    const NB: usize,
    const FIRST: usize,
>(
    strides: &Strides,
    place: &WindowAt,
    inputs: [*const f32; P],
    weights: W,
) -> [[[S::V; VP]; G]; NB] {
    // SAFETY: the caller of `product` vouches for the machine and the memory.
    unsafe {
        let mut sums = [[[S::zero(); VP]; G]; NB];
        for y in 0..place.count[0] {
            for x in 0..place.count[1] {
                let mut from = place.input + y * strides.input[0] + x * strides.input[1];
                let mut row = place.weight as isize + y as isize * strides.weight[0] + x as isize * strides.weight[1];
                for _ in 0..place.count[2] {
                    let mut values = [[S::zero(); VP]; G];
                    for g in 0..G {
                        for v in 0..VP {
                            values[g][v] = S::load(inputs[FIRST + g].add(from + v * WIDTH));
                        }
                    }
                    for b in 0..NB {
                        let weights = weights.get::<FIRST, G, NB>(row, b);
                        for g in 0..G {
                            for v in 0..VP {
                                sums[b][g][v] = S::fma(values[g][v], weights[g], sums[b][g][v]);
                            }
                        }
                    }
                    from += strides.input[2];
                    row += strides.weight[2];
                }
            }
        }
        sums
    }
}
