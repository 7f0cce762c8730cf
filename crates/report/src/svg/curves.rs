//! Curves over epochs.

use super::frame::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, x_axis, y_axis};
use super::scale::{Scale, drawable};
use super::{Svg, dashes};
use crate::text;

/// Curves with more points than that have no marks, which would hide them.
const MOST_MARKS: usize = 40;

/// One curve.
pub struct Curve {
    /// Position of its run, which gives colour and dashes.
    pub run: usize,
    /// What it is called.
    pub name: String,
    /// Thinner and without marks: a figure of less weight.
    pub faint: bool,
    /// Places along the axis with their values; where there is no value the curve has a gap.
    pub points: Vec<(f64, Option<f64>)>,
}

/// Curves in one pair of axes.
pub struct CurveChart<'a> {
    /// Of its own on the page.
    pub id: &'a str,
    /// For readers that do not see it.
    pub title: &'a str,
    /// Name of the vertical axis with its unit.
    pub axis: &'a str,
    /// The curves.
    pub curves: Vec<Curve>,
    /// Ends that the vertical axis does not leave.
    pub limits: Option<(f64, f64)>,
    /// Whether powers of ten have equal distances, if the values allow.
    pub logarithmic: bool,
}

impl CurveChart<'_> {
    /// True if there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        !self.curves.iter().any(|curve| curve.points.iter().any(|(_, value)| drawable(*value).is_some()))
    }

    /// The drawing.
    pub fn draw(&self) -> String {
        let values =
            || self.curves.iter().flat_map(|curve| curve.points.iter().filter_map(|(_, value)| drawable(*value)));
        let epochs = self.curves.iter().flat_map(|curve| curve.points.iter().map(|(epoch, _)| *epoch));
        let x = Scale::whole(epochs.chain([0.0]), LEFT, RIGHT);
        let y = if self.logarithmic && values().any(|value| value > 0.0) {
            Scale::logarithmic(values(), BOTTOM, TOP)
        } else {
            Scale::linear(values(), self.limits, BOTTOM, TOP)
        };
        let mut svg = Svg::new(self.id, WIDTH, HEIGHT, self.title, &self.description());
        x_axis(&mut svg, &x, "epoch", TOP, BOTTOM);
        y_axis(&mut svg, &y, self.axis);
        for curve in &self.curves {
            svg.begin_run(curve.run);
            let drawn = |&(epoch, value): &(f64, Option<f64>)| Some((x.place(epoch), y.place(drawable(value)?)));
            let class = if curve.faint { "curve faint" } else { "curve" };
            for piece in curve.points.split(|point| drawable(point.1).is_none()).filter(|piece| !piece.is_empty()) {
                let places: Vec<(f64, f64)> = piece.iter().filter_map(drawn).collect();
                svg.polyline(class, dashes(curve.run), &places);
            }
            let count = curve.points.iter().filter_map(drawn).count();
            if count == 1 || (!curve.faint && count <= MOST_MARKS) {
                for point in &curve.points {
                    if let Some(place) = drawn(point) {
                        let tip = format!("{}, epoch {}: {}", curve.name, text::tick(point.0), text::number(point.1));
                        svg.mark(curve.run, curve.faint, place, 3.2, &tip);
                    }
                }
            }
            svg.end_run();
        }
        svg.finish()
    }

    /// The last value of each curve in words.
    fn description(&self) -> String {
        let last = |curve: &Curve| {
            let (epoch, value) = curve.points.iter().rev().find(|(_, value)| drawable(*value).is_some())?;
            Some(format!("{}: {} at epoch {}", curve.name, text::number(*value), text::tick(*epoch)))
        };
        const MOST: usize = 12;
        let mut words: Vec<String> = self.curves.iter().filter_map(last).collect();
        let more = words.len().saturating_sub(MOST);
        words.truncate(MOST);
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{} by epoch. Last values: {}{rest}.", self.axis, words.join("; "))
    }
}
