//! Curves over a number, each in a band of uncertainty, with their names below.

use super::frame::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, x_axis, y_axis};
use super::scale::{Scale, drawable};
use super::{Svg, dashes};
use crate::text;

/// Names in a row below the axis, and the height of a row.
const NAMES: usize = 3;
const ROW: f64 = 18.0;

/// One curve with its band.
pub struct Band {
    /// What it is called.
    pub name: String,
    /// Position among the curves, which gives colour and dashes.
    pub place: usize,
    /// Thinner: a curve of less weight.
    pub faint: bool,
    /// x, y and half the height of the band; values that are not finite make a gap.
    pub points: Vec<(f64, f64, f64)>,
}

/// Curves in one pair of axes.
pub struct BandChart<'a> {
    /// Of its own on the page.
    pub id: &'a str,
    /// For readers that do not see it.
    pub title: &'a str,
    /// In words what is seen.
    pub description: &'a str,
    /// Names of the axes with their units.
    pub axes: (&'a str, &'a str),
    /// Whether powers of ten have equal distances, along x and along y.
    pub logarithmic: (bool, bool),
    /// The curves, the first one drawn first.
    pub curves: Vec<Band>,
}

impl BandChart<'_> {
    /// The drawing.
    pub fn draw(&self) -> String {
        let points = || self.curves.iter().flat_map(|curve| curve.points.iter());
        let places = points().map(|point| point.0);
        let x = match self.logarithmic.0 {
            true => Scale::logarithmic(places, LEFT, RIGHT),
            false => Scale::linear(places, None, LEFT, RIGHT),
        };
        // Bands that reach beyond all sense are cut, so that they leave something to be seen of the curves.
        let values = || points().filter_map(|point| drawable(Some(point.1)));
        let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let reach = high - low;
        let with_bands = values().chain(points().flat_map(|&(_, value, half)| {
            let ends = [value - half, value + half];
            ends.into_iter().filter(move |&end| end >= low - reach && end <= high + reach)
        }));
        let y = match self.logarithmic.1 {
            true => Scale::logarithmic(values(), BOTTOM, TOP),
            false => Scale::linear(with_bands, None, BOTTOM, TOP),
        };
        let rows = self.curves.len().div_ceil(NAMES) as f64;
        let mut svg = Svg::new(self.id, WIDTH, HEIGHT + ROW * rows, self.title, self.description);
        x_axis(&mut svg, &x, self.axes.0, TOP, BOTTOM);
        y_axis(&mut svg, &y, self.axes.1);
        for curve in &self.curves {
            svg.begin_run(curve.place);
            let drawn =
                |point: &(f64, f64, f64)| drawable(Some(point.1)).is_some() && drawable(Some(point.2)).is_some();
            for piece in curve.points.split(|point| !drawn(point)).filter(|piece| !piece.is_empty()) {
                if piece.iter().any(|point| point.2 > 0.0) {
                    let upper = piece.iter().map(|&(at, value, half)| (x.place(at), y.place(value + half)));
                    let lower = piece.iter().rev().map(|&(at, value, half)| (x.place(at), y.place(value - half)));
                    svg.polygon("band", &upper.chain(lower).collect::<Vec<_>>());
                }
                let line: Vec<(f64, f64)> = piece.iter().map(|&(at, value, _)| (x.place(at), y.place(value))).collect();
                svg.polyline(if curve.faint { "curve faint" } else { "curve" }, dashes(curve.place), &line);
            }
            svg.end_run();
        }
        for (place, curve) in self.curves.iter().enumerate() {
            let left = LEFT + (RIGHT - LEFT) / NAMES as f64 * (place % NAMES) as f64;
            let middle = HEIGHT + ROW * ((place / NAMES) as f64 + 0.3);
            svg.begin_run(curve.place);
            let class = if curve.faint { "curve faint" } else { "curve" };
            svg.polyline(class, dashes(curve.place), &[(left, middle), (left + 22.0, middle)]);
            svg.text("key", (left + 27.0, middle + 4.0), "start", &curve.name);
            svg.end_run();
        }
        svg.finish()
    }

    /// Smallest and largest value of each curve in words, for `description`.
    pub fn ends(curves: &[Band]) -> String {
        let words = |curve: &Band| {
            let values = || curve.points.iter().map(|point| point.1);
            let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
            format!("{}: from {} to {}", curve.name, text::number(Some(low)), text::number(Some(high)))
        };
        curves.iter().map(words).collect::<Vec<_>>().join("; ")
    }
}
