//! Slant, turn, bend, size and place of a digit on its canvas.

use super::SIDE;
use super::draws::Draws;
use super::glyph::Path;

/// Deviations of the pose; lengths in glyph units (half a digit's height is 1) unless said otherwise.
const BEND: f32 = 0.09;
const SLANT: f32 = 0.18;
/// Tangent of half the turning angle: deviation 0.06 is 7 degrees.
const HALF_TURN: f32 = 0.06;
/// Half height in pixels.
const SIZE: [f32; 2] = [7.6, 10.6];
/// Width against height, relative to the drawn glyph.
const ASPECT: [f32; 2] = [0.8, 1.2];
/// Deviation of the middle, in pixels.
const DRIFT: f32 = 1.3;
/// Pixels that stay free between the pen's middle line and the border.
const MARGIN: f32 = 2.0;

/// Paths in glyph units to paths in pixels (pixel centres at integer coordinates).
pub(super) fn place(mut paths: Vec<Path>, draws: &mut Draws) -> Vec<Path> {
    let bend: [f32; 6] = std::array::from_fn(|_| draws.normal(BEND));
    let slant = draws.normal(SLANT);
    let t = draws.normal(HALF_TURN);
    // A rotation without trigonometry: (1−t²)/(1+t²) and 2t/(1+t²) are the cosine and sine of 2 arctan t.
    let (cosine, sine) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
    let height = draws.range(SIZE[0], SIZE[1]);
    let width = height * draws.range(ASPECT[0], ASPECT[1]);
    let drift = [draws.normal(DRIFT), draws.normal(DRIFT)];

    for point in paths.iter_mut().flatten() {
        let [x, y] = *point;
        let bent = [
            x + bend[0] * x * y + bend[1] * (y * y - 0.4) + bend[2] * y * (y * y - 0.6),
            y + bend[3] * x * y + bend[4] * (x * x - 0.2) + bend[5] * (y * y - 0.4),
        ];
        let leaning = [(bent[0] - slant * bent[1]) * width, bent[1] * height];
        *point = [cosine * leaning[0] - sine * leaning[1], sine * leaning[0] + cosine * leaning[1]];
    }

    let axes = [0, 1].map(|axis| {
        let (low, high) = extent(&paths, axis);
        let room = SIDE as f32 - 1.0 - 2.0 * MARGIN;
        let shrink = if high - low > room { room / (high - low) } else { 1.0 };
        let slack = ((room - (high - low) * shrink) * 0.5).max(0.0);
        let middle = (SIDE as f32 - 1.0) * 0.5 + drift[axis].clamp(-slack, slack);
        (shrink, middle - (low + high) * 0.5 * shrink)
    });
    for point in paths.iter_mut().flatten() {
        *point = [0, 1].map(|axis| point[axis] * axes[axis].0 + axes[axis].1);
    }
    paths
}

/// Smallest and largest coordinate along `axis`.
fn extent(paths: &[Path], axis: usize) -> (f32, f32) {
    paths
        .iter()
        .flatten()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), point| (low.min(point[axis]), high.max(point[axis])))
}
