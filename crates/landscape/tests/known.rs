//! Metrics and smoothing on functions whose answers are known in closed form.

use tightrope_landscape::{Analytic, Curve, LandscapeError, Line, Plan, Plane, PlanePlan, Probe, Slice, Smoothing};
use tightrope_train::Flow;

/// `function` of one number, from −1 to 1 unless `range` says otherwise.
fn curve(function: fn(f64) -> f64, range: (f64, f64), points: usize, smoothing: Option<&Smoothing>) -> Curve {
    let mut objective = Analytic(|theta: &[f32]| function(f64::from(theta[0])));
    let line = Line::new(&[0.0], &[1.0]).unwrap();
    let plan = Plan { range, points, noise: Smoothing { sigma: 0.01, pairs: 2000, seed: 5 }, ..Plan::default() };
    Curve::take(&mut Probe::new(&mut objective), &line, smoothing, &plan).unwrap()
}

fn original(function: fn(f64) -> f64) -> Curve {
    curve(function, (-1.0, 1.0), 101, None)
}

fn step(x: f64) -> f64 {
    if x < 0.3 { 1.0 } else { 1.5 }
}

/// The density and the distribution function of a standard normal, the latter by Simpson's rule.
fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

fn distribution(x: f64) -> f64 {
    let h = x / 400.0;
    let weight = |i: usize| if i == 0 || i == 400 { 1.0 } else { [2.0, 4.0][i % 2] };
    0.5 + h / 3.0 * (0..=400).map(|i| weight(i) * density(h * i as f64)).sum::<f64>()
}

#[test]
fn a_step_is_one_jump_located_and_sized() {
    let curve = original(step);
    let [jump] = curve.metrics.jumps[..] else { panic!("{:?}", curve.metrics.jumps) };
    assert!(jump.from < 0.3 && 0.3 <= jump.to && jump.size == 0.5, "{jump:?}");
    assert!((jump.to - jump.from - 0.02 / 4096.0).abs() < 1e-12, "{jump:?}");
    assert_eq!(curve.metrics.kinks, []);
    let variation = curve.metrics.variation;
    // Whatever the step, the jump counts its size, and the slope changes by twice its size over the step.
    assert_eq!((variation.spread, variation.total), (0.5, 0.5));
    assert!((variation.discontinuity - 0.5).abs() < 1e-12);
    assert!((variation.roughness - 50.0).abs() < 1e-9 && (variation.roughness_coarse - 25.0).abs() < 1e-9);
    // A step up is not convex: a midpoint right of it has chords from left of it.
    assert!((curve.metrics.convexity.largest - 0.25).abs() < 1e-12);
    // Falling steps are as good, and several are found, largest first.
    let stairs = original(|x| if x < -0.5 { 3.0 } else { 2.0 } + if x < 0.25 { 0.5 } else { 0.0 } + 0.1 * x);
    let sizes: Vec<f64> = stairs.metrics.jumps.iter().map(|jump| jump.size).collect();
    assert!(sizes.len() == 2 && (sizes[0] + 1.0).abs() < 1e-4 && (sizes[1] + 0.5).abs() < 1e-4, "{sizes:?}");
    assert!((stairs.metrics.variation.discontinuity - 1.25_f64.sqrt()).abs() < 0.01);
}

#[test]
fn an_absolute_value_is_one_kink_and_no_jump() {
    for centre in [0.0_f64, 0.013, 0.0071] {
        let functions: fn(f64) -> f64 = match centre {
            0.0 => |x| x.abs(),
            0.013 => |x| (x - 0.013).abs(),
            _ => |x| (x - 0.0071).abs(),
        };
        let curve = original(functions);
        assert_eq!(curve.metrics.jumps, []);
        let [kink] = curve.metrics.kinks[..] else { panic!("{centre}: {:?}", curve.metrics.kinks) };
        assert!(kink.from <= centre && centre <= kink.to && (kink.size - 2.0).abs() < 1e-3, "{centre}: {kink:?}");
        let variation = curve.metrics.variation;
        assert!((variation.roughness - 2.0).abs() < 1e-3, "{variation:?}");
        assert!(curve.metrics.convexity.largest < 1e-6);
    }
    // A kink between the points may leave something, of its size times the step at most.
    for (points, most) in [(101, 0.02), (1001, 0.002)] {
        for function in [|x: f64| (x - 0.0071).abs(), |x: f64| (x - 0.0119).abs(), |x: f64| (x + 0.333).abs()] {
            let variation = curve(function, (-1.0, 1.0), points, None).metrics.variation;
            assert!(variation.discontinuity < most, "{variation:?}");
        }
    }
}

#[test]
fn a_parabola_has_neither() {
    let curve = original(|x| x * x);
    assert_eq!((&curve.metrics.jumps[..], &curve.metrics.kinks[..]), (&[][..], &[][..]));
    assert_eq!(curve.metrics.convexity.largest.max(0.0), curve.metrics.convexity.largest);
    assert!(curve.metrics.convexity.largest < 1e-6 && curve.metrics.variation.spread == 1.0);
    assert_eq!(curve.metrics.variation.discontinuity, 0.0);
    // ∫ |L″| = 2 · 1.96 between the first and the last inner point's neighbourhood.
    assert!((curve.metrics.variation.roughness - 3.96).abs() < 1e-3, "{:?}", curve.metrics.variation);
    let sensitivity = curve.metrics.sensitivity;
    // E δ² = σ² and its standard deviation is √2 σ².
    assert!(
        (sensitivity.mean_absolute / 1e-4 - 1.0).abs() < 4.0 * sensitivity.standard_error / 1e-4,
        "{sensitivity:?}"
    );
    assert!((sensitivity.std / 1e-4 - 2_f64.sqrt()).abs() < 0.1 && sensitivity.samples == 4000, "{sensitivity:?}");
}

#[test]
fn the_sensitivity_of_a_line_is_the_mean_of_a_folded_normal() {
    let sensitivity = original(|x| 3.0 * x).metrics.sensitivity;
    let expected = 3.0 * 0.01 * (2.0 / std::f64::consts::PI).sqrt();
    assert!((sensitivity.mean_absolute - expected).abs() < 4.0 * sensitivity.standard_error, "{sensitivity:?}");
    assert!((sensitivity.std / 0.03 - 1.0).abs() < 0.05 && sensitivity.mean.abs() < 1e-6, "{sensitivity:?}");
}

#[test]
fn a_sine_deviates_from_convexity_by_its_height() {
    let curve = curve(f64::sin, (0.0, std::f64::consts::PI), 101, None);
    // The chord from 0 to π lies on the axis, its midpoint at 1.
    assert!((curve.metrics.convexity.largest - 1.0).abs() < 1e-6);
    // sin m − (sin(m−r) + sin(m+r))/2 = sin m · (1 − cos r), averaged over the triangle of m and r.
    let h = std::f64::consts::PI / 100.0;
    let (mut sum, mut count) = (0.0, 0.0);
    for middle in 1..100_i32 {
        for reach in 1..=middle.min(100 - middle) {
            sum += (h * f64::from(middle)).sin() * (1.0 - (h * f64::from(reach)).cos());
            count += 1.0;
        }
    }
    assert!((curve.metrics.convexity.mean - sum / count).abs() < 1e-6);
    let convex = self::curve(f64::sin, (std::f64::consts::PI, 2.0 * std::f64::consts::PI), 101, None);
    assert!(convex.metrics.convexity.largest < 1e-6);
}

/// E f(x + δ) of each function, within four standard errors at every point, and with a standard error that is no
/// overstatement.
#[test]
fn smoothing_gives_the_closed_forms() {
    let sigma = 0.2_f64;
    let smoothing = Smoothing { sigma, pairs: 256, seed: 11 };
    type Case = (fn(f64) -> f64, fn(f64, f64) -> f64);
    let cases: [Case; 4] = [
        (step, |x, sigma| 1.0 + 0.5 * distribution((x - 0.3) / sigma)),
        // The mean of a folded normal.
        (f64::abs, |x, sigma| 2.0 * sigma * density(x / sigma) + x * (2.0 * distribution(x / sigma) - 1.0)),
        (|x| x * x, |x, sigma| x * x + sigma * sigma),
        (|x| (3.0 * x).sin(), |x, sigma| (3.0 * x).sin() * (-4.5 * sigma * sigma).exp()),
    ];
    for (place, (function, expected)) in cases.into_iter().enumerate() {
        let mut objective = Analytic(|theta: &[f32]| function(f64::from(theta[0])));
        let mut probe = Probe::new(&mut objective);
        let line = Line::new(&[0.0], &[1.0]).unwrap();
        let slice = Slice::sample((-1.0, 1.0), 41, |t| probe.value(&line.at(t), Some(&smoothing))).unwrap();
        let mut squares = 0.0;
        for (i, &t) in slice.t.iter().enumerate() {
            let error = slice.loss[i] - expected(t, sigma);
            // Where the tails are, no sample may have met the other side.
            let standard_error = slice.standard_error[i].max(1e-3);
            assert!(error.abs() < 4.5 * standard_error, "case {place}, t = {t}: {error} ± {standard_error}");
            squares += (error / standard_error).powi(2);
        }
        // The errors at different t go together, so that this is no sharp statement.
        assert!(squares / 41.0 < 6.0, "case {place}: {squares}");
    }
}

#[test]
fn smoothing_takes_jumps_apart_and_rounds_kinks() {
    let smoothing = Smoothing { sigma: 0.1, pairs: 128, seed: 2 };
    let plan = Plan { range: (-1.0, 1.0), noise: Smoothing { pairs: 4, ..smoothing }, ..Plan::default() };
    let take = |function: fn(f64) -> f64| {
        let mut objective = Analytic(|theta: &[f32]| function(f64::from(theta[0])));
        Curve::take(&mut Probe::new(&mut objective), &Line::new(&[0.0], &[1.0]).unwrap(), Some(&smoothing), &plan)
            .unwrap()
    };
    let smoothed = take(step);
    // What is left of a jump in the mean of n samples is a jump of 1/n of it for each sample.
    let largest = smoothed.metrics.jumps.iter().fold(0.0_f64, |largest, jump| largest.max(jump.size.abs()));
    assert!(largest <= 2.0 * 0.5 / 256.0 + 1e-9, "{largest}");
    assert!(smoothed.metrics.variation.discontinuity < 0.1 * original(step).metrics.variation.discontinuity);
    let rounded = take(f64::abs);
    let kink = rounded.metrics.kinks.iter().fold(0.0_f64, |largest, kink| largest.max(kink.size.abs()));
    assert!(kink < 0.1 && rounded.metrics.jumps.is_empty(), "{kink}");
    assert!(rounded.metrics.convexity.largest < 1e-6, "a convex function stays convex");
    assert_eq!((smoothed.sigma, smoothed.samples), (0.1, 256));
}

/// The same noise at every t: the difference of two values has a far smaller error than each of them.
#[test]
fn noise_is_common_along_the_line_and_scales_with_sigma() {
    let mut objective = Analytic(|theta: &[f32]| theta.iter().map(|&x| f64::from(x)).sum::<f64>().powi(2));
    let mut probe = Probe::new(&mut objective);
    let theta = vec![0.1; 50];
    let at = |probe: &mut Probe<'_>, theta: &[f32], sigma, seed| {
        probe.value(theta, Some(&Smoothing { sigma, pairs: 8, seed })).unwrap()
    };
    // (s + σz)² over ± pairs is s² + σ²z²: the excess is the same everywhere, and goes with σ².
    let excess = |probe: &mut Probe<'_>, shift: f32, sigma| {
        let theta: Vec<f32> = theta.iter().map(|x| x + shift).collect();
        let exact = theta.iter().map(|&x| f64::from(x)).sum::<f64>().powi(2);
        at(probe, &theta, sigma, 1).mean - exact
    };
    let (here, there, double) =
        (excess(&mut probe, 0.0, 0.5), excess(&mut probe, 0.25, 0.5), excess(&mut probe, 0.0, 1.0));
    assert!(here > 1.0 && (here - there).abs() < 1e-3 * here && (double - 4.0 * here).abs() < 1e-3 * double);
    let other = at(&mut probe, &theta, 0.5, 2);
    assert_ne!(other.mean, at(&mut probe, &theta, 0.5, 1).mean);
}

#[test]
fn planes_hold_rows_of_x() {
    let mut objective = Analytic(|theta: &[f32]| f64::from(theta[0]) + 10.0 * f64::from(theta[1]));
    let plan = PlanePlan { ranges: [(0.0, 1.0), (0.0, 2.0)], points: 3 };
    let plane =
        Plane::take(&mut Probe::new(&mut objective), &[0.0, 0.0], [&[1.0, 0.0], &[0.0, 1.0]], None, &plan).unwrap();
    assert_eq!(plane.loss, [0.0, 0.5, 1.0, 10.0, 10.5, 11.0, 20.0, 20.5, 21.0]);
    assert_eq!((&plane.x[..], &plane.y[..]), (&[0.0, 0.5, 1.0][..], &[0.0, 1.0, 2.0][..]));
}

#[test]
fn what_makes_no_sense_is_refused_and_observers_can_stop() {
    let mut objective = Analytic(|theta: &[f32]| f64::from(theta[0]));
    let line = Line::new(&[0.0], &[1.0]).unwrap();
    let plan = Plan::default();
    let noise = |sigma, pairs| Smoothing { sigma, pairs, seed: 0 };
    let mut refused = |smoothing: Option<Smoothing>, plan: Plan, part: &str| {
        let result = Curve::take(&mut Probe::new(&mut objective), &line, smoothing.as_ref(), &plan);
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    refused(Some(noise(0.0, 4)), plan, "σ = 0");
    refused(Some(noise(1e-60, 4)), plan, "single precision");
    refused(Some(noise(0.1, 0)), plan, "at least one pair");
    refused(None, Plan { points: 2, ..plan }, "at least 3");
    refused(None, Plan { range: (0.1, -0.1), ..plan }, "is none");
    assert!(Line::new(&[0.0], &[1.0, 2.0]).is_err() && Line::new(&[0.0], &[f32::NAN]).is_err());
    let mut left = 10;
    let observer = |losses: u64| {
        left -= losses as i64;
        if left > 0 { Flow::Continue } else { Flow::Stop }
    };
    let stopped = Curve::take(&mut Probe::new(&mut objective).observed(observer), &line, None, &plan);
    assert!(matches!(stopped, Err(LandscapeError::Stopped)));
    assert_eq!(left, 0);
}

#[test]
fn the_losses_of_a_curve_are_foretold() {
    for smoothing in [None, Some(Smoothing { sigma: 0.1, pairs: 3, seed: 0 })] {
        let mut count = 0_u64;
        let mut objective =
            Analytic(|theta: &[f32]| (20.0 * f64::from(theta[0])).sin().abs() + step(f64::from(theta[0])));
        let plan = Plan { range: (-1.0, 1.0), ..Plan::default() };
        let mut probe = Probe::new(&mut objective).observed(|losses| {
            count += losses;
            Flow::Continue
        });
        Curve::take(&mut probe, &Line::new(&[0.0], &[1.0]).unwrap(), smoothing.as_ref(), &plan).unwrap();
        drop(probe);
        let most = plan.losses(smoothing.as_ref());
        assert!(count <= most && count * 4 > most * 3, "{count} of {most}");
    }
}

#[test]
fn values_that_are_no_numbers_end_no_search() {
    let curve = original(|x| {
        if x > 0.5 {
            f64::INFINITY
        } else if x < -0.5 {
            f64::NAN
        } else {
            x
        }
    });
    assert_eq!((curve.metrics.jumps.len(), curve.metrics.kinks.len()), (0, 0));
}
