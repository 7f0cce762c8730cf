//! Charts as SVG text: a writer of elements, scales, and the kinds of charts.

mod bands;
mod curves;
mod frame;
mod heat;
mod rows;
mod scale;
mod scatter;
mod standalone;

pub use bands::{Band, BandChart};
pub use curves::{Curve, CurveChart};
pub use heat::HeatChart;
pub use rows::{Mark, Row, RowChart};
pub use scatter::{Point, ScatterChart};
pub use standalone::standalone;

use std::fmt::Write as _;

use crate::text::escape;

/// Style rules: the colours by name, for light and dark pages.
pub(crate) const COLOURS_STYLE: &str = include_str!("colours.css");
/// Style rules: what the classes of drawings look like.
pub(crate) const MARKS_STYLE: &str = include_str!("marks.css");

/// Colours before they repeat; the stylesheet has a class `s0`, `s1`, … for each, chosen to be told apart without
/// seeing red or green (Okabe and Ito 2008).
pub const COLOURS: usize = 7;
/// Dashes of the second, third, … round of colours.
const DASHES: [&str; 4] = ["", "7 4", "2 3", "9 3 2 3"];

/// The class of everything that belongs to `run`.
pub fn colour_class(run: usize) -> String {
    format!("s{}", run % COLOURS)
}

/// The dashes of the lines of `run`; empty for a whole line.
pub fn dashes(run: usize) -> &'static str {
    DASHES[run / COLOURS % DASHES.len()]
}

/// One drawing under way.
pub struct Svg {
    text: String,
}

impl Svg {
    /// Begins a drawing of this size in its own units; readers that do not see it get `title` and `description`. `id` is
    /// one of its own on the page.
    pub fn new(id: &str, width: f64, height: f64, title: &str, description: &str) -> Self {
        let (title, description) = (escape(title), escape(description));
        Svg {
            text: format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" \
                 aria-labelledby=\"{id}-title {id}-text\">\n<title id=\"{id}-title\">{title}</title>\n\
                 <desc id=\"{id}-text\">{description}</desc>\n",
                length(width),
                length(height)
            ),
        }
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = writeln!(
            self.text,
            "<line class=\"{class}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
            length(from.0),
            length(from.1),
            length(to.0),
            length(to.1)
        );
    }

    /// A line through `points`.
    pub fn polyline(&mut self, class: &str, dashes: &str, points: &[(f64, f64)]) {
        let places: Vec<String> = points.iter().map(|&(x, y)| format!("{},{}", length(x), length(y))).collect();
        let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
        let _ = writeln!(self.text, "<polyline class=\"{class}\"{dashes} points=\"{}\"/>", places.join(" "));
    }

    /// A filled area with these corners.
    pub fn polygon(&mut self, class: &str, points: &[(f64, f64)]) {
        let places: Vec<String> = points.iter().map(|&(x, y)| format!("{},{}", length(x), length(y))).collect();
        let _ = writeln!(self.text, "<polygon class=\"{class}\" points=\"{}\"/>", places.join(" "));
    }

    /// A rectangle; one without extent is drawn as a hair.
    pub fn rectangle(&mut self, class: &str, corner: (f64, f64), width: f64, height: f64, tip: &str) {
        let _ = writeln!(
            self.text,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\">{}</rect>",
            length(corner.0),
            length(corner.1),
            length(width.max(0.5)),
            length(height.max(0.5)),
            tip_element(tip)
        );
    }

    /// A rectangle without a line around it, in a colour of its own such as `#0072b2`.
    pub fn cell(&mut self, colour: &str, corner: (f64, f64), width: f64, height: f64, tip: &str) {
        let _ = writeln!(
            self.text,
            "<rect fill=\"{colour}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\">{}</rect>",
            length(corner.0),
            length(corner.1),
            length(width),
            length(height),
            tip_element(tip)
        );
    }

    /// The mark of `run` at a place: a shape of its own besides its colour; hollow ones have the page's colour inside.
    pub fn mark(&mut self, run: usize, hollow: bool, (x, y): (f64, f64), size: f64, tip: &str) {
        let class = if hollow { "mark hollow" } else { "mark" };
        let d = match run % 5 {
            0 => {
                let _ = writeln!(
                    self.text,
                    "<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\">{}</circle>",
                    length(x),
                    length(y),
                    length(size),
                    tip_element(tip)
                );
                return;
            }
            1 => vec![(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            2 => vec![(0.0, -1.2), (1.1, 0.9), (-1.1, 0.9)],
            3 => vec![(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
            _ => vec![(0.0, 1.2), (1.1, -0.9), (-1.1, -0.9)],
        };
        let corner = |&(dx, dy): &(f64, f64)| format!("{},{}", length(x + dx * size), length(y + dy * size));
        let corners: Vec<String> = d.iter().map(corner).collect();
        let _ = writeln!(
            self.text,
            "<polygon class=\"{class}\" points=\"{}\">{}</polygon>",
            corners.join(" "),
            tip_element(tip)
        );
    }

    /// A text; `anchor` is `start`, `middle` or `end`.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
        let _ = writeln!(
            self.text,
            "<text class=\"{class}\" x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            length(x),
            length(y),
            escape(text)
        );
    }

    /// A text that reads upwards.
    pub fn upward_text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let _ = writeln!(
            self.text,
            "<text class=\"{class}\" transform=\"translate({} {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            length(x),
            length(y),
            escape(text)
        );
    }

    /// Begins a group of what belongs to `run`: it has the run's colour and can be hidden with it.
    pub fn begin_run(&mut self, run: usize) {
        let _ = writeln!(self.text, "<g class=\"{}\" data-run=\"{run}\">", colour_class(run));
    }

    /// Ends the group.
    pub fn end_run(&mut self) {
        self.text.push_str("</g>\n");
    }

    /// The finished text.
    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

/// What a pointer that rests on an element shows.
fn tip_element(tip: &str) -> String {
    if tip.is_empty() { String::new() } else { format!("<title>{}</title>", escape(tip)) }
}

/// A coordinate with two digits behind the point.
fn length(value: f64) -> String {
    let rounded = (100.0 * value).round() / 100.0;
    // The sum makes −0 a plain 0.
    (rounded + 0.0).to_string()
}
