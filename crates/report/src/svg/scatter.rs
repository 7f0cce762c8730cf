//! Points with intervals in both directions, and the front of the best.

use super::Svg;
use super::frame::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, x_axis, y_axis};
use super::scale::Scale;

/// One point, in per cent.
pub struct Point {
    /// Position of its run, which gives colour and shape.
    pub run: usize,
    /// Value with the ends of its interval.
    pub x: (f64, f64, f64),
    /// Value with the ends of its interval.
    pub y: (f64, f64, f64),
    /// Drawn without filling: a figure of less weight.
    pub hollow: bool,
    /// Shown where a pointer rests.
    pub tip: String,
}

/// Points in one pair of axes of per cents.
pub struct ScatterChart<'a> {
    /// Of its own on the page.
    pub id: &'a str,
    /// For readers that do not see it.
    pub title: &'a str,
    /// In words what is seen.
    pub description: &'a str,
    /// Names of the axes with their units.
    pub axes: (&'a str, &'a str),
    /// The points.
    pub points: Vec<Point>,
    /// Positions of those on the front, by rising x.
    pub front: &'a [usize],
}

impl ScatterChart<'_> {
    /// The drawing.
    pub fn draw(&self) -> String {
        let limits = Some((0.0, 100.0));
        let x = Scale::linear(self.points.iter().flat_map(|point| [point.x.1, point.x.2]), limits, LEFT, RIGHT);
        let y = Scale::linear(self.points.iter().flat_map(|point| [point.y.1, point.y.2]), limits, BOTTOM, TOP);
        let mut svg = Svg::new(self.id, WIDTH, HEIGHT, self.title, self.description);
        // What the front dominates, as stairs from the left end down to the bottom.
        let mut stairs = vec![(LEFT, BOTTOM)];
        let mut left = LEFT;
        for &place in self.front {
            let (to, height) = (x.place(self.points[place].x.0), y.place(self.points[place].y.0));
            stairs.extend([(left, height), (to, height)]);
            left = to;
        }
        stairs.push((left, BOTTOM));
        svg.polygon("dominated", &stairs);
        x_axis(&mut svg, &x, self.axes.0, TOP, BOTTOM);
        y_axis(&mut svg, &y, self.axes.1);
        if !self.front.is_empty() {
            svg.polyline("front", "", &stairs[1..]);
        }
        for point in &self.points {
            let at = (x.place(point.x.0), y.place(point.y.0));
            svg.begin_run(point.run);
            svg.line("interval", (x.place(point.x.1), at.1), (x.place(point.x.2), at.1));
            svg.line("interval", (at.0, y.place(point.y.1)), (at.0, y.place(point.y.2)));
            svg.mark(point.run, point.hollow, at, 5.0, &point.tip);
            svg.end_run();
        }
        svg.finish()
    }
}
