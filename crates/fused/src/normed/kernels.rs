//! What batch norms do to one chunk's maps, `[position][channel][VP][16]`.

use crate::simd::buffer::Buffer;
use crate::simd::lanes::{Lanes, WIDTH};

/// Positions whose squares are summed in f32 before they go into a sum in f64.
const BLOCK: usize = 32;

/// Channels and positions of a map.
#[derive(Clone, Copy)]
pub struct Size {
    pub channels: usize,
    pub positions: usize,
}

/// 1 in the lanes of the first `images`, 0 in the others.
#[inline(always)]
unsafe fn present<S: Lanes, const VP: usize>(images: usize) -> [S::V; VP] {
    // SAFETY: the machine is the caller's word.
    unsafe {
        let mut mask = [S::zero(); VP];
        for v in 0..VP {
            let mut lanes = [0.0; WIDTH];
            lanes[..images.saturating_sub(v * WIDTH).min(WIDTH)].fill(1.0);
            mask[v] = S::load_any(lanes.as_ptr());
        }
        mask
    }
}

/// Mean and sum of squared distances from it of each channel over the first `images`, which are some.
///
/// Distances are taken from `near`, a number near the mean of each channel, and corrected by their own mean, so that one
/// pass does. `lanes` is memory.
///
/// # Safety
/// The machine has `S`; `map` holds the map.
pub unsafe fn moments<S: Lanes, const VP: usize>(
    size: Size,
    map: *const f32,
    near: &[f32],
    images: usize,
    lanes: &mut Buffer,
) -> Vec<[f64; 2]> {
    let Size { channels, positions } = size;
    let lanes = &mut lanes.at_least(2 * channels * WIDTH)[..2 * channels * WIDTH];
    let mut sums = vec![[0.0_f64; 2]; channels];
    for first in (0..positions).step_by(BLOCK) {
        lanes.fill(0.0);
        let block = first..positions.min(first + BLOCK);
        // SAFETY: the map holds the positions, the lanes two vectors per channel.
        unsafe {
            S::run(|| {
                let mask = present::<S, VP>(images);
                for position in block {
                    for c in 0..channels {
                        let near = S::splat(near[c]);
                        let at = map.add((position * channels + c) * VP * WIDTH);
                        let own = lanes.as_mut_ptr().add(2 * c * WIDTH);
                        let (mut sum, mut square) = (S::load(own), S::load(own.add(WIDTH)));
                        for v in 0..VP {
                            let distance = S::mul(S::sub(S::load(at.add(v * WIDTH)), near), mask[v]);
                            sum = S::add(sum, distance);
                            square = S::fma(distance, distance, square);
                        }
                        S::store(own, sum);
                        S::store(own.add(WIDTH), square);
                    }
                }
                for (c, sums) in sums.iter_mut().enumerate() {
                    for (part, sum) in sums.iter_mut().enumerate() {
                        *sum += f64::from(S::sum(S::load(lanes.as_ptr().add((2 * c + part) * WIDTH))));
                    }
                }
            });
        }
    }
    let n = (positions * images) as f64;
    let of = |([sum, square], &near): ([f64; 2], &f32)| [f64::from(near) + sum / n, (square - sum * sum / n).max(0.0)];
    sums.into_iter().zip(near).map(of).collect()
}

/// A channel's affine map x ↦ factor·(x − mean) + summand.
#[derive(Clone, Copy)]
pub struct Line {
    pub mean: f32,
    pub factor: f32,
    pub summand: f32,
}

/// Writes factor·(x − mean) + summand to `target`, then the ReLU if `rectify`.
///
/// # Safety
/// The machine has `S`; both hold the map.
pub unsafe fn normalise<S: Lanes, const VP: usize>(
    size: Size,
    map: *const f32,
    lines: &[Line],
    rectify: bool,
    target: *mut f32,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        S::run(|| {
            let low = if rectify { S::zero() } else { S::splat(f32::NEG_INFINITY) };
            for position in 0..size.positions {
                for (c, line) in lines.iter().enumerate() {
                    let place = (position * size.channels + c) * VP * WIDTH;
                    let (mean, factor, summand) = (S::splat(line.mean), S::splat(line.factor), S::splat(line.summand));
                    for v in 0..VP {
                        let x = S::sub(S::load(map.add(place + v * WIDTH)), mean);
                        S::store(target.add(place + v * WIDTH), S::max(low, S::fma(x, factor, summand)));
                    }
                }
            }
        });
    }
}

/// What a cotangent g becomes on its way back through a channel: factor·g + constant + slope·(x − mean).
#[derive(Clone, Copy)]
pub struct Return {
    pub factor: f32,
    pub constant: f32,
    pub slope: f32,
    pub mean: f32,
}

/// Takes the cotangents in `cotangents` back to the map before the batch norm; 0 behind the first `images`.
///
/// # Safety
/// The machine has `S`; both hold the map.
pub unsafe fn go_back<S: Lanes, const VP: usize>(
    size: Size,
    map: *const f32,
    returns: &[Return],
    images: usize,
    cotangents: *mut f32,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        S::run(|| {
            let mask = present::<S, VP>(images);
            for position in 0..size.positions {
                for (c, of) in returns.iter().enumerate() {
                    let place = (position * size.channels + c) * VP * WIDTH;
                    let (mean, factor) = (S::splat(of.mean), S::splat(of.factor));
                    let (constant, slope) = (S::splat(of.constant), S::splat(of.slope));
                    for v in 0..VP {
                        let g = cotangents.add(place + v * WIDTH);
                        let x = S::sub(S::load(map.add(place + v * WIDTH)), mean);
                        let value = S::fma(factor, S::load(g), S::fma(slope, x, constant));
                        S::store(g, S::mul(value, mask[v]));
                    }
                }
            }
        });
    }
}

/// Adds Σ g and Σ g·(x − mean) over positions and vectors to lanes `[channel][16]`.
///
/// # Safety
/// The machine has `S`; maps and lanes hold the channels.
pub unsafe fn collect<S: Lanes, const VP: usize>(
    size: Size,
    map: *const f32,
    mean: &[f32],
    cotangents: *const f32,
    [plain, centred]: [*mut f32; 2],
) {
    // SAFETY: passed on from the caller.
    unsafe {
        S::run(|| {
            for position in 0..size.positions {
                for c in 0..size.channels {
                    let place = (position * size.channels + c) * VP * WIDTH;
                    let (plain, centred) = (plain.add(c * WIDTH), centred.add(c * WIDTH));
                    let mean = S::splat(mean[c]);
                    for v in 0..VP {
                        let g = S::load(cotangents.add(place + v * WIDTH));
                        let x = S::sub(S::load(map.add(place + v * WIDTH)), mean);
                        S::store(plain, S::add(S::load(plain), g));
                        S::store(centred, S::fma(g, x, S::load(centred)));
                    }
                }
            }
        });
    }
}
