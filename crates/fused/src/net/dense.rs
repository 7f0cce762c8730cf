//! Large dense stages with images in lanes, on weights and gradients in θ's own order.
//!
//! A batch has few images for each weight of such a stage: packing the weights, and clearing, adding up and unpacking
//! their gradient, would cost more than the products. So all chunks of a batch pass together, the outputs divided
//! into tasks: each task streams its rows of θ once, and writes its part of the gradient once. |W| is taken on the way.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use crate::kernels::product::{Finish, Maps, Strides, WeightSource, WindowAt, blocks, product};
use crate::net::plan::{Grid, Plan, Stage};
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, WIDTH};

/// Fewest weights for which this pays.
const WEIGHTS: usize = 1 << 16;

/// Tasks that a stage's outputs are divided into.
const TASKS: usize = 16;

/// Vectors of inputs per panel of the gradient's first factor.
const PANEL: usize = 4;

/// Blocks of outputs that pass over the inputs together in the gradient: so few that their rows' pages stay known to the
/// processor, so many that a panel of inputs, which a large batch leaves to outer caches, serves several.
const GROUP: usize = 4;

/// True if stage `index` is one of these: dense, hidden, not the first, and no affine layer scales its weights.
pub fn covers(plan: &Plan, index: usize) -> bool {
    let stage = &plan.stages[index];
    let whole = stage.output.positions() == 1 && stage.kernel == [stage.input.h, stage.input.w] && stage.pad == [0, 0];
    let inner = !stage.first && index < plan.hidden() && stage.folds.is_empty();
    whole && inner && stage.input.len().is_multiple_of(WIDTH) && stage.input.len() * stage.output.c >= WEIGHTS
}

/// Weights `[output][next]`: outputs are rows; the second plane is |W|.
#[derive(Clone, Copy)]
struct Rows {
    data: *const f32,
    next: usize,
}

/// Weights `[row][next]`: outputs are neighbours; the second plane is |W|.
#[derive(Clone, Copy)]
pub struct Columns {
    pub data: *const f32,
    pub next: usize,
}

// SAFETY: only read, while the weights are borrowed.
unsafe impl Send for Rows {}
unsafe impl Sync for Rows {}
unsafe impl Send for Columns {}
unsafe impl Sync for Columns {}

/// A weight for every one of G planes from `FIRST` on.
#[inline(always)]
unsafe fn planes<S: Lanes, const FIRST: usize, const G: usize>(weight: *const f32) -> [S::V; G] {
    // SAFETY: the caller's weight exists.
    unsafe {
        let weight = S::splat(*weight);
        let mut planes = [weight; G];
        if FIRST + G == 2 {
            planes[G - 1] = S::abs(weight);
        }
        planes
    }
}

impl<S: Lanes, const P: usize> WeightSource<S, P> for Rows {
    #[inline(always)]
    unsafe fn from(self, first: usize) -> Self {
        // SAFETY: the caller's outputs exist.
        Rows { data: unsafe { self.data.add(first * self.next) }, ..self }
    }
    #[inline(always)]
    unsafe fn get<const FIRST: usize, const G: usize, const NB: usize>(self, row: isize, b: usize) -> [S::V; G] {
        // SAFETY: row and output exist.
        unsafe { planes::<S, FIRST, G>(self.data.offset(row).add(b * self.next)) }
    }
}

impl<S: Lanes, const P: usize> WeightSource<S, P> for Columns {
    #[inline(always)]
    unsafe fn from(self, first: usize) -> Self {
        // SAFETY: the caller's outputs exist.
        Columns { data: unsafe { self.data.add(first) }, ..self }
    }
    #[inline(always)]
    unsafe fn get<const FIRST: usize, const G: usize, const NB: usize>(self, row: isize, b: usize) -> [S::V; G] {
        // SAFETY: row and output exist.
        unsafe { planes::<S, FIRST, G>(self.data.offset(row * self.next as isize).add(b)) }
    }
}

/// A finish for inputs in θ's order, channel by channel.
#[derive(Clone, Copy)]
struct ByChannel<F> {
    finish: F,
    positions: usize,
}

impl<S: Lanes, F: Finish<S, P, VP>, const P: usize, const VP: usize> Finish<S, P, VP> for ByChannel<F> {
    #[inline(always)]
    unsafe fn finish(self, _: usize, input: usize, sums: [[S::V; VP]; P]) {
        // SAFETY: passed on from the caller.
        unsafe { self.finish.finish(input % self.positions, input / self.positions, sums) }
    }
}

/// The stage over all chunks.
///
/// # Safety
/// The machine has `S`; inputs and what `finish` writes to hold the stage's maps.
pub unsafe fn apply<S: Lanes, F: Finish<S, P, VP>, const P: usize, const VP: usize>(
    stage: &Stage,
    weights: &[f32],
    chunks: &[Maps<F, P>],
) {
    let Grid { c, .. } = stage.input;
    let (n, positions, vector) = (stage.input.len(), stage.input.positions(), VP * WIDTH);
    let strides = Strides { input: [vector, 0, c * vector], weight: [positions as isize, 0, 1] };
    let place = WindowAt { count: [c, 1, positions], input: 0, weight: 0, position: 0 };
    each_task(stage.output.c, |outputs| {
        let weights = Rows { data: weights.as_ptr(), next: n };
        for chunk in chunks {
            // SAFETY: the window is the whole input.
            unsafe {
                let range = [outputs.start, outputs.len()];
                product::<S, _, _, P, VP>(&strides, &[place], chunk.inputs, weights, range, chunk.finish);
            }
        }
    });
}

/// The stage's transpose over all chunks.
///
/// # Safety
/// As [`apply`], with `inputs` on the stage's outputs and `finish` for its inputs.
pub unsafe fn transpose<S: Lanes, F: Finish<S, P, VP>, const P: usize, const VP: usize>(
    stage: &Stage,
    weights: &[f32],
    chunks: &[Maps<F, P>],
) {
    let (n, positions) = (stage.input.len(), stage.input.positions());
    let strides = Strides { input: [0, 0, VP * WIDTH], weight: [0, 0, 1] };
    let place = WindowAt { count: [1, 1, stage.output.c], input: 0, weight: 0, position: 0 };
    // Tasks take whole channels, so that sums over positions belong to one task.
    each_task(stage.input.c, |channels| {
        let weights = Columns { data: weights.as_ptr(), next: n };
        for chunk in chunks {
            let finish = ByChannel { finish: chunk.finish, positions };
            // SAFETY: the window is the whole output.
            unsafe {
                let range = [channels.start * positions, channels.len() * positions];
                product::<S, _, _, P, VP>(&strides, &[place], chunk.inputs, weights, range, finish);
            }
        }
    });
}

fn each_task(outputs: usize, work: impl Fn(Range<usize>) + Sync) {
    let tasks = TASKS.min(outputs);
    (0..tasks).into_par_iter().for_each(|task| work(task * outputs / tasks..(task + 1) * outputs / tasks));
}

/// A pointer that tasks share; each writes to a part of its own.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: see above.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    /// The pointer; a method, so that closures capture the whole.
    fn get(self) -> *mut f32 {
        self.0
    }
}

/// One term of a gradient: inputs and output cotangents of some images, `[position][channel][lanes]`, zero where nothing
/// shall be added.
#[derive(Clone, Copy)]
pub struct Factors {
    pub inputs: *const f32,
    pub cotangents: *const f32,
    /// Values per element, whole vectors.
    pub lanes: usize,
}

// SAFETY: only read, while the maps are borrowed.
unsafe impl Send for Factors {}
unsafe impl Sync for Factors {}

impl Factors {
    /// True if some cotangent of an output is not 0.
    unsafe fn reach(self, output: usize) -> bool {
        // SAFETY: the caller's map holds the output.
        let row = unsafe { std::slice::from_raw_parts(self.cotangents.add(output * self.lanes), self.lanes) };
        row.iter().any(|&g| g != 0.0)
    }
}

/// Writes the gradient of the weights, all of it: Σ over terms and lanes of output cotangent ⊗ input, in θ's order: the sum over
/// `absolute` times the signs of the weights, plus that over `signed`. An output without cotangents costs nothing.
///
/// # Safety
/// The machine has `S`; the maps hold the stage's inputs and outputs.
pub unsafe fn gradient<S: Lanes>(
    stage: &Stage,
    weights: &[f32],
    [absolute, signed]: [&[Factors]; 2],
    panels: &mut Buffer,
    gradient: &mut [MaybeUninit<f32>],
) {
    let (n, vectors) = (stage.input.len(), stage.input.len() / WIDTH);
    let steps: usize = absolute.iter().chain(signed).map(|term| term.lanes).sum();
    let panels = Shared(panels.at_least(vectors.div_ceil(PANEL) * PANEL * steps * WIDTH).as_mut_ptr());
    let place = |vector: usize, step: usize| ((vector / PANEL * steps + step) * PANEL + vector % PANEL) * WIDTH;
    (0..vectors).into_par_iter().for_each(|vector| {
        let mut step = 0;
        for term in absolute.iter().chain(signed) {
            for v in (0..term.lanes).step_by(WIDTH) {
                // SAFETY: the map holds the elements, the panels every step.
                unsafe {
                    let (from, to) = (term.inputs.add(v), panels.get().add(place(vector, step + v)));
                    S::run(|| transpose_elements::<S>(stage.input, vector, from, term.lanes, to));
                }
            }
            step += term.lanes;
        }
    });
    // SAFETY: the maps hold the outputs.
    let reached = |output: &usize| absolute.iter().chain(signed).any(|term| unsafe { term.reach(*output) });
    let (outputs, others): (Vec<usize>, Vec<usize>) = (0..stage.output.c).into_par_iter().partition(reached);
    others.into_iter().for_each(|output| gradient[output * n..(output + 1) * n].fill(MaybeUninit::new(0.0)));
    let gradient = Shared(gradient.as_mut_ptr().cast());
    let [wide, high] = block_size::<S>();
    let mut rest = &outputs[..];
    let blocks: Vec<&[usize]> =
        blocks(outputs.len(), high).map(|count| rest.split_off(..count).expect("blocks divide the outputs")).collect();
    let across = vectors.div_ceil(PANEL);
    let groups: Vec<_> = blocks.chunks(GROUP).collect();
    (0..groups.len() * across).into_par_iter().for_each(|task| {
        let (group, panel) = (groups[task / across], task % across);
        for outputs in group {
            let mut vector = panel * PANEL;
            while vector < vectors.min((panel + 1) * PANEL) {
                let width = wide.min(vectors - vector);
                let at = vector * WIDTH;
                // SAFETY: the block lies in weights and gradient.
                unsafe {
                    let left = panels.get().add(place(vector, 0));
                    let (weights, target) = (weights.as_ptr().add(at), gradient.get().add(at));
                    let block = Block { left, weights, target, next: n, outputs, absolute, signed };
                    block.dispatch::<S>(width);
                }
                vector += width;
            }
        }
    });
}

/// Sixteen inputs in θ's order, `[channel][position]`, from `[position][channel][lanes]` to `[image][PANEL][16]`.
#[inline(always)]
unsafe fn transpose_elements<S: Lanes>(grid: Grid, vector: usize, from: *const f32, lanes: usize, to: *mut f32) {
    let mut tile = [0.0; WIDTH * WIDTH];
    // SAFETY: the caller's map holds the elements.
    unsafe {
        for e in 0..WIDTH {
            let element = vector * WIDTH + e;
            let place = element % grid.positions() * grid.c + element / grid.positions();
            S::store_any(tile.as_mut_ptr().add(e * WIDTH), S::load(from.add(place * lanes)));
        }
        S::transpose(tile.as_ptr(), WIDTH, to, PANEL * WIDTH);
    }
}

/// Most vectors of inputs and most outputs of a [`Block`].
const fn block_size<S: Lanes>() -> [usize; 2] {
    if S::BLOCK[1] >= 8 { [PANEL, 6] } else { [1, 4] }
}

/// A register block of the gradient: some outputs times some vectors of inputs.
struct Block<'a> {
    /// First vector of the first step in the panels.
    left: *const f32,
    weights: *const f32,
    target: *mut f32,
    /// From one output to the next in weights and target.
    next: usize,
    outputs: &'a [usize],
    absolute: &'a [Factors],
    signed: &'a [Factors],
}

impl Block<'_> {
    unsafe fn dispatch<S: Lanes>(&self, width: usize) {
        macro_rules! sizes {
            ($($ni:literal: $($nj:literal)*;)*) => {
                match (width, self.outputs.len()) {
                    $($(($ni, $nj) => self.run::<S, $ni, $nj>(),)*)*
                    _ => unreachable!("blocks have at most four vectors and six outputs"),
                }
            };
        }
        // SAFETY: passed on from the caller.
        unsafe { sizes!(1: 1 2 3 4 5 6; 2: 1 2 3 4 5 6; 3: 1 2 3 4 5 6; 4: 1 2 3 4 5 6;) }
    }

    #[inline(never)]
    unsafe fn run<S: Lanes, const NI: usize, const NJ: usize>(&self) {
        if NI > const { block_size::<S>()[0] } || NJ > const { block_size::<S>()[1] } {
            // Nothing to compile for instruction sets with smaller blocks.
            unreachable!("blocks fit the register file");
        }
        // SAFETY: the caller of `gradient` vouches for machine and maps.
        unsafe { S::run(|| self.block::<S, NI, NJ>()) }
    }

    #[inline(always)]
    unsafe fn block<S: Lanes, const NI: usize, const NJ: usize>(&self) {
        // SAFETY: as above.
        unsafe {
            // Rows lie pages apart, where the processor foresees nothing: what the block ends with is asked for as it begins.
            for j in 0..NJ {
                let row = *self.outputs.get_unchecked(j) * self.next;
                for i in 0..NI {
                    S::prefetch(self.target.add(row + i * WIDTH));
                    if !self.absolute.is_empty() {
                        S::prefetch(self.weights.add(row + i * WIDTH));
                    }
                }
            }
            let mut sums = [[S::zero(); NI]; NJ];
            let mut left = self.left;
            for (part, terms) in [self.absolute, self.signed].into_iter().enumerate() {
                for term in terms {
                    let mut rights = [term.cotangents; NJ];
                    for j in 0..NJ {
                        rights[j] = term.cotangents.add(*self.outputs.get_unchecked(j) * term.lanes);
                    }
                    for lane in 0..term.lanes {
                        let mut values = [S::zero(); NI];
                        for i in 0..NI {
                            values[i] = S::load(left.add(i * WIDTH));
                        }
                        for j in 0..NJ {
                            let factor = S::splat(*rights[j].add(lane));
                            for i in 0..NI {
                                sums[j][i] = S::fma(values[i], factor, sums[j][i]);
                            }
                        }
                        left = left.add(PANEL * WIDTH);
                    }
                }
                if part == 0 && !terms.is_empty() {
                    for j in 0..NJ {
                        let row = self.weights.add(*self.outputs.get_unchecked(j) * self.next);
                        for i in 0..NI {
                            sums[j][i] = S::signed_by(S::load_any(row.add(i * WIDTH)), sums[j][i]);
                        }
                    }
                }
            }
            for j in 0..NJ {
                let row = self.target.add(*self.outputs.get_unchecked(j) * self.next);
                for i in 0..NI {
                    S::store_any(row.add(i * WIDTH), sums[j][i]);
                }
            }
        }
    }
}
