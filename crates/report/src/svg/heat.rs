//! Values over a plane as cells of colour.

use super::Svg;
use super::frame::{LEFT, TOP, WIDTH, x_axis, y_axis_to};
use super::scale::{Scale, drawable};
use crate::text;

const RIGHT: f64 = 382.0;
const BOTTOM: f64 = 338.0;
const HEIGHT: f64 = 382.0;
/// The bar of colours: its left end, its width and the steps that it is drawn in.
const BAR: (f64, f64, usize) = (398.0, 14.0, 64);
/// Colours from the smallest to the largest value; lightness falls all the way, so that none needs to be told by its hue.
const RAMP: [[f64; 3]; 4] = [[247.0, 244.0, 225.0], [138.0, 196.0, 189.0], [33.0, 113.0, 160.0], [31.0, 28.0, 82.0]];
/// The colour of values that are not finite.
const NONE: &str = "#888888";

/// A grid of values.
pub struct HeatChart<'a> {
    /// Of its own on the page.
    pub id: &'a str,
    /// For readers that do not see it.
    pub title: &'a str,
    /// In words what is seen.
    pub description: &'a str,
    /// Names of the axes with their units.
    pub axes: (&'a str, &'a str),
    /// Places along the horizontal axis, rising, at equal distances; at least two.
    pub x: &'a [f64],
    /// Places along the vertical axis, likewise.
    pub y: &'a [f64],
    /// The values, `[y, x]`.
    pub values: &'a [f64],
}

impl HeatChart<'_> {
    /// The drawing.
    pub fn draw(&self) -> String {
        let half = |places: &[f64]| 0.5 * (places[places.len() - 1] - places[0]) / (places.len() - 1) as f64;
        let (half_x, half_y) = (half(self.x), half(self.y));
        let edges = |places: &[f64], half: f64| [places[0] - half, places[places.len() - 1] + half];
        let x = Scale::exact(edges(self.x, half_x), LEFT, RIGHT);
        let y = Scale::exact(edges(self.y, half_y), BOTTOM, TOP);
        let finite = || self.values.iter().copied().filter(|&value| drawable(Some(value)).is_some());
        let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        let mut svg = Svg::new(self.id, WIDTH, HEIGHT, self.title, self.description);
        let (width, height) = ((RIGHT - LEFT) / self.x.len() as f64, (BOTTOM - TOP) / self.y.len() as f64);
        for (row, &v) in self.values.chunks(self.x.len()).zip(self.y) {
            for (&value, &u) in row.iter().zip(self.x) {
                let corner = (x.place(u - half_x), y.place(v + half_y));
                let tip = format!("{}, {}: {}", text::tick(u), text::tick(v), text::number(Some(value)));
                svg.cell(&colour(value, low, high), corner, width, height, &tip);
            }
        }
        x_axis(&mut svg, &x, self.axes.0, BOTTOM, BOTTOM);
        y_axis_to(&mut svg, &y, self.axes.1, LEFT);
        let step = (BOTTOM - TOP) / BAR.2 as f64;
        for k in 0..BAR.2 {
            let value = low + (high - low) * (k as f64 + 0.5) / BAR.2 as f64;
            svg.cell(&colour(value, low, high), (BAR.0, BOTTOM - step * (k as f64 + 1.0)), BAR.1, step, "");
        }
        for (value, place) in [(high, TOP + 8.0), (0.5 * (low + high), 0.5 * (TOP + BOTTOM) + 4.0), (low, BOTTOM)] {
            svg.text("tick", (BAR.0 + BAR.1 + 5.0, place), "start", &text::number(Some(value)));
        }
        svg.finish()
    }
}

fn colour(value: f64, low: f64, high: f64) -> String {
    if drawable(Some(value)).is_none() {
        return NONE.into();
    }
    let share = if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
    let place = share * (RAMP.len() - 1) as f64;
    let first = (place as usize).min(RAMP.len() - 2);
    let part = place - first as f64;
    let mix = |channel: usize| RAMP[first][channel] * (1.0 - part) + RAMP[first + 1][channel] * part;
    format!("#{:02x}{:02x}{:02x}", mix(0).round() as u8, mix(1).round() as u8, mix(2).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::{HeatChart, colour};

    #[test]
    fn colours_go_from_light_to_dark() {
        assert_eq!([colour(0.0, 0.0, 2.0), colour(2.0, 0.0, 2.0)], ["#f7f4e1", "#1f1c52"]);
        assert_eq!([colour(f64::NAN, 0.0, 2.0), colour(3.0, 3.0, 3.0)], ["#888888", "#f7f4e1"]);
    }

    #[test]
    fn every_value_gets_its_cell() {
        let chart = HeatChart {
            id: "h",
            title: "t",
            description: "d",
            axes: ("x", "y"),
            x: &[-1.0, 0.0, 1.0],
            y: &[0.0, 0.5],
            values: &[0.0, 1.0, 2.0, 3.0, f64::INFINITY, 5.0],
        };
        let drawing = chart.draw();
        assert_eq!(drawing.matches("<rect ").count(), 6 + 64);
        assert!(drawing.contains("<title>1, 0.5: 5</title>") && drawing.contains("fill=\"#888888\""), "{drawing}");
        roxmltree::Document::parse(&drawing).unwrap();
    }
}
