//! Rows with bars or marks along one horizontal axis.

use super::Svg;
use super::frame::{WIDTH, x_axis};
use super::scale::Scale;

const LABELS: f64 = 106.0;
const ROW: f64 = 26.0;
const TOP: f64 = 8.0;
/// Where the axis ends if texts stand behind the bars.
const BEFORE_TEXT: f64 = 404.0;
const END: f64 = 466.0;

/// A value on a row.
pub struct Mark {
    /// The value.
    pub value: f64,
    /// Ends of its interval.
    pub interval: (f64, f64),
    /// Drawn without filling.
    pub hollow: bool,
    /// Shown where a pointer rests.
    pub tip: String,
}

/// One row.
pub struct Row {
    /// Before the row.
    pub label: String,
    /// From where to where a bar reaches.
    pub bar: (f64, f64),
    /// Shown where a pointer rests on the bar.
    pub tip: String,
    /// Values on it.
    pub marks: Vec<Mark>,
    /// Behind the bar.
    pub text: String,
}

/// Rows over one axis.
pub struct RowChart<'a> {
    /// Of its own on the page.
    pub id: &'a str,
    /// For readers that do not see it.
    pub title: &'a str,
    /// In words what is seen.
    pub description: &'a str,
    /// Name of the axis with its unit.
    pub axis: &'a str,
    /// Position of the run, which gives the colour.
    pub run: usize,
    /// The rows.
    pub rows: Vec<Row>,
    /// Ends that the axis does not leave.
    pub limits: Option<(f64, f64)>,
}

impl RowChart<'_> {
    /// The drawing.
    pub fn draw(&self) -> String {
        let bottom = TOP + ROW * self.rows.len() as f64;
        let end = if self.rows.iter().all(|row| row.text.is_empty()) { END } else { BEFORE_TEXT };
        let values = self.rows.iter().flat_map(|row| {
            let marks = row.marks.iter().flat_map(|mark| [mark.interval.0, mark.interval.1]);
            [row.bar.0, row.bar.1].into_iter().chain(marks)
        });
        let x = Scale::linear(values.chain([0.0]), self.limits, LABELS, end);
        let mut svg = Svg::new(self.id, WIDTH, bottom + 44.0, self.title, self.description);
        x_axis(&mut svg, &x, self.axis, TOP, bottom);
        svg.begin_run(self.run);
        for (place, row) in self.rows.iter().enumerate() {
            let y = TOP + ROW * (place as f64 + 0.5);
            svg.text("label", (LABELS - 8.0, y + 4.0), "end", &shortened(&row.label));
            let (from, to) = (x.place(row.bar.0), x.place(row.bar.1));
            svg.rectangle("bar", (from, y - 8.0), to - from, 16.0, &row.tip);
            for mark in &row.marks {
                // Intervals of the two kinds often overlap, so that each has a height of its own.
                let y = if mark.hollow { y - 3.5 } else { y + 3.5 };
                svg.line("interval", (x.place(mark.interval.0), y), (x.place(mark.interval.1), y));
                // The shape tells the two kinds of values apart, whatever the run.
                svg.mark(if mark.hollow { 3 } else { 0 }, mark.hollow, (x.place(mark.value), y), 4.5, &mark.tip);
            }
            if !row.text.is_empty() {
                svg.text("value", (to + 6.0, y + 4.0), "start", &row.text);
            }
        }
        svg.end_run();
        svg.finish()
    }
}

/// A label that fits before the rows.
fn shortened(label: &str) -> String {
    const MOST: usize = 15;
    if label.chars().count() <= MOST {
        return label.into();
    }
    label.chars().take(MOST - 1).chain(['…']).collect()
}
