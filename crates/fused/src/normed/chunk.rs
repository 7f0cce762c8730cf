//! One chunk of images on its way through stages with batch norms, and its cotangents on their way back.

use crate::clean::chunk::{Activations, CleanCotangents};
use crate::kernels::finish::{Activate, Collected, MaskedCentred};
use crate::kernels::product::{Maps, Panels};
use crate::net::Net;
use crate::net::accumulate::sum_lanes;
use crate::net::sweep;
use crate::normed::kernels::{self, Line, Return, Size};
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, WIDTH};

/// Channels and positions of the output of stage `index`.
fn size(net: &Net<'_>, index: usize) -> Size {
    let grid = net.plan.stages[index].output;
    Size { channels: grid.c, positions: grid.positions() }
}

/// The activations of one chunk of images, and the maps before its batch norms.
#[derive(Default)]
pub struct NormedActivations {
    pub activations: Activations,
    /// Before the batch norm of each stage that has one.
    raw: Vec<Buffer>,
    /// Sums over the stage at hand, `[band][channel][16]`, and memory.
    sums: Buffer,
    lanes: Buffer,
    images: usize,
}

impl NormedActivations {
    /// Loads `images` `[count ≤ 16·VP, d]`.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn load<S: Lanes, const VP: usize>(&mut self, net: &Net<'_>, images: &[f32]) {
        self.images = images.len() / net.plan.dimension;
        self.raw.resize_with(net.plan.stages.len(), Buffer::default);
        // SAFETY: passed on from the caller.
        unsafe { self.activations.load::<S, VP>(net, images) };
    }

    /// Input and result of a stage with a batch norm.
    pub fn maps(&mut self, net: &Net<'_>, index: usize, vp: usize) -> Maps<Collected, 1> {
        let Size { channels, positions } = size(net, index);
        let lanes = net.bands * channels * WIDTH;
        self.sums.at_least(lanes)[..lanes].fill(0.0);
        let target = self.raw[index].at_least(positions * channels * vp * WIDTH).as_mut_ptr();
        let bias = net.weights.signed[index].bias.as_ptr();
        let finish = Collected { activate: Activate { channels, bias, target }, sums: self.sums.as_mut_ptr() };
        Maps { inputs: [self.activations.input(index)], finish }
    }

    /// Passes the images through stage `index` up to its batch norm, or through all of it where there is none.
    ///
    /// # Safety
    /// The machine has `S`; the stages before are done.
    pub unsafe fn apply<S: Lanes, const VP: usize>(&mut self, net: &Net<'_>, index: usize) {
        let stage = &net.plan.stages[index];
        // SAFETY: the maps are sized.
        unsafe {
            if stage.norm.is_none() {
                return self.activations.forward::<S, VP>(net, index..index + 1);
            }
            let weights = Panels { data: net.weights.signed[index].apply.as_ptr(), rows: stage.taps() * stage.input.c };
            let maps = self.maps(net, index, VP);
            sweep::apply::<S, _, _, 1, VP>(net, index, weights, maps);
        }
    }

    /// Mean and sum of squared distances from it of each channel before the batch norm of stage `index`, which was applied
    /// last.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn moments<S: Lanes, const VP: usize>(&mut self, net: &Net<'_>, index: usize) -> Vec<[f64; 2]> {
        let size = size(net, index);
        let mut near = vec![0.0; size.channels];
        // SAFETY: the map and its sums are those of the stage.
        unsafe {
            sum_lanes::<S>(&self.sums, net.bands, size.channels, &mut near);
            near.iter_mut().for_each(|near| *near /= (size.positions * VP * WIDTH) as f32);
            let map = self.raw[index].as_ptr();
            kernels::moments::<S, VP>(size, map, &near, self.images, &mut self.lanes)
        }
    }

    /// Passes the images through the batch norm of stage `index` and the ReLU behind it, if there is one.
    ///
    /// # Safety
    /// The machine has `S`; the stage was applied.
    pub unsafe fn normalise<S: Lanes, const VP: usize>(&mut self, net: &Net<'_>, index: usize, lines: &[Line]) {
        let (map, rectify) = (self.raw[index].as_ptr(), index < net.plan.hidden());
        let target = self.activations.output_mut(index);
        // SAFETY: the maps are those of the stage.
        unsafe { kernels::normalise::<S, VP>(size(net, index), map, lines, rectify, target) };
    }

    /// The map before the batch norm of stage `index`, or the one behind the stage where it has none.
    fn raw(&self, net: &Net<'_>, index: usize) -> *const f32 {
        match net.plan.stages[index].norm {
            Some(_) => self.raw[index].as_ptr(),
            None => self.activations.input(index + 1),
        }
    }
}

/// Cotangents of one chunk of images.
#[derive(Default)]
pub struct NormedCotangents {
    pub clean: CleanCotangents,
    /// Sums of cotangents times distances from the mean before a batch norm, `[band][channel][16]`.
    centred: Buffer,
    /// The cotangents' own sums of the last stage.
    plain: Buffer,
}

impl NormedCotangents {
    /// From the output of stage `index` to that of the stage before, before whose batch norm `mean` is the mean.
    pub fn maps(
        &mut self,
        net: &Net<'_>,
        chunk: &NormedActivations,
        index: usize,
        mean: &[f32],
        vp: usize,
    ) -> Maps<MaskedCentred, 1> {
        let Maps { inputs, finish: masked } = self.clean.maps(net, &chunk.activations, index, vp);
        let lanes = net.bands * masked.channels * WIDTH;
        self.centred.at_least(lanes)[..lanes].fill(0.0);
        let (raw, centred) = (chunk.raw(net, index - 1), self.centred.as_mut_ptr());
        Maps { inputs, finish: MaskedCentred { masked, raw, mean: mean.as_ptr(), centred } }
    }

    /// Sums of the cotangents g on the output of stage `index`, and of g times the distance from the mean before its batch
    /// norm, for each channel.
    ///
    /// # Safety
    /// The machine has `S`; the map is that of the stage.
    pub unsafe fn sums<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        chunk: &NormedActivations,
        index: usize,
        mean: &[f32],
    ) -> [Vec<f32>; 2] {
        let size = size(net, index);
        let [mut plain, mut centred] = [(); 2].map(|()| vec![0.0; size.channels]);
        // SAFETY: map and sums are those of the stage.
        unsafe {
            if index < net.plan.hidden() {
                self.clean.add_bias::<S, VP>(net, index, &mut plain);
                sum_lanes::<S>(&self.centred, net.bands, size.channels, &mut centred);
            } else {
                let lanes = size.channels * WIDTH;
                let sums = [&mut self.plain, &mut self.centred].map(|sums| {
                    sums.at_least(lanes)[..lanes].fill(0.0);
                    sums.as_mut_ptr()
                });
                kernels::collect::<S, VP>(size, chunk.raw(net, index), mean, self.clean.output(), sums);
                sum_lanes::<S>(&self.plain, 1, size.channels, &mut plain);
                sum_lanes::<S>(&self.centred, 1, size.channels, &mut centred);
            }
        }
        [plain, centred]
    }

    /// From behind the batch norm of stage `index` to before it.
    ///
    /// # Safety
    /// The machine has `S`; the map is that of the stage.
    pub unsafe fn go_back<S: Lanes, const VP: usize>(
        &mut self,
        net: &Net<'_>,
        chunk: &NormedActivations,
        index: usize,
        returns: &[Return],
    ) {
        let (map, cotangents) = (chunk.raw(net, index), self.clean.output_mut());
        // SAFETY: the maps are those of the stage.
        unsafe { kernels::go_back::<S, VP>(size(net, index), map, returns, chunk.images, cotangents) };
    }
}
