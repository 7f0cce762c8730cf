//! Ink on the canvas: soft-edged strokes, and what spoils them.

use super::draws::Draws;
use super::glyph::{Path, Point};
use super::{PIXELS, SIDE};

/// Half of a pen's width, in pixels.
const PEN: [f32; 2] = [0.9, 1.6];
/// Width of the soft edge, in pixels.
const EDGE: [f32; 2] = [0.8, 1.4];
/// Darkness of full ink.
const DARKNESS: [f32; 2] = [0.85, 1.0];
/// Relative change of the pen's width from one end of a path to the other.
const TAPER: f32 = 0.15;
/// How often a smudge hides part of the digit, and its radius in pixels.
const SMUDGE: f32 = 0.15;
const SMUDGE_RADIUS: [f32; 2] = [1.2, 2.4];
/// How often a stray stroke crosses the canvas, and its length in pixels.
const STRAY: f32 = 0.2;
const STRAY_LENGTH: [f32; 2] = [3.0, 9.0];
/// Largest strength of the paper's grain, and how often one pixel is a speck.
const GRAIN: f32 = 0.08;
const SPECK: f32 = 0.002;

/// The canvas, values in [0, 1], row-major.
pub(super) fn render(paths: &[Path], draws: &mut Draws) -> [f32; PIXELS] {
    let pen = draws.range(PEN[0], PEN[1]);
    let edge = draws.range(EDGE[0], EDGE[1]);
    let darkness = draws.range(DARKNESS[0], DARKNESS[1]);
    let taper = draws.normal(TAPER);
    let mut canvas = Canvas::new();
    for path in paths {
        canvas.stroke(path, pen, taper);
    }
    let mut image = canvas.ink(edge, darkness);
    if draws.chance(SMUDGE) {
        smudge(&mut image, paths, draws);
    }
    if draws.chance(STRAY) {
        let stray = stray(draws);
        let mut canvas = Canvas::new();
        canvas.stroke(&stray, draws.range(0.5, 1.0), 0.0);
        let ink = canvas.ink(edge, draws.range(0.4, 1.0));
        image.iter_mut().zip(ink).for_each(|(value, ink)| *value = value.max(ink));
    }
    grain(&mut image, draws);
    image
}

/// Signed distance of every pixel to the ink's outline, negative inside.
struct Canvas([f32; PIXELS]);

impl Canvas {
    /// Farther than any soft edge reaches.
    const REACH: f32 = 2.0;

    fn new() -> Self {
        Canvas([Self::REACH; PIXELS])
    }

    /// Joins the neighbourhood of a path; the pen's half width goes from pen·(1−taper) to pen·(1+taper).
    fn stroke(&mut self, path: &[Point], pen: f32, taper: f32) {
        let pieces = (path.len() - 1) as f32;
        for (i, ends) in path.windows(2).enumerate() {
            let along = (i as f32 + 0.5) / pieces;
            self.segment(ends[0], ends[1], pen * (1.0 + taper * (2.0 * along - 1.0)));
        }
    }

    fn segment(&mut self, from: Point, to: Point, radius: f32) {
        let reach = radius + Self::REACH;
        let rows = span(from[1], to[1], reach);
        let columns = span(from[0], to[0], reach);
        let direction = [to[0] - from[0], to[1] - from[1]];
        let length = direction[0] * direction[0] + direction[1] * direction[1];
        let scale = if length > 1e-12 { 1.0 / length } else { 0.0 };
        for row in rows {
            let y = row as f32 - from[1];
            for column in columns.clone() {
                let x = column as f32 - from[0];
                let t = ((x * direction[0] + y * direction[1]) * scale).clamp(0.0, 1.0);
                let (dx, dy) = (x - t * direction[0], y - t * direction[1]);
                let distance = (dx * dx + dy * dy).sqrt() - radius;
                let nearest = &mut self.0[row * SIDE + column];
                *nearest = nearest.min(distance);
            }
        }
    }

    /// Ink of `darkness` inside, falling to none over `edge` pixels around the outline.
    fn ink(self, edge: f32, darkness: f32) -> [f32; PIXELS] {
        self.0.map(|distance| {
            let t = (0.5 - distance / edge).clamp(0.0, 1.0);
            darkness * t * t * (3.0 - 2.0 * t)
        })
    }
}

/// Pixel indices within `reach` of the interval between `a` and `b`.
fn span(a: f32, b: f32, reach: f32) -> std::ops::Range<usize> {
    let low = (a.min(b) - reach).max(0.0) as usize;
    let high = (a.max(b) + reach + 1.0).clamp(0.0, SIDE as f32) as usize;
    low.min(high)..high
}

/// Wipes a round hole somewhere on the path.
fn smudge(image: &mut [f32; PIXELS], paths: &[Path], draws: &mut Draws) {
    let path = &paths[draws.below(paths.len())];
    let centre = path[draws.below(path.len())];
    let radius = draws.range(SMUDGE_RADIUS[0], SMUDGE_RADIUS[1]);
    for (index, value) in image.iter_mut().enumerate() {
        let (x, y) = ((index % SIDE) as f32 - centre[0], (index / SIDE) as f32 - centre[1]);
        let distance = (x * x + y * y).sqrt() - radius;
        *value *= (distance + 0.5).clamp(0.0, 1.0);
    }
}

/// A short straight stroke anywhere on the canvas.
fn stray(draws: &mut Draws) -> [Point; 2] {
    let middle = [draws.range(1.0, SIDE as f32 - 2.0), draws.range(1.0, SIDE as f32 - 2.0)];
    // A random direction by rejection would cost a loop; a point of the square, made unit length, is near enough.
    let (x, y) = (draws.range(-1.0, 1.0), draws.range(-1.0, 1.0));
    let norm = (x * x + y * y).sqrt().max(0.1);
    let half = 0.5 * draws.range(STRAY_LENGTH[0], STRAY_LENGTH[1]) / norm;
    [[middle[0] - x * half, middle[1] - y * half], [middle[0] + x * half, middle[1] + y * half]]
}

/// Adds the paper's grain to every pixel and a speck here and there.
fn grain(image: &mut [f32; PIXELS], draws: &mut Draws) {
    let strength = draws.range(0.0, GRAIN) / 256.0;
    let limit = (SPECK * 65_536.0) as u32;
    for value in image.iter_mut() {
        let bits = draws.word();
        let noise = (bits & 0xff) as f32 - 127.5;
        // Half of the paper's grain lies below white and is cut.
        *value = (*value + 2.0 * strength * noise).clamp(0.0, 1.0);
        if bits >> 16 < limit {
            *value = value.max(((bits >> 8) & 0xff) as f32 / 255.0);
        }
    }
}
