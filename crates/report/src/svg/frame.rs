//! The axes around a chart: grid, ticks, names.

use super::Svg;
use super::scale::Scale;
use crate::text;

/// What the charts have in common: their size and the margins for the axes.
pub const WIDTH: f64 = 480.0;
pub const HEIGHT: f64 = 290.0;
pub const LEFT: f64 = 58.0;
pub const RIGHT: f64 = 466.0;
pub const TOP: f64 = 14.0;
pub const BOTTOM: f64 = 246.0;

/// Draws the horizontal axis at `bottom`, with grid lines up to `top`.
pub fn x_axis(svg: &mut Svg, scale: &Scale, name: &str, top: f64, bottom: f64) {
    for &value in scale.ticks() {
        let x = scale.place(value);
        svg.line("grid", (x, top), (x, bottom));
        svg.text("tick", (x, bottom + 16.0), "middle", &text::tick(value));
    }
    let (from, to) = scale.span();
    svg.line("axis", (from, bottom), (to, bottom));
    svg.text("name", ((from + to) / 2.0, bottom + 35.0), "middle", name);
}

/// Draws the vertical axis at `LEFT`, with grid lines to `RIGHT`.
pub fn y_axis(svg: &mut Svg, scale: &Scale, name: &str) {
    y_axis_to(svg, scale, name, RIGHT);
}

/// Draws the vertical axis at `LEFT`, with grid lines to `right`.
pub fn y_axis_to(svg: &mut Svg, scale: &Scale, name: &str, right: f64) {
    for &value in scale.ticks() {
        let y = scale.place(value);
        svg.line("grid", (LEFT, y), (right, y));
        svg.text("tick", (LEFT - 6.0, y + 4.0), "end", &text::tick(value));
    }
    let (from, to) = scale.span();
    svg.line("axis", (LEFT, from), (LEFT, to));
    svg.upward_text("name", (13.0, (from + to) / 2.0), name);
}
