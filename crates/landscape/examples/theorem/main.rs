//! Theorem 3.1 of arXiv 2403.07095 in numbers: derivatives of a step, of |x| and of a DeepPoly loss, before and after
//! Gaussian smoothing, by differences, RGS and PGPE; the tables and drawings of docs/smoothing.md.
//!
//! `cargo run --release -p tightrope-landscape --example theorem -- docs/smoothing`

mod estimators;
mod functions;

use std::error::Error;
use std::path::PathBuf;

use tightrope_landscape::{Line, Value, direction};
use tightrope_report::svg::{Band, BandChart, standalone};

use estimators::{Function, Settings, differences, pgpe, rgs, smoothed};
use functions::{AbsoluteValue, Loss, OnLine, Step, Trained};

/// Samples of each estimate of a plain function: gradients of RGS, pairs of PGPE and of differences.
const SAMPLES: u64 = 1024;
/// The same of the loss of a network.
const LOSS_SAMPLES: u64 = 192;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "docs/smoothing".into()));
    std::fs::create_dir_all(&folder)?;
    let write = |name: &str, chart: &BandChart<'_>| std::fs::write(folder.join(name), standalone(&chart.draw()));

    println!("## A step and |x|\n");
    write("step.svg", &known("Derivative of the smoothed step, σ = 0.1", &mut Step, exact_step)?)?;
    write("absolute.svg", &known("Derivative of the smoothed |x|, σ = 0.1", &mut AbsoluteValue, exact_absolute)?)?;

    let trained = Trained::standard()?;
    println!("\n## DeepPoly: {}\n", trained.title);
    let batch = trained.batch();
    let mut loss = Loss::new(&trained, &batch)?;
    let (_, gradient) = loss.gradient(&trained.theta)?;
    let along = direction::along_gradient(&gradient, &trained.theta)?;
    let line = Line::new(&trained.theta, &along)?;
    slice(&mut OnLine { loss: &mut loss, line }, &write)?;

    println!("\n## All parameters\n");
    let unit: Vec<f32> = gradient.iter().map(|&g| (f64::from(g) / direction::norm(&gradient)) as f32).collect();
    write("sigma.svg", &all_parameters(&mut loss, &trained.theta, &unit)?)?;
    Ok(())
}

/// The density and the distribution function of a standard normal.
fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

fn distribution(x: f64) -> f64 {
    // Simpson's rule; beyond 8 deviations nothing is left.
    let h = x.clamp(-8.0, 8.0) / 400.0;
    let weight = |i: usize| if i == 0 || i == 400 { 1.0 } else { [2.0, 4.0][i % 2] };
    0.5 + h / 3.0 * (0..=400).map(|i| weight(i) * density(h * i as f64)).sum::<f64>()
}

fn exact_step(x: f64, sigma: f64) -> f64 {
    density(x / sigma) / sigma
}

fn exact_absolute(x: f64, sigma: f64) -> f64 {
    2.0 * distribution(x / sigma) - 1.0
}

/// Estimates for a function of one number whose smoothed derivative is `exact(x, σ)`: a table over σ and a chart over x.
fn known(
    title: &'static str,
    function: &mut dyn Function,
    exact: fn(f64, f64) -> f64,
) -> Result<BandChart<'static>, Box<dyn Error>> {
    let name = function.name();
    println!("{name}, original: (f(x+h) − f(x−h))/2h");
    println!("\n| x | h = 1e-1 | 1e-2 | 1e-3 | 1e-4 |\n|---|---|---|---|---|");
    for x in [0.0, 0.05] {
        print!("| {x} |");
        for h in [1e-1, 1e-2, 1e-3, 1e-4] {
            let found = differences(function, &[x as f32], &[1.0], h, None)?;
            print!(" {:.4} |", found.mean);
        }
        println!();
    }
    println!("\n{name}, smoothed, at x = 0.05, {SAMPLES} samples each:");
    println!("\n| σ | exact | differences | RGS | PGPE |\n|---|---|---|---|---|");
    for sigma in [1e-3, 1e-2, 1e-1, 1.0, 10.0] {
        let settings = Settings { sigma, samples: SAMPLES };
        let (x, d) = ([0.05_f32], [1.0_f32]);
        let by_differences = differences(function, &x, &d, 0.25 * sigma, Some(settings))?;
        let (by_rgs, by_pgpe) = (rgs(function, &x, &d, settings)?, pgpe(function, &x, &d, settings)?);
        let exact = exact(0.05, sigma);
        println!("| {sigma:e} | {exact:.4} | {} | {} | {} |", text(by_differences), text(by_rgs), text(by_pgpe));
    }
    println!();
    let settings = Settings { sigma: 0.1, samples: 256 };
    let xs: Vec<f64> = (-40..=40).map(|i| 0.01 * f64::from(i)).collect();
    let mut curves = vec![Band {
        name: "exact".into(),
        place: 0,
        faint: false,
        points: xs.iter().map(|&x| (x, exact(x, 0.1), 0.0)).collect(),
    }];
    for (place, (label, estimator)) in
        [("RGS, n = 256", rgs as Estimator), ("PGPE, n = 256 pairs", pgpe)].into_iter().enumerate()
    {
        curves.push(estimates(label, place + 1, &xs, |x| estimator(function, &[x as f32], &[1.0], settings))?);
    }
    Ok(chart(title, "x", "derivative", false, curves))
}

/// An estimator of a directional derivative of the smoothed function.
type Estimator = fn(&mut dyn Function, &[f32], &[f32], Settings) -> Result<Value, Box<dyn Error>>;

/// The estimates over `xs` as a curve in a band of two standard errors.
fn estimates(
    label: &str,
    place: usize,
    xs: &[f64],
    mut estimate: impl FnMut(f64) -> Result<Value, Box<dyn Error>>,
) -> Result<Band, Box<dyn Error>> {
    let mut points = Vec::new();
    for &x in xs {
        let value = estimate(x)?;
        points.push((x, value.mean, 2.0 * value.standard_error));
    }
    Ok(Band { name: label.into(), place, faint: false, points })
}

fn chart<'a>(title: &'a str, x: &'a str, y: &'a str, logarithmic: bool, curves: Vec<Band>) -> BandChart<'a> {
    let axes = (x, y);
    BandChart { id: "chart", title, description: title, axes, logarithmic: (logarithmic, false), curves }
}

fn text(value: Value) -> String {
    format!("{:.4} ± {:.4}", value.mean, value.standard_error)
}

/// The loss along a line, smoothed along the line alone, so that one number is perturbed and the estimates are sharp.
fn slice(
    function: &mut OnLine<'_, '_>,
    write: &dyn Fn(&str, &BandChart<'_>) -> std::io::Result<()>,
) -> Result<(), Box<dyn Error>> {
    const REACH: f64 = 0.005;
    let ts: Vec<f64> = (-40..=40).map(|i| REACH * f64::from(i) / 40.0).collect();
    let mut curves =
        vec![estimates("original", 0, &ts, |t| Ok(Value { mean: function.value(&[t as f32])?, standard_error: 0.0 }))?];
    let sigmas = [1e-4, 1e-3, 1e-2];
    for (place, sigma) in sigmas.into_iter().enumerate() {
        let settings = Settings { sigma, samples: 24 };
        curves.push(estimates(&format!("σ = {sigma:e}"), place + 1, &ts, |t| {
            smoothed(function, &[t as f32], settings)
        })?);
    }
    let least = |curve: &Band| curve.points.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(f64::NAN, |point| point.0);
    let places: Vec<String> = curves.iter().map(|curve| format!("{} {:.4}", curve.name, least(curve))).collect();
    println!("least value along the line at t: {}\n", places.join(", "));
    write("deeppoly.svg", &chart("DeepPoly's loss along its gradient", "t (lengths of θ)", "loss", false, curves))?;

    println!(
        "original: (f(t+h) − f(t−h))/2h\n\n| t | h = 1e-3 | 1e-4 | 1e-5 | by the gradient |\n|---|---|---|---|---|"
    );
    for t in [-0.004, -0.002, 0.0, 0.002, 0.004] {
        print!("| {t} |");
        for h in [1e-3, 1e-4, 1e-5] {
            print!(" {:.2} |", differences(function, &[t as f32], &[1.0], h, None)?.mean);
        }
        println!(" {:.2} |", function.gradient(&[t as f32])?.1[0]);
    }
    println!("\nsmoothed along the line, at t = 0, {LOSS_SAMPLES} samples each:");
    println!("\n| σ | differences | RGS | PGPE |\n|---|---|---|---|");
    for sigma in [1e-5, 1e-4, 1e-3, 1e-2, 1e-1] {
        let (settings, t, d) = (Settings { sigma, samples: LOSS_SAMPLES }, [0.0_f32], [1.0_f32]);
        let by_differences = differences(function, &t, &d, 0.25 * sigma, Some(settings))?;
        let (by_rgs, by_pgpe) = (rgs(function, &t, &d, settings)?, pgpe(function, &t, &d, settings)?);
        println!("| {sigma:e} | {} | {} | {} |", text(by_differences), text(by_rgs), text(by_pgpe));
    }
    let settings = Settings { sigma: 3e-4, samples: 64 };
    let ts: Vec<f64> = ts.into_iter().step_by(2).collect();
    let curves = vec![
        estimates("gradient", 0, &ts, |t| {
            Ok(Value { mean: f64::from(function.gradient(&[t as f32])?.1[0]), standard_error: 0.0 })
        })?,
        estimates("RGS, n = 64", 1, &ts, |t| rgs(function, &[t as f32], &[1.0], settings))?,
        estimates("PGPE, n = 64 pairs", 2, &ts, |t| pgpe(function, &[t as f32], &[1.0], settings))?,
    ];
    write(
        "derivatives.svg",
        &chart(
            "Derivative of DeepPoly's loss along its gradient, σ = 3e-4",
            "t (lengths of θ)",
            "derivative",
            false,
            curves,
        ),
    )?;
    Ok(())
}

/// The derivative of the loss smoothed in all parameters, along the unit vector of its gradient.
fn all_parameters(loss: &mut Loss<'_>, theta: &[f32], unit: &[f32]) -> Result<BandChart<'static>, Box<dyn Error>> {
    println!("smoothed in all parameters, along the gradient's unit vector, {LOSS_SAMPLES} samples each:");
    println!("\n| σ | smoothed loss | differences | RGS | PGPE |\n|---|---|---|---|---|");
    let mut curves = ["differences", "RGS", "PGPE"].map(|name| Band {
        name: name.into(),
        place: 0,
        faint: false,
        points: Vec::new(),
    });
    for sigma in [1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1] {
        let settings = Settings { sigma, samples: LOSS_SAMPLES };
        let level = smoothed(loss, theta, settings)?;
        let values = [
            differences(loss, theta, unit, 0.25 * sigma, Some(settings))?,
            rgs(loss, theta, unit, settings)?,
            pgpe(loss, theta, unit, settings)?,
        ];
        let [by_differences, by_rgs, by_pgpe] = values.map(text);
        println!("| {sigma:e} | {} | {by_differences} | {by_rgs} | {by_pgpe} |", text(level));
        for (place, (curve, value)) in curves.iter_mut().zip(values).enumerate() {
            curve.place = place;
            curve.points.push((sigma, value.mean, 2.0 * value.standard_error));
        }
    }
    Ok(chart("Derivative of the smoothed DeepPoly loss", "σ", "derivative along the gradient", true, curves.into()))
}
