//! Curves and planes as charts.

use tightrope_network::rounded_text;
use tightrope_report::svg::{Band, BandChart, HeatChart, standalone};

use crate::{Curve, Plane};

/// Half the height of the bands in standard errors.
const BAND: f64 = 2.0;

/// Curves of one loss, original and smoothed, in one chart as an SVG file; bands reach two standard errors up and down.
/// `title` says whose loss it is, `axis` what t is.
pub fn curve_chart(title: &str, axis: &str, curves: &[Curve]) -> String {
    let band = |(place, curve): (usize, &Curve)| Band {
        name: smoothing_name(curve.sigma),
        place,
        faint: curve.sigma == 0.0,
        points: (0..curve.slice.t.len())
            .map(|i| (curve.slice.t[i], curve.slice.loss[i], BAND * curve.slice.standard_error[i]))
            .collect(),
    };
    let bands: Vec<Band> = curves.iter().enumerate().map(band).collect();
    let description = format!("{title}, over {axis}. {}.", BandChart::ends(&bands));
    let chart = BandChart {
        id: "curves",
        title,
        description: &description,
        axes: (axis, "loss"),
        logarithmic: (false, false),
        curves: bands,
    };
    standalone(&chart.draw())
}

/// A plane as an SVG file. `title` says whose loss it is, `axes` what x and y are.
pub fn plane_chart(title: &str, axes: (&str, &str), plane: &Plane) -> String {
    let title = format!("{title}, {}", smoothing_name(plane.sigma));
    let chart = HeatChart {
        id: "plane",
        title: &title,
        description: &format!("{title}, over {} and {}.", axes.0, axes.1),
        axes,
        x: &plane.x,
        y: &plane.y,
        values: &plane.loss,
    };
    standalone(&chart.draw())
}

fn smoothing_name(sigma: f64) -> String {
    if sigma == 0.0 { "original".into() } else { format!("σ = {}", rounded_text(sigma)) }
}
