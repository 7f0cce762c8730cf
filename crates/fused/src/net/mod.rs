//! A plan with its packed weights and the small tables that all passes share.

pub mod accumulate;
pub mod exchange;
pub mod geometry;
pub mod plan;
pub mod spec;
pub mod sweep;
pub mod taps;
pub mod weights;

use std::ops::Range;

use tightrope_network::ParameterLayout;

use crate::kernels::dense;
use crate::kernels::gather::{Outputs, Segment, gather};
use crate::net::geometry::patch_offsets;
use crate::net::plan::Plan;
use crate::net::taps::Taps;
use crate::net::weights::{Weights, padded};
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, WIDTH};

/// Marks an input element that no window reads.
const UNREAD: u32 = u32::MAX;

/// Everything about a network that does not change from image to image.
pub struct Net<'a> {
    pub plan: &'a Plan,
    pub weights: &'a Weights,
    /// Weights of the stages that are read in θ's own order, and where they are in θ; see [`crate::kernels::dense`].
    pub dense: Vec<Option<(&'a [f32], Range<usize>)>>,
    /// Bands of rows that a map is divided into for parallel work; fixed by the batch, not the threads.
    pub bands: usize,
    /// Connections of each stage.
    pub taps: Vec<Taps>,
    /// 0, 1, 2, …: the list of all channels.
    pub identity: Vec<u16>,
    /// Place of every input element in padded `[position][channel]` order, or [`UNREAD`].
    pub pixels: Vec<u32>,
}

/// Stages that a batch takes in one go.
pub enum Section<'a> {
    /// Each chunk of images by itself.
    Chunks(Range<usize>),
    /// All chunks together, divided by outputs: the stage and its weights.
    Dense(usize, &'a [f32]),
}

impl<'a> Net<'a> {
    /// Tables for `plan`; `theta` if large dense stages are read in θ's own order.
    pub fn new(plan: &'a Plan, weights: &'a Weights, theta: Option<(&ParameterLayout, &'a [f32])>) -> Self {
        let dense = plan.stages.iter().enumerate().map(|(index, stage)| {
            let (layout, theta) = theta.filter(|_| dense::covers(plan, index))?;
            let range = layout.get(stage.weight).range();
            Some((&theta[range.clone()], range))
        });
        let longest = plan.stages.iter().map(|s| s.output.c.max(s.input.c * s.kernel[1])).max().unwrap_or(0);
        let first = &plan.stages[0];
        let longest = longest.max(first.input.c * first.taps());
        let [height, width] = first.input_side();
        let mut pixels = Vec::with_capacity(plan.dimension);
        for c in 0..first.input.c {
            for y in 0..first.input.h {
                for x in 0..first.input.w {
                    let (y, x) = (y + first.pad[0], x + first.pad[1]);
                    let inside = y < height && x < width;
                    pixels.push(if inside { ((y * width + x) * first.input.c + c) as u32 } else { UNREAD });
                }
            }
        }
        let taps = plan.stages.iter().map(Taps::new).collect();
        Net {
            plan,
            weights,
            dense: dense.collect(),
            bands: 1,
            taps,
            identity: (0..longest).map(|c| c as u16).collect(),
            pixels,
        }
    }

    /// Elements of the input of stage `index` in the kernels' coordinates.
    pub fn input_len(&self, index: usize) -> usize {
        let [h, w] = self.plan.stages[index].input_side();
        h * w * self.plan.stages[index].input.c
    }

    /// The stages in order, cut at those that a batch's chunks pass together.
    pub fn sections(&self) -> Vec<Section<'a>> {
        let mut sections = Vec::new();
        let mut start = 0;
        for (index, dense) in self.dense.iter().enumerate() {
            if let Some((weights, _)) = dense {
                sections.extend([Section::Chunks(start..index), Section::Dense(index, weights)]);
                start = index + 1;
            }
        }
        sections.push(Section::Chunks(start..self.plan.stages.len()));
        sections
    }

    /// Place of input element `e` in padded coordinates, if any window reads it.
    pub fn pixel(&self, e: usize) -> Option<usize> {
        (self.pixels[e] != UNREAD).then_some(self.pixels[e] as usize)
    }

    /// Cotangents on the first stage's output map to the images `[count, d]`, added; `pixels` is memory.
    ///
    /// # Safety
    /// The machine has `S`; `output` holds the map.
    pub unsafe fn input_cotangents<S: Lanes, const VP: usize>(
        &self,
        patch: &Buffer,
        output: *const f32,
        pixels: &mut Buffer,
        how: Normalise,
        images: &mut [f32],
    ) {
        let size = self.input_len(0) * VP * WIDTH;
        pixels.at_least(size)[..size].fill(0.0);
        // SAFETY: the padded map is sized to its patches.
        unsafe { self.scatter_patches::<S, VP>(patch, output, pixels.as_mut_ptr()) };
        store_cotangents(self, pixels, VP, how, images);
    }

    /// The first stage's transpose over the whole map, added to `pixels` (padded, `[position][c_in][VP][16]`).
    unsafe fn scatter_patches<S: Lanes, const VP: usize>(&self, patch: &Buffer, output: *const f32, pixels: *mut f32) {
        let stage = &self.plan.stages[0];
        let row = stage.input_side()[1];
        let offsets: Vec<u32> = patch_offsets(stage, row).iter().map(|o| o * (VP * WIDTH) as u32).collect();
        let (co, n) = (stage.output.c, stage.taps() * stage.input.c);
        for y in 0..stage.output.h {
            for x in 0..stage.output.w {
                let corner = (y * stage.stride[0] * row + x * stage.stride[1]) * stage.input.c;
                // SAFETY: the padded map holds every patch.
                unsafe {
                    let segment = Segment {
                        input: output.add((y * stage.output.w + x) * co * VP * WIDTH),
                        weight: patch.as_ptr(),
                        list: self.identity.as_ptr(),
                        full: co,
                        half: 0,
                    };
                    let corner = pixels.add(corner * VP * WIDTH);
                    gather::<S, VP>(&[segment][..], padded(n), corner, Outputs::Patch(&offsets));
                }
            }
        }
    }
}

/// How input elements are mapped on their way into the kernels.
#[derive(Clone, Copy)]
pub enum Normalise {
    /// scale·x + shift: points.
    Point,
    /// |scale|·x: radii.
    Radius,
}

/// Images `[count, d]` into lanes, padded: `[position][c_in][VP][16]`; missing images are zero.
///
/// # Safety
/// The machine has `S`; `target` holds the padded map.
pub unsafe fn load_images<S: Lanes, const VP: usize>(
    net: &Net<'_>,
    images: &[f32],
    how: Normalise,
    target: &mut [f32],
) {
    let d = net.plan.dimension;
    let count = images.len() / d;
    let mut tile = Buffer::zeroed(WIDTH * WIDTH);
    target[..net.input_len(0) * VP * WIDTH].fill(0.0);
    for group in 0..VP.min(count.div_ceil(WIDTH)) {
        let images = &images[group * WIDTH * d..];
        let rows = WIDTH.min(images.len() / d);
        for e in (0..d).step_by(WIDTH) {
            let columns = WIDTH.min(d - e);
            if rows == WIDTH && columns == WIDTH {
                // SAFETY: sixteen rows of sixteen elements exist on both sides.
                unsafe { S::run(|| S::transpose(images.as_ptr().add(e), d, tile.as_mut_ptr(), WIDTH)) };
            } else {
                for r in 0..rows {
                    for l in 0..columns {
                        tile[l * WIDTH + r] = images[r * d + e + l];
                    }
                }
                // Lanes without an image must not carry another tile's values.
                (0..columns).for_each(|l| tile[l * WIDTH + rows..(l + 1) * WIDTH].fill(0.0));
            }
            let normal = net.plan.normalisation.as_ref();
            // SAFETY: places lie in the map; tile and map are aligned.
            unsafe {
                S::run(|| {
                    for l in 0..columns {
                        let Some(place) = net.pixel(e + l) else { continue };
                        let mut value = S::load(tile.as_ptr().add(l * WIDTH));
                        if let Some((scale, shift)) = normal {
                            value = match how {
                                Normalise::Point => S::fma(value, S::splat(scale[e + l]), S::splat(shift[e + l])),
                                Normalise::Radius => S::mul(value, S::splat(scale[e + l].abs())),
                            };
                        }
                        S::store(target.as_mut_ptr().add((place * VP + group) * WIDTH), value);
                    }
                });
            }
        }
    }
}

/// Cotangents on the padded map in lanes back to images `[count, d]`, added.
pub fn store_cotangents(net: &Net<'_>, lanes: &[f32], vp: usize, how: Normalise, images: &mut [f32]) {
    let d = net.plan.dimension;
    for (image, target) in images.chunks_exact_mut(d).enumerate() {
        for (e, target) in target.iter_mut().enumerate() {
            let Some(place) = net.pixel(e) else { continue };
            let scale = net.plan.normalisation.as_ref().map_or(1.0, |(scale, _)| scale[e]);
            let scale = if matches!(how, Normalise::Radius) { scale.abs() } else { scale };
            *target += scale * lanes[(place * vp + image / WIDTH) * WIDTH + image % WIDTH];
        }
    }
}

/// target[c] += Σ over bands and lanes of `values`, `[band][channel][16]`.
///
/// # Safety
/// The machine has `S`; `values` holds all bands.
pub unsafe fn sum_lanes<S: Lanes>(values: &Buffer, bands: usize, channels: usize, target: &mut [f32]) {
    // SAFETY: passed on from the caller.
    unsafe {
        S::run(|| {
            for (c, target) in target.iter_mut().enumerate().take(channels) {
                let mut sum = S::zero();
                for band in 0..bands {
                    sum = S::add(sum, S::load(values[(band * channels + c) * WIDTH..].as_ptr()));
                }
                *target += S::sum(sum);
            }
        });
    }
}

/// target[c] += Σ over positions and lanes of `values`.
///
/// # Safety
/// The machine has `S`; `values` is aligned and holds `positions · channels`.
pub unsafe fn sum_channels<S: Lanes, const VP: usize>(
    values: *const f32,
    positions: usize,
    channels: usize,
    target: &mut [f32],
) {
    // SAFETY: passed on from the caller.
    unsafe {
        S::run(|| {
            for (c, target) in target.iter_mut().enumerate().take(channels) {
                let mut sum = S::zero();
                for position in 0..positions {
                    for v in 0..VP {
                        sum = S::add(sum, S::load(values.add(((position * channels + c) * VP + v) * WIDTH)));
                    }
                }
                *target += S::sum(sum);
            }
        });
    }
}
