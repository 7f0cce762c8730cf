//! Images into lanes on the padded input map, and cotangents on that map back to images.

use crate::kernels::gather::{Outputs, Segment, gather};
use crate::net::Net;
use crate::net::geometry::patch_offsets;
use crate::net::weights::padded;
use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, WIDTH};

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

/// Cotangents on the padded map in lanes, `[position][c_in][VP][16]`, back to images `[count, d]`, added.
///
/// # Safety
/// The machine has `S`; `lanes` holds the map, which has lanes for all images.
pub unsafe fn store_cotangents<S: Lanes, const VP: usize>(
    net: &Net<'_>,
    lanes: &[f32],
    how: Normalise,
    images: &mut [f32],
) {
    let d = net.plan.dimension;
    let (mut tile, mut turned) = (Buffer::zeroed(WIDTH * WIDTH), Buffer::zeroed(WIDTH * WIDTH));
    for (group, images) in images.chunks_mut(WIDTH * d).enumerate() {
        let rows = images.len() / d;
        for e in (0..d).step_by(WIDTH) {
            let columns = WIDTH.min(d - e);
            // SAFETY: places lie in the map; map and tiles are aligned.
            unsafe {
                S::run(|| {
                    for l in 0..columns {
                        let value = match (net.pixel(e + l), net.plan.normalisation.as_ref()) {
                            (None, _) => S::zero(),
                            (Some(place), normal) => {
                                let value = S::load(lanes.as_ptr().add((place * VP + group) * WIDTH));
                                match (normal, how) {
                                    (None, _) => value,
                                    (Some((scale, _)), Normalise::Point) => S::mul(value, S::splat(scale[e + l])),
                                    (Some((scale, _)), Normalise::Radius) => {
                                        S::mul(value, S::splat(scale[e + l].abs()))
                                    }
                                }
                            }
                        };
                        S::store(tile.as_mut_ptr().add(l * WIDTH), value);
                    }
                });
            }
            if rows == WIDTH && columns == WIDTH {
                // SAFETY: sixteen rows of sixteen elements exist on both sides.
                unsafe {
                    S::run(|| {
                        S::transpose(tile.as_ptr(), WIDTH, turned.as_mut_ptr(), WIDTH);
                        for r in 0..WIDTH {
                            let target = images.as_mut_ptr().add(r * d + e);
                            let sum = S::add(S::load_any(target), S::load(turned.as_ptr().add(r * WIDTH)));
                            S::store_any(target, sum);
                        }
                    });
                }
            } else {
                for r in 0..rows {
                    for l in 0..columns {
                        images[r * d + e + l] += tile[l * WIDTH + r];
                    }
                }
            }
        }
    }
}

impl Net<'_> {
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
        // SAFETY: the padded map has lanes for a chunk's images.
        unsafe { store_cotangents::<S, VP>(self, pixels, how, images) };
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
