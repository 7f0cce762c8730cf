//! Clean forward passes and their adjoint, sixteen or thirty-two images in lanes.

use crate::accumulate::{Accumulator, Of};
use crate::block::Segment;
use crate::buffer::Buffer;
use crate::geometry::Field;
use crate::lanes::{Lanes, WIDTH};
use crate::net::{Net, Normalise, add_bias, load_images, store_cotangents, sum_channels};
use crate::plan::Window;

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
    segments: Vec<Segment>,
    /// Activations of a pass that keeps none.
    pub spare: Activations,
}

// SAFETY: segments are rebuilt before every use; between calls their pointers are only stale numbers.
unsafe impl Send for CleanScratch {}

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
            let [h, w] = stage.input_side();
            let input = Field { data: before[index].as_ptr(), window: Window { y: 0, x: 0, h, w } };
            let size = stage.output.c * VP * WIDTH;
            let output = after[0].at_least(stage.output.positions() * size + SLACK).as_mut_ptr();
            let weights = &net.weights.signed[index];
            for y in 0..stage.output.h {
                for x in 0..stage.output.w {
                    unsafe {
                        let output = output.add((y * stage.output.w + x) * size);
                        net.apply_at::<S, VP>(index, weights, input, [y, x], output, &mut self.segments);
                        add_bias::<S, VP>(output, &weights.bias, stage.output.c, index + 1 < stages.len());
                    }
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
            let weights = &net.weights.signed[index];
            if let Some(accumulator) = accumulator.as_deref_mut() {
                // SAFETY: both maps are whole and have slack.
                unsafe {
                    accumulator.add::<S>(stage, index, Of::Signed, VP, left, right);
                    let bias = &mut accumulator.sums.stages[index].bias;
                    sum_channels::<S, VP>(left.data, stage.output.positions(), stage.output.c, bias);
                }
            }
            if index == 0 {
                break;
            }
            let size = stage.input.c * VP * WIDTH;
            let target = next.at_least(stage.input.positions() * size + SLACK).as_mut_ptr();
            for y in 0..h {
                for x in 0..w {
                    // SAFETY: the position lies in the map.
                    unsafe {
                        let place = (y * w + x) * size;
                        net.transpose_at::<S, VP>(index, weights, left, [y, x], target.add(place), &mut self.segments);
                        mask::<S>(target.add(place), right.data.add(place), size / WIDTH);
                    }
                }
            }
            std::mem::swap(&mut current, &mut next);
        }
        if let Some(inputs) = inputs {
            let size = net.input_len(0) * VP * WIDTH;
            next.at_least(size)[..size].fill(0.0);
            // SAFETY: the padded map is sized to its patches.
            unsafe { net.scatter_patches::<S, VP>(&net.weights.signed[0], current.as_ptr(), next.as_mut_ptr()) };
            store_cotangents(net, &next, VP, Normalise::Point, inputs);
        }
        self.cotangents = [current, next];
    }
}

/// values = 0 where the activation is 0.
unsafe fn mask<S: Lanes>(values: *mut f32, activations: *const f32, vectors: usize) {
    // SAFETY: the caller gives two maps of `vectors` aligned vectors.
    unsafe {
        S::run(|| {
            for i in 0..vectors {
                let value = S::load(values.add(i * WIDTH));
                let activation = S::load(activations.add(i * WIDTH));
                S::store(values.add(i * WIDTH), S::where_positive(activation, value, S::zero()));
            }
        });
    }
}
