//! Between images in lanes and one image's own memory.

use crate::net::plan::Grid;
use crate::net::weights::padded;
use crate::simd::lanes::{Lanes, WIDTH};

/// Elements of one image's padded map `[position][channel padded]`.
pub fn image_len(grid: Grid) -> usize {
    grid.positions() * padded(grid.c)
}

/// `[position][channel][VP][16 images]` to `[16·VP images][position][channel padded]`.
///
/// # Safety
/// The machine has `S`; `lanes` holds the map and its slack, `images` all 16·VP images.
pub unsafe fn unpack<S: Lanes, const VP: usize>(grid: Grid, lanes: &[f32], images: &mut [f32]) {
    let (row, len) = (padded(grid.c), image_len(grid));
    for position in 0..grid.positions() {
        for block in (0..grid.c).step_by(WIDTH) {
            for v in 0..VP {
                // SAFETY: the slack covers the channels that pad the last block.
                unsafe {
                    let from = lanes.as_ptr().add(((position * grid.c + block) * VP + v) * WIDTH);
                    let to = images.as_mut_ptr().add(v * WIDTH * len + position * row + block);
                    S::run(|| S::transpose(from, VP * WIDTH, to, len));
                }
            }
        }
    }
}

/// The inverse of [`unpack`].
///
/// # Safety
/// As [`unpack`], with `lanes` written, slack included.
pub unsafe fn pack<S: Lanes, const VP: usize>(grid: Grid, images: &[f32], lanes: &mut [f32]) {
    let (row, len) = (padded(grid.c), image_len(grid));
    // In order of positions: what a block's padding spills over is written by the next position.
    for position in 0..grid.positions() {
        for block in (0..grid.c).step_by(WIDTH) {
            for v in 0..VP {
                // SAFETY: the slack takes the last block's padding.
                unsafe {
                    let from = images.as_ptr().add(v * WIDTH * len + position * row + block);
                    let to = lanes.as_mut_ptr().add(((position * grid.c + block) * VP + v) * WIDTH);
                    S::run(|| S::transpose(from, len, to, VP * WIDTH));
                }
            }
        }
    }
}

/// One image's padded map to `[channel][height][width]`.
pub fn to_planes(grid: Grid, image: &[f32], planes: &mut Vec<f32>) {
    let row = padded(grid.c);
    for c in 0..grid.c {
        planes.extend((0..grid.positions()).map(|position| image[position * row + c]));
    }
}

/// Adds `[channel][height][width]` to one image's padded map.
pub fn add_planes(grid: Grid, planes: &[f32], image: &mut [f32]) {
    let row = padded(grid.c);
    for c in 0..grid.c {
        for position in 0..grid.positions() {
            image[position * row + c] += planes[c * grid.positions() + position];
        }
    }
}
