//! The micro-kernel behind applying a layer and its transpose: a register block of output channels.
//!
//! Output-stationary: a block of up to [`Lanes::BLOCK`] output channels stays in registers while the
//! sum runs over *segments*, one per tap (or row of taps), and in each segment over a list of live
//! input channels. One step loads the VP vectors of an input channel and multiplies them with one
//! broadcast weight per output. On AVX-512 with two vectors that is 2 loads and 12 embedded broadcasts
//! for 24 multiply–adds, few enough to keep most of the multiply–adds' rate (`measure peak` tells how
//! much); there is no im2col copy, and a dead input channel costs nothing because it is not in the list.
//!
//! What the lanes mean is the caller's business: images for clean and interval passes, rows (the
//! neurons being bounded) for back-substitution.

use crate::simd::lanes::{Lanes, Task, WIDTH};

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
    /// How many after those have only the first half of their vectors (the others are zero).
    pub half: usize,
}

/// Which outputs are computed, and where they go.
#[derive(Clone, Copy)]
pub enum Outputs<'a> {
    /// Outputs 0, 1, … below a count, one after the other: `[channel][VP][16]`.
    All(usize),
    /// The listed ones, in the same layout.
    Listed(&'a [u16]),
    /// All taps of a patch, added to what is there; the offset of each from the patch's corner.
    Patch(&'a [u32]),
}

/// How a block of outputs is addressed; one monomorphic kernel for each.
pub trait Addressing: Copy {
    /// True if output b of a block is weight b of its row.
    const CONTIGUOUS: bool = true;
    /// True if sums are added to the memory.
    const ADD: bool = false;
    /// Most outputs of a block for one, two, four and five vectors per output.
    fn most<S: Lanes>() -> [usize; 4] {
        S::BLOCK
    }
    /// The same, `outputs` further on.
    unsafe fn skip(self, outputs: usize) -> Self;
    /// Index of output b among the weights of a row, relative to the block's first if contiguous.
    #[inline(always)]
    unsafe fn index(self, b: usize) -> usize {
        b
    }
    /// First index, if contiguous.
    fn first(self) -> usize;
    /// Place of output b, `pitch` being the vectors per channel.
    unsafe fn place(self, b: usize, pitch: usize) -> usize;
}

#[derive(Clone, Copy)]
struct Run(usize);

#[derive(Clone, Copy)]
struct PickedOutputs(*const u16);

/// Listed outputs whose weights are rows, so far apart.
#[derive(Clone, Copy)]
struct PickedRows(*const u16, usize);

#[derive(Clone, Copy)]
struct Scattered(usize, *const u32);

impl Addressing for Run {
    #[inline(always)]
    unsafe fn skip(self, outputs: usize) -> Self {
        Run(self.0 + outputs)
    }
    #[inline(always)]
    fn first(self) -> usize {
        self.0
    }
    #[inline(always)]
    unsafe fn place(self, b: usize, pitch: usize) -> usize {
        (self.0 + b) * pitch * WIDTH
    }
}

impl Addressing for PickedOutputs {
    const CONTIGUOUS: bool = false;
    fn most<S: Lanes>() -> [usize; 4] {
        S::PICKED
    }
    #[inline(always)]
    unsafe fn skip(self, outputs: usize) -> Self {
        // SAFETY: the list has the outputs that are skipped.
        PickedOutputs(unsafe { self.0.add(outputs) })
    }
    #[inline(always)]
    unsafe fn index(self, b: usize) -> usize {
        // SAFETY: the list has at least the block's entries.
        usize::from(unsafe { *self.0.add(b) })
    }
    #[inline(always)]
    fn first(self) -> usize {
        0
    }
    #[inline(always)]
    unsafe fn place(self, b: usize, pitch: usize) -> usize {
        // SAFETY: as above.
        unsafe { self.index(b) * pitch * WIDTH }
    }
}

impl Addressing for PickedRows {
    const CONTIGUOUS: bool = false;
    fn most<S: Lanes>() -> [usize; 4] {
        S::PICKED
    }
    #[inline(always)]
    unsafe fn skip(self, outputs: usize) -> Self {
        // SAFETY: the list has the outputs that are skipped.
        PickedRows(unsafe { self.0.add(outputs) }, self.1)
    }
    #[inline(always)]
    unsafe fn index(self, b: usize) -> usize {
        // SAFETY: the list has at least the block's entries.
        usize::from(unsafe { *self.0.add(b) }) * self.1
    }
    #[inline(always)]
    fn first(self) -> usize {
        0
    }
    #[inline(always)]
    unsafe fn place(self, b: usize, pitch: usize) -> usize {
        // SAFETY: as above.
        usize::from(unsafe { *self.0.add(b) }) * pitch * WIDTH
    }
}

impl Addressing for Scattered {
    const ADD: bool = true;
    #[inline(always)]
    unsafe fn skip(self, outputs: usize) -> Self {
        // SAFETY: the table has the outputs that are skipped.
        Scattered(self.0 + outputs, unsafe { self.1.add(outputs) })
    }
    #[inline(always)]
    fn first(self) -> usize {
        self.0
    }
    #[inline(always)]
    unsafe fn place(self, b: usize, _pitch: usize) -> usize {
        // SAFETY: the table has at least the block's entries.
        unsafe { *self.1.add(b) as usize }
    }
}

/// What a sum runs over.
pub trait Summands: Copy {
    /// Adds input · weight of the whole run to a block's sums; `stride` lies between the weights of two channels of a
    /// segment.
    unsafe fn add<S: Lanes, A: Addressing, const NB: usize, const VP: usize, const PITCH: usize>(
        self,
        stride: usize,
        at: A,
        index: &[usize; NB],
        sums: &mut [[S::V; VP]; NB],
    );
}

impl Summands for &[Segment] {
    #[inline(always)]
    unsafe fn add<S: Lanes, A: Addressing, const NB: usize, const VP: usize, const PITCH: usize>(
        self,
        stride: usize,
        at: A,
        index: &[usize; NB],
        sums: &mut [[S::V; VP]; NB],
    ) {
        for segment in self {
            // SAFETY: the caller of `gather` vouches for the memory.
            unsafe {
                let mut list = segment.list;
                let weight = segment.weight.add(at.first());
                let full = list.add(segment.full);
                while list != full {
                    let channel = usize::from(*list);
                    list = list.add(1);
                    let input = segment.input.add(channel * PITCH * WIDTH);
                    step::<S, A, NB, VP, false>(input, weight.add(channel * stride), index, sums);
                }
                if VP == 1 {
                    continue;
                }
                let half = list.add(segment.half);
                while list != half {
                    let channel = usize::from(*list);
                    list = list.add(1);
                    let input = segment.input.add(channel * PITCH * WIDTH);
                    step::<S, A, NB, VP, true>(input, weight.add(channel * stride), index, sums);
                }
            }
        }
    }
}

/// One step of a sum: where an input channel lies, in channels from the field's start, and its weights, in vectors from
/// theirs. Small, because tables of terms compete with the coefficients for the cache.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Term {
    pub input: u16,
    pub weight: u16,
}

impl Term {
    /// The term with this channel and these weights, unless they lie too far away for one.
    pub fn new(input: usize, weight: usize) -> Option<Self> {
        Some(Term { input: input.try_into().ok()?, weight: weight.try_into().ok()? })
    }

    /// The addresses, where channels have PITCH vectors.
    #[inline(always)]
    unsafe fn of<const PITCH: usize>(self, input: *const f32, weight: *const f32) -> [*const f32; 2] {
        // SAFETY: the caller's memory holds them.
        unsafe { [input.add(usize::from(self.input) * PITCH * WIDTH), weight.add(usize::from(self.weight) * WIDTH)] }
    }
}

/// A run without segments: one loop, whose end is the only branch that can be mispredicted.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    pub input: *const f32,
    pub weight: *const f32,
    /// Terms with all VP vectors, and those with only the first half.
    pub full: &'a [Term],
    pub half: &'a [Term],
}

impl Summands for Terms<'_> {
    #[inline(always)]
    unsafe fn add<S: Lanes, A: Addressing, const NB: usize, const VP: usize, const PITCH: usize>(
        self,
        _stride: usize,
        at: A,
        index: &[usize; NB],
        sums: &mut [[S::V; VP]; NB],
    ) {
        // SAFETY: the caller of `gather` vouches for the memory.
        unsafe {
            let weight = self.weight.add(at.first());
            for term in self.full {
                let [input, row] = term.of::<PITCH>(self.input, weight);
                step::<S, A, NB, VP, false>(input, row, index, sums);
            }
            if VP > 1 {
                for term in self.half {
                    let [input, row] = term.of::<PITCH>(self.input, weight);
                    step::<S, A, NB, VP, true>(input, row, index, sums);
                }
            }
        }
    }
}

/// Adds one channel's input · weight, of the first half of its vectors if `HALF`.
#[inline(always)]
unsafe fn step<S: Lanes, A: Addressing, const NB: usize, const VP: usize, const HALF: bool>(
    input: *const f32,
    row: *const f32,
    index: &[usize; NB],
    sums: &mut [[S::V; VP]; NB],
) {
    let vectors = if HALF { VP / 2 } else { VP };
    // SAFETY: the caller of `gather` vouches for the memory.
    unsafe {
        let mut values = [S::zero(); VP];
        for v in 0..vectors {
            values[v] = S::load(input.add(v * WIDTH));
        }
        for b in 0..NB {
            let w = S::splat(*row.add(if A::CONTIGUOUS { b } else { index[b] }));
            for v in 0..vectors {
                sums[b][v] = S::fma(values[v], w, sums[b][v]);
            }
        }
    }
}

/// output[o] (+)= Σ over segments of input · weight[o], for all of `outputs`.
///
/// # Safety
/// The machine has `S`; all pointers reach as far as the lists and `stride` say; vectors are aligned.
#[inline]
pub unsafe fn gather<S: Lanes, const VP: usize>(
    source: impl Summands,
    stride: usize,
    output: *mut f32,
    outputs: Outputs<'_>,
) {
    // SAFETY: passed on from the caller.
    unsafe { gather_part::<S, _, VP, VP>(source, stride, output, outputs) }
}

/// [`gather`] for the listed outputs where every output's weights are a row: those of a segment `[output][stride]`.
///
/// # Safety
/// As [`gather`].
#[inline]
pub unsafe fn gather_rows<S: Lanes, const VP: usize>(
    segments: &[Segment],
    stride: usize,
    output: *mut f32,
    outputs: &[u16],
) {
    // SAFETY: passed on from the caller.
    unsafe {
        blocks::<S, _, _, VP, VP>(outputs.len(), segments, 1, PickedRows(outputs.as_ptr(), stride), output);
    }
}

/// [`gather`] for the first VP of PITCH vectors that each channel has, on both sides.
///
/// # Safety
/// As [`gather`].
#[inline]
pub unsafe fn gather_part<S: Lanes, C: Summands, const VP: usize, const PITCH: usize>(
    source: C,
    stride: usize,
    output: *mut f32,
    outputs: Outputs<'_>,
) {
    const { assert!((VP == 1 || VP == 2 || VP == 4 || VP == 5) && PITCH.is_multiple_of(VP)) };
    // SAFETY: passed on from the caller.
    unsafe {
        match outputs {
            Outputs::All(count) => {
                blocks::<S, _, _, VP, PITCH>(count, source, stride, Run(0), output);
            }
            Outputs::Listed(list) => {
                let at = PickedOutputs(list.as_ptr());
                blocks::<S, _, _, VP, PITCH>(list.len(), source, stride, at, output);
            }
            Outputs::Patch(offsets) => {
                let at = Scattered(0, offsets.as_ptr());
                blocks::<S, _, _, VP, PITCH>(offsets.len(), source, stride, at, output);
            }
        }
    }
}

/// Where the tables of block sizes have so many vectors per output.
const fn size_class(vectors: usize) -> usize {
    match vectors {
        1 => 0,
        2 => 1,
        4 => 2,
        _ => 3,
    }
}

/// `count` outputs in balanced blocks: 10 as 5 + 5, because a block of 2 would leave the pipeline idle.
///
/// One call into code compiled with the machine's features for all blocks: a call costs as much as a channel or two.
#[inline(always)]
unsafe fn blocks<S: Lanes, C: Summands, A: Addressing, const VP: usize, const PITCH: usize>(
    count: usize,
    source: C,
    stride: usize,
    at: A,
    output: *mut f32,
) {
    if count == 0 {
        return;
    }
    let blocks = count.div_ceil(A::most::<S>()[size_class(VP)]);
    // SAFETY: the machine is the word of the caller of `gather`.
    unsafe {
        S::run_task(Blocks::<C, A, VP, PITCH> {
            blocks,
            size: count / blocks,
            larger: count % blocks,
            source,
            stride,
            at,
            output,
        });
    }
}

/// `blocks` blocks, of which the first `larger` have an output more than `size`.
struct Blocks<C, A, const VP: usize, const PITCH: usize> {
    blocks: usize,
    size: usize,
    larger: usize,
    source: C,
    stride: usize,
    at: A,
    output: *mut f32,
}

impl<C: Summands, A: Addressing, const VP: usize, const PITCH: usize> Task for Blocks<C, A, VP, PITCH> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let Blocks { blocks, size, larger, source, stride, mut at, output } = self;
        macro_rules! of_size {
            ($n:expr, $($size:literal)*) => {
                match $n {
                    // Nothing is compiled for sizes that an instruction set has no registers for.
                    $($size if $size <= A::most::<S>()[size_class(VP)] => {
                        block::<S, C, A, $size, VP, PITCH>(source, stride, at, output);
                    })*
                    _ => unreachable!("blocks have at most 16 outputs"),
                }
            };
        }
        for block in 0..blocks {
            let n = size + usize::from(block < larger);
            // SAFETY: the caller of `gather` vouches for the machine and the memory.
            unsafe {
                match VP {
                    1 => of_size!(n, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
                    2 => of_size!(n, 1 2 3 4 5 6 7 8 9 10 11 12 13),
                    4 => of_size!(n, 1 2 3 4 5 6),
                    _ => of_size!(n, 1 2 3 4 5),
                }
                at = at.skip(n);
            }
        }
    }
}

#[inline(always)]
unsafe fn block<S: Lanes, C: Summands, A: Addressing, const NB: usize, const VP: usize, const PITCH: usize>(
    source: C,
    stride: usize,
    at: A,
    output: *mut f32,
) {
    // SAFETY: the caller of `gather` vouches for the machine and the memory.
    unsafe {
        let mut index = [0_usize; NB];
        for b in 0..NB {
            index[b] = at.index(b);
        }
        let mut sums = [[S::zero(); VP]; NB];
        if A::ADD {
            for b in 0..NB {
                let place = output.add(at.place(b, PITCH));
                for v in 0..VP {
                    sums[b][v] = S::load(place.add(v * WIDTH));
                }
            }
        }
        source.add::<S, A, NB, VP, PITCH>(stride, at, &index, &mut sums);
        for b in 0..NB {
            let place = output.add(at.place(b, PITCH));
            for v in 0..VP {
                S::store(place.add(v * WIDTH), sums[b][v]);
            }
        }
    }
}
