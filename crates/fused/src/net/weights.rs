//! Weights in the orders the kernels read them, and gradients back in θ's order.

use rayon::prelude::*;
use tightrope_engine::Relaxation;
use tightrope_network::ParameterLayout;

use crate::kernels::dense;
use crate::kernels::product::{Shape, blocks};
use crate::net::Net;
use crate::net::plan::{Plan, Stage};
use crate::simd::buffer::Buffer;
use crate::simd::lanes::WIDTH;

/// From so many weights on, a stage is copied by several threads.
const LARGE: usize = 1 << 16;

/// `n` rounded up to whole vectors.
pub fn padded(n: usize) -> usize {
    n.next_multiple_of(WIDTH)
}

/// Which copies of the weights a call needs.
#[derive(Clone, Copy)]
pub struct Layouts {
    /// Stages with panels for images in lanes.
    pub stages: usize,
    /// Their layout.
    pub panels: Shape,
    /// Panels of the transpose as well.
    pub adjoint: bool,
    /// For walks: every stage's `transposed` and `patch`.
    pub walks: bool,
    /// For rows in lanes and the adjoints of walks: every stage's `forward`.
    pub rows: bool,
    /// For cotangents on the input: the first stage's `patch`.
    pub inputs: bool,
}

impl Layouts {
    /// For passes of points.
    pub fn points(plan: &Plan, panels: Shape, [adjoint, inputs]: [bool; 2]) -> Self {
        Layouts { stages: plan.stages.len(), panels, adjoint, walks: false, rows: false, inputs }
    }

    /// For bounds, and for their adjoint.
    pub fn bounds(plan: &Plan, relaxation: Relaxation, panels: Shape, adjoint: bool) -> Self {
        let stages = if relaxation == Relaxation::Crown { 1 } else { plan.hidden() };
        let walks = relaxation != Relaxation::Ibp;
        let rows = walks && (adjoint || relaxation != Relaxation::CrownIbp);
        Layouts { stages, panels, adjoint, walks, rows, inputs: adjoint }
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
    pub fn pack(&mut self, plan: &Plan, layout: &ParameterLayout, theta: &[f32], layouts: Layouts) {
        self.signed.resize_with(plan.stages.len(), StageWeights::default);
        for (index, stage) in plan.stages.iter().enumerate() {
            let (scale, shift) = folded(stage, layout, theta);
            let source = Source { stage, weights: layout.slice(theta, stage.weight), scale: &scale };
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
            let with_panels = index < layouts.stages && (layouts.walks || !dense::covers(plan, index));
            let StageWeights { forward, transposed, apply, adjoint, .. } = target;
            let mut fills: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
            if layouts.rows || ends {
                fills.push(Box::new(|| source.forward(forward)));
            }
            if layouts.walks && !stage.first {
                fills.push(Box::new(|| source.transposed(transposed)));
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
struct Source<'a> {
    stage: &'a Stage,
    weights: &'a [f32],
    scale: &'a [f32],
}

impl Source<'_> {
    fn forward(&self, target: &mut Buffer) {
        let (ci, co, taps) = (self.stage.input.c, self.stage.output.c, self.stage.taps());
        let (n, co_padded) = (ci * taps, padded(co));
        let forward = target.at_least(n * co_padded);
        for block in (0..co).step_by(WIDTH) {
            let rows = WIDTH.min(co - block);
            for i in 0..ci {
                for tap in 0..taps {
                    let (target, padding) = forward[(tap * ci + i) * co_padded + block..][..WIDTH].split_at_mut(rows);
                    padding.fill(0.0);
                    for (r, target) in target.iter_mut().enumerate() {
                        *target = self.weights[(block + r) * n + i * taps + tap] * self.scale[block + r];
                    }
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

    fn transposed(&self, target: &mut Buffer) {
        let (ci, co, taps) = (self.stage.input.c, self.stage.output.c, self.stage.taps());
        let (n, ci_padded) = (ci * taps, padded(ci));
        let transposed = target.at_least(taps * co * ci_padded);
        for o in 0..co {
            for tap in 0..taps {
                let target = &mut transposed[(tap * co + o) * ci_padded..][..ci];
                for (i, target) in target.iter_mut().enumerate() {
                    *target = self.weights[o * n + i * taps + tap] * self.scale[o];
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

/// Factor and summand per output channel of a stage's folded affine layers.
fn folded(stage: &Stage, layout: &ParameterLayout, theta: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let co = stage.output.c;
    let (mut scale, mut shift) = (vec![1.0; co], vec![0.0; co]);
    for fold in &stage.folds {
        for c in 0..co {
            let weight = fold.weight.map_or(1.0, |id| layout.slice(theta, id)[c]);
            let bias = fold.bias.map_or(0.0, |id| layout.slice(theta, id)[c]);
            scale[c] *= weight * fold.scale[c];
            shift[c] = weight * (fold.scale[c] * shift[c] + fold.shift[c]) + bias;
        }
    }
    (scale, shift)
}

/// Gradient sums of one stage's packed weights.
#[derive(Default)]
pub struct StageGradient {
    /// Of W, `[tap][c_in][c_out padded]`.
    pub signed: Buffer,
    /// Of |W|, the same order.
    pub absolute: Buffer,
    /// Of the bias, padded.
    pub bias: Buffer,
}

/// Gradient sums of all stages.
#[derive(Default)]
pub struct GradientSums {
    pub stages: Vec<StageGradient>,
    /// True if the sums of |W| are in use.
    absolute: bool,
    /// Stages whose weights' gradient is summed here; others have that of their bias only.
    summed: Vec<bool>,
}

impl GradientSums {
    /// Zeros for the network in the memory already there; `absolute` for methods with an interval pass.
    pub fn reset(&mut self, net: &Net<'_>, absolute: bool) {
        self.absolute = absolute;
        self.summed = net.dense.iter().map(Option::is_none).collect();
        self.stages.resize_with(net.plan.stages.len(), StageGradient::default);
        for ((stage, sums), &summed) in net.plan.stages.iter().zip(&mut self.stages).zip(&self.summed) {
            sums.bias.at_least(padded(stage.output.c)).fill(0.0);
            if !summed {
                continue;
            }
            let n = stage.taps() * stage.input.c * padded(stage.output.c);
            sums.signed.at_least(n).fill(0.0);
            if absolute {
                sums.absolute.at_least(n).fill(0.0);
            }
        }
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &GradientSums) {
        let add = |a: &mut Buffer, b: &Buffer| {
            let add = |(a, b): (&mut [f32], &[f32])| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a.par_chunks_mut(LARGE).zip(b.par_chunks(LARGE)).for_each(add);
        };
        for ((a, b), &summed) in self.stages.iter_mut().zip(&other.stages).zip(&self.summed) {
            add(&mut a.bias, &b.bias);
            if summed {
                add(&mut a.signed, &b.signed);
            }
            if summed && self.absolute {
                add(&mut a.absolute, &b.absolute);
            }
        }
    }

    /// Adds the gradient with respect to θ to `gradient`.
    pub fn unpack(&self, plan: &Plan, layout: &ParameterLayout, theta: &[f32], gradient: &mut [f32]) {
        for ((stage, sums), &summed) in plan.stages.iter().zip(&self.stages).zip(&self.summed) {
            let (ci, co, taps) = (stage.input.c, stage.output.c, stage.taps());
            let (n, co_padded) = (ci * taps, padded(co));
            let source = layout.slice(theta, stage.weight);
            let (scale, _) = folded(stage, layout, theta);
            // Of the product of the folded factors.
            let mut g_scale = vec![0.0_f32; co];
            let target = layout.slice_mut(gradient, stage.weight);
            // Sixteen outputs at a time: their sums are neighbours.
            let unpack = |(index, (target, g_scale)): (usize, (&mut [f32], &mut [f32]))| {
                let block = index * WIDTH;
                let outputs = block..co.min(block + WIDTH);
                for i in 0..ci {
                    for tap in 0..taps {
                        let from = (tap * ci + i) * co_padded + block;
                        let signed = &sums.signed[from..][..outputs.len()];
                        let reach = self.absolute.then(|| &sums.absolute[from..][..outputs.len()]);
                        for o in outputs.clone() {
                            let to = o * n + i * taps + tap;
                            let here = to - block * n;
                            let mut g = signed[o - block];
                            if let Some(reach) = reach {
                                let w = source[to] * scale[o];
                                // The derivative of |w| at 0 is taken as 0.
                                let sign = f32::from(i8::from(w > 0.0) - i8::from(w < 0.0));
                                g += sign * reach[o - block];
                            }
                            target[here] += g * scale[o];
                            if !stage.folds.is_empty() {
                                g_scale[o - block] += g * source[to];
                            }
                        }
                    }
                }
            };
            if summed && n * co >= LARGE {
                let blocks = target.par_chunks_mut(WIDTH * n).zip(g_scale.par_chunks_mut(WIDTH));
                blocks.enumerate().for_each(unpack);
            } else if summed {
                let blocks = target.chunks_mut(WIDTH * n).zip(g_scale.chunks_mut(WIDTH));
                blocks.enumerate().for_each(unpack);
            }
            if let Some(id) = stage.bias {
                let own = layout.slice(theta, id);
                let target = layout.slice_mut(gradient, id);
                for o in 0..co {
                    target[o] += sums.bias[o] * scale[o];
                    g_scale[o] += sums.bias[o] * own[o];
                }
            }
            unfold(stage, layout, theta, g_scale, sums.bias[..co].to_vec(), gradient);
        }
    }
}

/// Carries the gradient of the folded factors and summands to the affine layers' parameters.
fn unfold(
    stage: &Stage,
    layout: &ParameterLayout,
    theta: &[f32],
    mut g_scale: Vec<f32>,
    mut g_shift: Vec<f32>,
    gradient: &mut [f32],
) {
    for last in (0..stage.folds.len()).rev() {
        let before = Stage { folds: stage.folds[..last].to_vec(), ..stage.clone() };
        let (scale, shift) = folded(&before, layout, theta);
        let fold = &stage.folds[last];
        for c in 0..stage.output.c {
            let weight = fold.weight.map_or(1.0, |id| layout.slice(theta, id)[c]);
            if let Some(id) = fold.weight {
                layout.slice_mut(gradient, id)[c] +=
                    g_scale[c] * fold.scale[c] * scale[c] + g_shift[c] * (fold.scale[c] * shift[c] + fold.shift[c]);
            }
            if let Some(id) = fold.bias {
                layout.slice_mut(gradient, id)[c] += g_shift[c];
            }
            g_scale[c] *= weight * fold.scale[c];
            g_shift[c] *= weight * fold.scale[c];
        }
    }
}
