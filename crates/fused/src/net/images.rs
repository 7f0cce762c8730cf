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
