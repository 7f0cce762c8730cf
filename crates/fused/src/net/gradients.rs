//! Gradient sums in the order of the packed weights, and back in θ's order.

use rayon::prelude::*;
use tightrope_network::ParameterLayout;

use crate::net::Net;
use crate::net::fold::{folded, unfold};
use crate::net::plan::Plan;
use crate::net::weights::{LARGE, padded};
use crate::simd::buffer::Buffer;
use crate::simd::lanes::WIDTH;

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
            let (scale, _) = folded(&stage.folds, co, layout, theta);
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
            unfold(&stage.folds, layout, theta, g_scale, sums.bias[..co].to_vec(), gradient);
        }
    }
}
