//! Weights in the orders the kernels read them.

use rayon::prelude::*;
use tightrope_engine::{Final, Intermediate, Relaxation};
use tightrope_network::ParameterLayout;

use crate::kernels::product::{Shape, blocks};
use crate::net::dense;
use crate::net::fold::folded;
use crate::net::plan::{Plan, Stage};
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, WIDTH};

/// From so many weights on, a stage is copied by several threads.
pub const LARGE: usize = 1 << 16;

/// `n` rounded up to whole vectors.
pub fn padded(n: usize) -> usize {
    n.next_multiple_of(WIDTH)
}

/// Which copies of the weights a call needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Layouts {
    /// Stages with panels for images in lanes, but for those that [`dense`] covers if `whole`.
    pub stages: usize,
    /// True if the batch goes from stage to stage as a whole, large dense stages read in θ's own order.
    pub whole: bool,
    /// Their layout.
    pub panels: Shape,
    /// Panels of the transpose as well.
    pub adjoint: bool,
    /// For walks: every stage's `transposed` and `patch`.
    pub walks: bool,
    /// For rows in lanes and the adjoints of walks: every stage's `forward`, but where [`dense`] covers it if `whole`, since
    /// `transposed` serves for both.
    pub rows: bool,
    /// For cotangents on the input: the first stage's `patch`.
    pub inputs: bool,
}

impl Layouts {
    /// For passes of points.
    pub fn points(plan: &Plan, panels: Shape, [adjoint, inputs]: [bool; 2]) -> Self {
        Layouts { stages: plan.stages.len(), whole: true, panels, adjoint, walks: false, rows: false, inputs }
    }

    /// For bounds, and for their adjoint; `whole` as in the field.
    pub fn bounds(plan: &Plan, relaxation: Relaxation, panels: Shape, adjoint: bool, whole: bool) -> Self {
        let (stages, row_walks) = match relaxation.intermediate() {
            Intermediate::Interval => (plan.hidden(), false),
            Intermediate::Backward => (1, true),
            Intermediate::Intersection | Intermediate::BackwardIfUnstable => (plan.hidden(), true),
        };
        let walks = relaxation.last() == Final::Backward;
        Layouts { stages, whole, panels, adjoint, walks, rows: walks && (adjoint || row_walks), inputs: adjoint }
    }

    /// True if copies made for `self` serve `other` as well.
    pub fn serve(&self, other: &Layouts) -> bool {
        let has = |own: bool, needed: bool| own || !needed;
        self.panels == other.panels
            && self.stages >= other.stages
            && has(!self.whole, !other.whole)
            && has(self.adjoint, other.adjoint)
            && has(self.walks, other.walks)
            && has(self.rows, other.rows)
            && has(self.inputs, other.inputs)
    }
}

/// One stage's weights, several times over: each kernel wants its broadcasts contiguous.
#[derive(Default)]
pub struct StageWeights {
    /// `[tap][c_in][c_out padded]`: outputs contiguous, for applying the layer; also rows in lanes.
    pub forward: Buffer,
    /// `[tap][c_out][c_in padded]`: inputs contiguous, for the transpose; not for the first stage.
    pub transposed: Buffer,
    /// `[c_out][tap·c_in padded]`: a whole patch contiguous, for scattering the first stage's transpose to the pixels.
    pub patch: Buffer,
    /// Bias per output channel, padded with zeros.
    pub bias: Buffer,
    /// [`crate::kernels::product::Panels`] of rows `[tap][c_in]` and outputs c_out.
    pub apply: Buffer,
    /// The same of rows `[tap][c_out]` and outputs c_in.
    pub adjoint: Buffer,
}

/// All stages' weights.
#[derive(Default)]
pub struct Weights {
    pub signed: Vec<StageWeights>,
    /// `patch` of the first stage's |W|.
    pub absolute_patch: Buffer,
}

impl Weights {
    /// Packs θ for `plan` into the memory already there.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn pack<S: Lanes>(&mut self, plan: &Plan, layout: &ParameterLayout, theta: &[f32], layouts: Layouts) {
        self.signed.resize_with(plan.stages.len(), StageWeights::default);
        for (index, stage) in plan.stages.iter().enumerate() {
            let (scale, shift) = folded(&stage.folds, stage.output.c, layout, theta);
            let source = StageSource { stage, weights: layout.slice(theta, stage.weight), scale: &scale };
            let target = &mut self.signed[index];
            let bias = target.bias.at_least(padded(stage.output.c));
            // The memory may have served another network: padding is zeroed, not trusted.
            bias.fill(0.0);
            for (c, target) in bias[..stage.output.c].iter_mut().enumerate() {
                let own = stage.bias.map_or(0.0, |id| layout.slice(theta, id)[c]);
                *target = scale[c] * own + shift[c];
            }
            // Balls need the first stage's rows, specifications the last one's.
            let ends = layouts.panels.planes == 2 && (index == 0 || index + 1 == plan.stages.len());
            let own_order = layouts.whole && dense::covers(plan, index);
            let with_panels = index < layouts.stages && !own_order;
            let StageWeights { forward, transposed, apply, adjoint, .. } = target;
            let mut fills: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
            if layouts.rows && !own_order || ends {
                // SAFETY: the machine is the caller's word.
                fills.push(Box::new(|| unsafe { source.forward::<S>(forward) }));
            }
            if layouts.walks && !stage.first {
                // SAFETY: as above.
                fills.push(Box::new(|| unsafe { source.transposed::<S>(transposed) }));
            }
            if with_panels {
                fills.push(Box::new(|| source.panels::<false>(layouts, apply)));
            }
            if with_panels && layouts.adjoint && !stage.first {
                fills.push(Box::new(|| source.panels::<true>(layouts, adjoint)));
            }
            if source.weights.len() < LARGE {
                fills.into_iter().for_each(|fill| fill());
            } else {
                fills.into_par_iter().with_max_len(1).for_each(|fill| fill());
            }
            if stage.first && (layouts.walks || layouts.inputs) {
                source.patch(&mut target.patch);
                let absolute = self.absolute_patch.at_least(target.patch.len());
                absolute.iter_mut().zip(target.patch.iter()).for_each(|(t, s)| *t = s.abs());
            }
        }
    }
}

/// One stage's weights in θ's order, `[c_out][c_in][tap]`, and the factor of each output.
struct StageSource<'a> {
    stage: &'a Stage,
    weights: &'a [f32],
    scale: &'a [f32],
}

impl StageSource<'_> {
    unsafe fn forward<S: Lanes>(&self, target: &mut Buffer) {
        let (ci, co, taps) = (self.stage.input.c, self.stage.output.c, self.stage.taps());
        let (n, co_padded) = (ci * taps, padded(co));
        let forward = target.at_least(n * co_padded);
        let place = |e: usize| (e % taps * ci + e / taps) * co_padded;
        let mut tile = Buffer::zeroed(WIDTH * WIDTH);
        for block in (0..co).step_by(WIDTH) {
            let rows = WIDTH.min(co - block);
            // Whole tiles of sixteen outputs and sixteen inputs, then the rest.
            let whole = if rows == WIDTH { n - n % WIDTH } else { 0 };
            for first in (0..whole).step_by(WIDTH) {
                // SAFETY: the tile lies in the weights, and its columns' places in the target, which is aligned.
                unsafe {
                    S::run(|| {
                        let scale = S::load_any(self.scale.as_ptr().add(block));
                        S::transpose(self.weights.as_ptr().add(block * n + first), n, tile.as_mut_ptr(), WIDTH);
                        for l in 0..WIDTH {
                            let target = forward.as_mut_ptr().add(place(first + l) + block);
                            S::store(target, S::mul(S::load(tile.as_ptr().add(l * WIDTH)), scale));
                        }
                    });
                }
            }
            for e in whole..n {
                let (target, padding) = forward[place(e) + block..][..WIDTH].split_at_mut(rows);
                padding.fill(0.0);
                for (r, target) in target.iter_mut().enumerate() {
                    *target = self.weights[(block + r) * n + e] * self.scale[block + r];
                }
            }
        }
    }

    fn patch(&self, target: &mut Buffer) {
        let (ci, co, taps) = (self.stage.input.c, self.stage.output.c, self.stage.taps());
        let n = ci * taps;
        let patch = target.at_least(co * padded(n));
        for o in 0..co {
            for i in 0..ci {
                for tap in 0..taps {
                    patch[o * padded(n) + tap * ci + i] = self.weights[o * n + i * taps + tap] * self.scale[o];
                }
            }
        }
    }

    unsafe fn transposed<S: Lanes>(&self, target: &mut Buffer) {
        let (ci, co, taps) = (self.stage.input.c, self.stage.output.c, self.stage.taps());
        let (n, ci_padded) = (ci * taps, padded(ci));
        let transposed = target.at_least(taps * co * ci_padded);
        let mut tile = Buffer::zeroed(WIDTH * WIDTH);
        // Tiles of sixteen inputs and sixteen taps, the last of which may overlap the one before, then the other inputs.
        let whole = if taps < WIDTH { 0 } else { ci - ci % WIDTH };
        let last = taps.saturating_sub(WIDTH);
        for o in 0..co {
            let scale = self.scale[o];
            for first in (0..whole).step_by(WIDTH) {
                for tap in (0..taps).step_by(WIDTH).map(|tap| tap.min(last)) {
                    // SAFETY: the tile lies in the weights and in the target, whose rows are aligned.
                    unsafe {
                        S::run(|| {
                            let source = self.weights.as_ptr().add(o * n + first * taps + tap);
                            S::transpose(source, taps, tile.as_mut_ptr(), WIDTH);
                            for l in 0..WIDTH {
                                let target = transposed.as_mut_ptr().add(((tap + l) * co + o) * ci_padded + first);
                                S::store(target, S::mul(S::load(tile.as_ptr().add(l * WIDTH)), S::splat(scale)));
                            }
                        });
                    }
                }
            }
            for tap in 0..taps {
                let target = &mut transposed[(tap * co + o) * ci_padded..][..ci];
                for (i, target) in target.iter_mut().enumerate().skip(whole) {
                    *target = self.weights[o * n + i * taps + tap] * scale;
                }
            }
        }
    }

    /// Panels of the layer, or of its transpose if `ADJOINT`.
    fn panels<const ADJOINT: bool>(&self, layouts: Layouts, target: &mut Buffer) {
        let (ci, co, taps) = (self.stage.input.c, self.stage.output.c, self.stage.taps());
        let n = ci * taps;
        // Steps in θ's order along the inner sum and from output to output.
        let (inner, outputs, step, next) = if ADJOINT { (co, ci, n, taps) } else { (ci, co, taps, n) };
        let Shape { planes, together, most } = layouts.panels;
        let panels = target.at_least(taps * inner * outputs * planes);
        let mut first = 0;
        for size in blocks(outputs, most) {
            let panel = &mut panels[first * taps * inner * planes..][..size * taps * inner * planes];
            let second = if together == 1 { taps * inner * size } else { size };
            for row in 0..inner {
                for tap in 0..taps {
                    let source = &self.weights[row * step + tap + first * next..];
                    let place = (tap * inner + row) * size * together;
                    for b in 0..size {
                        let scale = self.scale[if ADJOINT { row } else { first + b }];
                        let value = source[b * next] * scale;
                        panel[place + b] = value;
                        if planes == 2 {
                            panel[second + place + b] = value.abs();
                        }
                    }
                }
            }
            first += size;
        }
    }
}
