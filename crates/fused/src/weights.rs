//! Weights in the orders the kernels read them, and gradients back in θ's order.

use tightrope_network::ParameterLayout;

use crate::buffer::Buffer;
use crate::lanes::WIDTH;
use crate::plan::{Plan, Stage};

/// `n` rounded up to whole vectors.
pub fn padded(n: usize) -> usize {
    n.next_multiple_of(WIDTH)
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
}

/// All stages' weights, with those of |W| where intervals need them.
#[derive(Default)]
pub struct Weights {
    pub signed: Vec<StageWeights>,
    pub absolute: Vec<StageWeights>,
}

impl Weights {
    /// Packs θ for `plan` into the memory already there; `absolute` asks for |W| as well.
    pub fn pack(&mut self, plan: &Plan, layout: &ParameterLayout, theta: &[f32], absolute: bool) {
        self.signed.resize_with(plan.stages.len(), StageWeights::default);
        self.absolute.resize_with(if absolute { plan.stages.len() } else { 0 }, StageWeights::default);
        for (index, stage) in plan.stages.iter().enumerate() {
            let (scale, shift) = folded(stage, layout, theta);
            let source = layout.slice(theta, stage.weight);
            self.signed[index].pack(stage, source, &scale);
            let bias = self.signed[index].bias.at_least(padded(stage.output.c));
            // The memory may have served another network: padding is zeroed, not trusted.
            bias.fill(0.0);
            for (c, target) in bias[..stage.output.c].iter_mut().enumerate() {
                let own = stage.bias.map_or(0.0, |id| layout.slice(theta, id)[c]);
                *target = scale[c] * own + shift[c];
            }
            if absolute {
                self.absolute[index].pack_absolute(&self.signed[index]);
            }
        }
    }
}

impl StageWeights {
    fn pack(&mut self, stage: &Stage, source: &[f32], scale: &[f32]) {
        let (ci, co, taps) = (stage.input.c, stage.output.c, stage.taps());
        let (ci_padded, co_padded) = (padded(ci), padded(co));
        let n = ci * taps;
        let forward = self.forward.at_least(n * co_padded);
        for block in (0..co).step_by(WIDTH) {
            let rows = WIDTH.min(co - block);
            for i in 0..ci {
                for tap in 0..taps {
                    let (target, padding) = forward[(tap * ci + i) * co_padded + block..][..WIDTH].split_at_mut(rows);
                    padding.fill(0.0);
                    for (r, target) in target.iter_mut().enumerate() {
                        *target = source[(block + r) * n + i * taps + tap] * scale[block + r];
                    }
                }
            }
        }
        if stage.first {
            let patch = self.patch.at_least(co * padded(n));
            for o in 0..co {
                for i in 0..ci {
                    for tap in 0..taps {
                        patch[o * padded(n) + tap * ci + i] = source[o * n + i * taps + tap] * scale[o];
                    }
                }
            }
        } else {
            let transposed = self.transposed.at_least(taps * co * ci_padded);
            for o in 0..co {
                for tap in 0..taps {
                    let target = &mut transposed[(tap * co + o) * ci_padded..][..ci];
                    for (i, target) in target.iter_mut().enumerate() {
                        *target = source[o * n + i * taps + tap] * scale[o];
                    }
                }
            }
        }
    }

    fn pack_absolute(&mut self, signed: &StageWeights) {
        for (target, source) in [
            (&mut self.forward, &signed.forward),
            (&mut self.transposed, &signed.transposed),
            (&mut self.patch, &signed.patch),
        ] {
            let target = target.at_least(source.len());
            target.iter_mut().zip(source.iter()).for_each(|(t, s)| *t = s.abs());
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
}

impl GradientSums {
    /// Zeros for `plan` in the memory already there; `absolute` for methods with an interval pass.
    pub fn reset(&mut self, plan: &Plan, absolute: bool) {
        self.absolute = absolute;
        self.stages.resize_with(plan.stages.len(), StageGradient::default);
        for (stage, sums) in plan.stages.iter().zip(&mut self.stages) {
            let n = stage.taps() * stage.input.c * padded(stage.output.c);
            sums.signed.at_least(n).fill(0.0);
            sums.bias.at_least(padded(stage.output.c)).fill(0.0);
            if absolute {
                sums.absolute.at_least(n).fill(0.0);
            }
        }
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &GradientSums) {
        for (a, b) in self.stages.iter_mut().zip(&other.stages) {
            for (a, b) in [(&mut a.signed, &b.signed), (&mut a.bias, &b.bias)] {
                a.iter_mut().zip(b.iter()).for_each(|(a, b)| *a += b);
            }
            if self.absolute {
                a.absolute.iter_mut().zip(b.absolute.iter()).for_each(|(a, b)| *a += b);
            }
        }
    }

    /// The gradient with respect to θ.
    pub fn unpack(&self, plan: &Plan, layout: &ParameterLayout, theta: &[f32]) -> Vec<f32> {
        let mut gradient = vec![0.0; theta.len()];
        for (stage, sums) in plan.stages.iter().zip(&self.stages) {
            let (ci, co, taps) = (stage.input.c, stage.output.c, stage.taps());
            let (n, co_padded) = (ci * taps, padded(co));
            let source = layout.slice(theta, stage.weight);
            let (scale, _) = folded(stage, layout, theta);
            // Of the product of the folded factors.
            let mut g_scale = vec![0.0_f32; co];
            let target = layout.slice_mut(&mut gradient, stage.weight);
            for o in 0..co {
                let mut dot = 0.0;
                for i in 0..ci {
                    for tap in 0..taps {
                        let from = (tap * ci + i) * co_padded + o;
                        let to = o * n + i * taps + tap;
                        let mut g = sums.signed[from];
                        if self.absolute {
                            let w = source[to] * scale[o];
                            // The derivative of |w| at 0 is taken as 0.
                            g += if w > 0.0 {
                                sums.absolute[from]
                            } else if w < 0.0 {
                                -sums.absolute[from]
                            } else {
                                0.0
                            };
                        }
                        target[to] += g * scale[o];
                        dot += g * source[to];
                    }
                }
                g_scale[o] = dot;
            }
            if let Some(id) = stage.bias {
                let own = layout.slice(theta, id);
                let target = layout.slice_mut(&mut gradient, id);
                for o in 0..co {
                    target[o] += sums.bias[o] * scale[o];
                    g_scale[o] += sums.bias[o] * own[o];
                }
            }
            unfold(stage, layout, theta, g_scale, sums.bias[..co].to_vec(), &mut gradient);
        }
        gradient
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
