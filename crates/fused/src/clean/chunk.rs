//! Clean forward passes and their adjoint, sixteen or thirty-two images in lanes.

use std::ops::Range;

use crate::kernels::finish::{Activate, Masked};
use crate::kernels::product::{Maps, Panels};
use crate::net::Net;
use crate::net::accumulate::{Accumulator, Of, sum_channels, sum_lanes};
use crate::net::geometry::Field;
use crate::net::images::{Normalise, load_images};
use crate::net::plan::Window;
use crate::net::sweep;
use crate::simd::buffer::{Buffer, SLACK};
use crate::simd::lanes::{Lanes, WIDTH};

/// The activations of one chunk of images: input of each stage, then the logits, `[position][channel][VP][16]`.
#[derive(Default)]
pub struct Activations {
    values: Vec<Buffer>,
}

impl Activations {
    /// Loads `images` `[count ≤ 16·VP, d]`.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn load<S: Lanes, const VP: usize>(&mut self, net: &Net<'_>, images: &[f32]) {
        let stages = &net.plan.stages;
        self.values.resize_with(stages.len() + 1, Buffer::default);
        self.values[0].at_least(net.input_len(0) * VP * WIDTH + SLACK);
        for (stage, values) in stages.iter().zip(&mut self.values[1..]) {
            values.at_least(stage.output.len() * VP * WIDTH + SLACK);
        }
        // SAFETY: the machine is the caller's word.
        unsafe { load_images::<S, VP>(net, images, Normalise::Point, &mut self.values[0]) };
    }

    /// The input of stage `index`.
    pub fn input(&self, index: usize) -> *const f32 {
        self.values[index].as_ptr()
    }

    /// The result of stage `index`, to be written.
    pub fn output_mut(&mut self, index: usize) -> *mut f32 {
        self.values[index + 1].as_mut_ptr()
    }

    /// Input and result of a hidden stage.
    pub fn maps(&mut self, net: &Net<'_>, index: usize) -> Maps<Activate<true>, 1> {
        Maps { inputs: [self.input(index)], finish: self.activate(net, index) }
    }

    fn activate<const RECTIFY: bool>(&mut self, net: &Net<'_>, index: usize) -> Activate<RECTIFY> {
        let bias = net.weights.signed[index].bias.as_ptr();
        let (channels, target) = (net.plan.stages[index].output.c, self.values[index + 1].as_mut_ptr());
        Activate { channels, bias, target }
    }

    /// Passes the images through `stages`.
    ///
    /// # Safety
    /// The machine has `S`; the stages before are done.
    pub unsafe fn forward<S: Lanes, const VP: usize>(&mut self, net: &Net<'_>, stages: Range<usize>) {
        for index in stages {
            let stage = &net.plan.stages[index];
            let weights = Panels { data: net.weights.signed[index].apply.as_ptr(), rows: stage.taps() * stage.input.c };
            // SAFETY: the maps are sized.
            unsafe {
                if index < net.plan.hidden() {
                    sweep::apply::<S, _, _, 1, VP>(net, index, weights, self.maps(net, index));
                } else {
                    let maps = Maps { inputs: [self.input(index)], finish: self.activate::<false>(net, index) };
                    sweep::apply::<S, _, _, 1, VP>(net, index, weights, maps);
                }
            }
        }
    }

    /// The images' logits `[count, K]`.
    pub fn logits(&self, net: &Net<'_>, vp: usize, logits: &mut [f32]) {
        let values = &self.values[net.plan.stages.len()];
        for (image, row) in logits.chunks_exact_mut(net.plan.classes).enumerate() {
            for (j, logit) in row.iter_mut().enumerate() {
                *logit = values[(j * vp + image / WIDTH) * WIDTH + image % WIDTH];
            }
        }
    }
}

/// Cotangents of one chunk of images.
#[derive(Default)]
pub struct CleanCotangents {
    /// On the output of the stage at hand, and memory for those of the stage before.
    map: Buffer,
    next: Buffer,
    /// Those on the stage's biases, `[band][channel][16]`.
    bias: Buffer,
    pixels: Buffer,
}

impl CleanCotangents {
    /// Starts with `cotangent` `[count, K]` on the logits.
    pub fn start(&mut self, net: &Net<'_>, vp: usize, cotangent: &[f32]) {
        let size = net.plan.classes * vp * WIDTH;
        self.map.at_least(size + SLACK)[..size].fill(0.0);
        for (image, row) in cotangent.chunks_exact(net.plan.classes).enumerate() {
            for (j, &g) in row.iter().enumerate() {
                self.map[(j * vp + image / WIDTH) * WIDTH + image % WIDTH] = g;
            }
        }
    }

    /// The cotangents on the stage's output.
    pub fn output(&self) -> *const f32 {
        self.map.as_ptr()
    }

    /// The same, to be written over.
    pub fn output_mut(&mut self) -> *mut f32 {
        self.map.as_mut_ptr()
    }

    /// Adds the gradient of a stage's bias to `target`.
    ///
    /// # Safety
    /// The machine has `S`; the map is that of the stage.
    pub unsafe fn add_bias<S: Lanes, const VP: usize>(&self, net: &Net<'_>, index: usize, target: &mut [f32]) {
        let channels = net.plan.stages[index].output.c;
        // SAFETY: passed on from the caller.
        unsafe {
            if index < net.plan.hidden() {
                sum_lanes::<S>(&self.bias, net.bands, channels, target);
            } else {
                sum_channels::<S, VP>(self.map.as_ptr(), 1, channels, target);
            }
        }
    }

    /// From the output of stage `index` to that of the stage before, which [`CleanCotangents::step`] then turns to.
    pub fn maps(&mut self, net: &Net<'_>, activations: &Activations, index: usize, vp: usize) -> Maps<Masked, 1> {
        let grid = net.plan.stages[index].input;
        let lanes = net.bands * grid.c * WIDTH;
        self.bias.at_least(lanes)[..lanes].fill(0.0);
        let target = self.next.at_least(grid.len() * vp * WIDTH + SLACK).as_mut_ptr();
        let activation = activations.input(index);
        let finish = Masked { channels: grid.c, activation, target, bias: self.bias.as_mut_ptr() };
        Maps { inputs: [self.map.as_ptr()], finish }
    }

    /// Turns to the stage before.
    pub fn step(&mut self) {
        std::mem::swap(&mut self.map, &mut self.next);
    }

    /// Pulls the cotangents back through `stages`: to the weights if `accumulator` is given, and from the first stage
    /// to the images if `inputs` (`[count, d]`, added to) is.
    ///
    /// # Safety
    /// The machine has `S`; `activations` are those of the same images, the stages after are done.
    pub unsafe fn backward<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        activations: &Activations,
        stages: Range<usize>,
        mut accumulator: Option<&mut Accumulator>,
        inputs: Option<&mut [f32]>,
    ) {
        for index in stages.rev() {
            // SAFETY: passed on from the caller.
            unsafe {
                if let Some(accumulator) = accumulator.as_deref_mut() {
                    self.add_bias::<S, VP>(net, index, &mut accumulator.sums.stages[index].bias);
                    self.add_weights::<S, VP>(net, activations, index, accumulator);
                }
                if index > 0 {
                    sweep::transpose::<S, _, 1, VP>(net, index, self.maps(net, activations, index, VP));
                    self.step();
                    continue;
                }
                if let Some(inputs) = inputs {
                    self.add_inputs::<S, VP>(net, inputs);
                }
            }
            return;
        }
    }

    /// Adds the gradient of a stage's weights.
    ///
    /// # Safety
    /// The machine has `S`; the map is that of the stage, and `activations` are those of the same images.
    pub unsafe fn add_weights<S: Lanes, const VP: usize>(
        &self,
        net: &Net<'_>,
        activations: &Activations,
        index: usize,
        accumulator: &mut Accumulator,
    ) {
        let stage = &net.plan.stages[index];
        let [h, w] = stage.input_side();
        let left = Field { data: self.output(), window: Window::all(stage.output) };
        let right = Field { data: activations.input(index), window: Window { y: 0, x: 0, h, w } };
        // SAFETY: maps are whole and have slack.
        unsafe { accumulator.add::<S>(stage, index, Of::Signed, VP, left, right) };
    }

    /// Adds the cotangents on the images to `inputs`, `[count, d]`.
    ///
    /// # Safety
    /// The machine has `S`; the map is the first stage's.
    pub unsafe fn add_inputs<S: Lanes, const VP: usize>(&mut self, net: &Net<'_>, inputs: &mut [f32]) {
        let patch = &net.weights.signed[0].patch;
        // SAFETY: passed on from the caller.
        unsafe {
            net.input_cotangents::<S, VP>(patch, self.map.as_ptr(), &mut self.pixels, Normalise::Point, inputs);
        }
    }
}
