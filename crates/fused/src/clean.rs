//! Clean forward passes and their adjoint, sixteen or thirty-two images in lanes.

use crate::accumulate::{Accumulator, Of};
use crate::buffer::Buffer;
use crate::finish::{Activate, Masked};
use crate::geometry::Field;
use crate::lanes::{Lanes, WIDTH};
use crate::net::{Net, Normalise, load_images, sum_channels, sum_lanes};
use crate::plan::Window;
use crate::product::{Packed, product};

/// Slack after a map: weight gradients read whole blocks of sixteen channels.
pub const SLACK: usize = 2 * WIDTH * WIDTH;

/// The activations of one chunk of images: input of each stage, then the logits, `[position][channel][VP][16]`.
#[derive(Default)]
pub struct Activations {
    values: Vec<Buffer>,
}

/// Memory of one worker's clean passes.
#[derive(Default)]
pub struct CleanScratch {
    cotangents: [Buffer; 2],
    /// Cotangents on one stage's biases, lane by lane.
    bias: Buffer,
    pixels: Buffer,
    /// Activations of a pass that keeps none.
    pub spare: Activations,
}

impl CleanScratch {
    /// Logits of `images` `[count ≤ 16·VP, d]` into `logits` `[count, K]`.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn forward<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        images: &[f32],
        activations: &mut Activations,
        logits: &mut [f32],
    ) {
        let stages = &net.plan.stages;
        let values = &mut activations.values;
        values.resize_with(stages.len() + 1, Buffer::default);
        values[0].at_least(net.input_len(0) * VP * WIDTH + SLACK);
        // SAFETY: buffers are sized to their maps here and below; the machine is the caller's word.
        unsafe { load_images::<S, VP>(net, images, Normalise::Point, &mut values[0]) };
        for (index, stage) in stages.iter().enumerate() {
            let (before, after) = values.split_at_mut(index + 1);
            let input = before[index].as_ptr();
            let size = stage.output.c * VP * WIDTH;
            let target = after[0].at_least(stage.output.positions() * size + SLACK).as_mut_ptr();
            // SAFETY: the maps are sized.
            unsafe {
                if index + 1 < stages.len() {
                    apply::<S, VP, true>(net, index, input, target);
                } else {
                    apply::<S, VP, false>(net, index, input, target);
                }
            }
        }
        let classes = net.plan.classes;
        let values = &values[stages.len()];
        for (image, row) in logits.chunks_exact_mut(classes).enumerate() {
            for (j, logit) in row.iter_mut().enumerate() {
                *logit = values[(j * VP + image / WIDTH) * WIDTH + image % WIDTH];
            }
        }
    }

    /// Pulls `cotangent` `[count, K]` on the logits of the last forward pass back: to the weights if
    /// `accumulator` is given, to the images if `inputs` (`[count, d]`, added to) is.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn backward<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        activations: &Activations,
        cotangent: &[f32],
        mut accumulator: Option<&mut Accumulator>,
        inputs: Option<&mut [f32]>,
    ) {
        let stages = &net.plan.stages;
        let classes = net.plan.classes;
        let [mut current, mut next] = std::mem::take(&mut self.cotangents);
        current.at_least(classes * VP * WIDTH + SLACK)[..classes * VP * WIDTH].fill(0.0);
        for (image, row) in cotangent.chunks_exact(classes).enumerate() {
            for (j, &g) in row.iter().enumerate() {
                current[(j * VP + image / WIDTH) * WIDTH + image % WIDTH] = g;
            }
        }
        for (index, stage) in stages.iter().enumerate().rev() {
            let [h, w] = stage.input_side();
            let left = Field { data: current.as_ptr(), window: Window::all(stage.output) };
            let right = Field { data: activations.values[index].as_ptr(), window: Window { y: 0, x: 0, h, w } };
            if let Some(accumulator) = accumulator.as_deref_mut() {
                let bias = &mut accumulator.sums.stages[index].bias;
                // SAFETY: both maps are whole and have slack.
                unsafe {
                    if index + 1 == stages.len() {
                        sum_channels::<S, VP>(left.data, stage.output.positions(), stage.output.c, bias);
                    } else {
                        sum_lanes::<S>(&self.bias, bias);
                    }
                    accumulator.add::<S>(stage, index, Of::Signed, VP, left, right);
                }
            }
            if index == 0 {
                break;
            }
            let target = next.at_least(stage.input.len() * VP * WIDTH + SLACK).as_mut_ptr();
            self.bias.at_least(stage.input.c * WIDTH)[..stage.input.c * WIDTH].fill(0.0);
            let bias = self.bias.as_mut_ptr();
            // SAFETY: the maps are sized.
            unsafe { transpose::<S, VP>(net, index, left.data, Masked { activation: right.data, target, bias }) };
            std::mem::swap(&mut current, &mut next);
        }
        if let Some(inputs) = inputs {
            let (weights, how) = (&net.weights.signed[0], Normalise::Point);
            // SAFETY: the map is the first stage's.
            unsafe { net.input_cotangents::<S, VP>(weights, current.as_ptr(), &mut self.pixels, how, inputs) };
        }
        self.cotangents = [current, next];
    }
}

/// A stage over a whole map.
unsafe fn apply<S: Lanes, const VP: usize, const RECTIFY: bool>(
    net: &Net<'_>,
    index: usize,
    map: *const f32,
    target: *mut f32,
) {
    let (stage, weights) = (&net.plan.stages[index], &net.weights.signed[index]);
    let size = stage.output.c * VP * WIDTH;
    for y in 0..stage.output.h {
        for x in 0..stage.output.w {
            let (span, input, weight) = net.taps[index].apply(stage, VP, [y, x]);
            // SAFETY: spans stay in the map, the position in the target.
            unsafe {
                let target = target.add((y * stage.output.w + x) * size);
                let finish = Activate::<RECTIFY> { bias: weights.bias.as_ptr(), target };
                let weights = Packed([weights.forward.as_ptr().add(weight)]);
                product::<S, _, _, 1, VP>(&span, [map.add(input)], weights, [0, stage.output.c], finish);
            }
        }
    }
}

/// A stage's transpose over a whole map, and the adjoint of the ReLU before it.
unsafe fn transpose<S: Lanes, const VP: usize>(net: &Net<'_>, index: usize, map: *const f32, masked: Masked) {
    let (stage, weights) = (&net.plan.stages[index], &net.weights.signed[index].transposed);
    let grid = stage.input;
    for y in 0..grid.h {
        for x in 0..grid.w {
            let (span, output, weight) = net.taps[index].transpose(stage, VP, [y, x]);
            let at = (y * grid.w + x) * grid.c * VP * WIDTH;
            // SAFETY: spans stay in the map, the position in the targets.
            unsafe {
                let (activation, target) = (masked.activation.add(at), masked.target.add(at));
                let weights = Packed([weights.as_ptr().add(weight)]);
                let finish = Masked { activation, target, ..masked };
                product::<S, _, _, 1, VP>(&span, [map.add(output)], weights, [0, grid.c], finish);
            }
        }
    }
}
