//! Lines of every activation: never on the wrong side, touching the function, with right adjoints.

use tightrope_engine::activation::{Line, activation};
use tightrope_engine::{LowerSlope, Real};
use tightrope_network::Activation;
use tightrope_testkit::differences::Count;
use tightrope_testkit::random::Rng;

/// With constants that f32 holds.
const ALL: [Activation; 16] = [
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.0 },
    Activation::LeakyRelu { slope: 0.0078125 },
    Activation::LeakyRelu { slope: 0.6875 },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Clip { lower: -1.0, upper: 1.0 },
    Activation::Clip { lower: 0.0, upper: 6.0 },
    Activation::Clip { lower: 0.3125, upper: 0.4375 },
    Activation::Exp,
    Activation::Softplus,
    Activation::Reciprocal,
    Activation::Power { exponent: 2 },
    Activation::Power { exponent: 3 },
    Activation::Power { exponent: 4 },
    Activation::Power { exponent: 7 },
];

/// Every way to choose lines.
const RULES: [LowerSlope; 3] = [LowerSlope::Adaptive, LowerSlope::Parallel, LowerSlope::Constant];

/// The function by its definition.
fn value(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu { slope } => x.max(slope * x),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
        Activation::Clip { lower, upper } => x.clamp(lower, upper),
        Activation::Exp => x.exp(),
        Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Activation::Reciprocal => 1.0 / x,
        Activation::Power { exponent } => x.powi(exponent as i32),
    }
}

/// Whether the function is smooth and bent, and steeper than 1 somewhere.
fn is_steep(kind: Activation) -> bool {
    match kind {
        Activation::Exp | Activation::Softplus | Activation::Reciprocal | Activation::Power { .. } => true,
        Activation::Relu
        | Activation::LeakyRelu { .. }
        | Activation::Sigmoid
        | Activation::Tanh
        | Activation::Clip { .. } => false,
    }
}

/// Whether f32 holds the function's values and slopes on [l, u].
fn is_bounded(kind: Activation, l: f64, u: f64) -> bool {
    let largest = l.abs().max(u.abs());
    match kind {
        Activation::Exp => largest <= 40.0,
        Activation::Power { .. } => largest <= 300.0,
        Activation::Reciprocal => l.min(u) > 1e-3 || l.max(u) < -1e-3,
        Activation::Relu
        | Activation::LeakyRelu { .. }
        | Activation::Sigmoid
        | Activation::Tanh
        | Activation::Clip { .. }
        | Activation::Softplus => true,
    }
}

/// What gaps are measured by: 1, or more where a steep function's values are larger.
fn scale(kind: Activation, l: f64, u: f64) -> f64 {
    if is_steep(kind) { 20.0 * (1.0 + value(kind, l).abs().max(value(kind, u).abs())) } else { 1.0 }
}

/// Intervals of every size and place, as far as the function has finite values there.
fn intervals(rng: &Rng, kind: Activation) -> Vec<(f64, f64)> {
    let mut all = vec![(0.0, 0.0), (-1.0, 1.0), (-1e-300, 1e-300), (-800.0, 800.0), (-800.0, -799.0), (0.3125, 0.4375)];
    all.extend([(-1.0, -1.0), (-5.0, 0.0), (0.0, 5.0), (-30.0, 1e-3), (-1e-3, 30.0), (1.0, 6.0), (-1.0, 0.3125)]);
    for _ in 0..3000 {
        let width = 10.0_f64.powf(rng.between(-12.0, 2.0));
        let middle = if rng.coin() {
            width * rng.between(-0.7, 0.7)
        } else {
            rng.normal() * 10.0_f64.powf(rng.between(-3.0, 1.0))
        };
        all.push((middle - 0.5 * width, middle + 0.5 * width));
    }
    all.retain(|&(l, u)| is_bounded(kind, l, u));
    all
}

/// Points of [l, u] close enough together to find where a line touches, and the kinks in between.
fn points(l: f64, u: f64) -> impl Iterator<Item = f64> {
    const KINKS: [f64; 6] = [-1.0, 0.0, 0.3125, 0.4375, 1.0, 6.0];
    let even = (0..=400).map(move |i| (l + (u - l) * f64::from(i) / 400.0).clamp(l, u));
    even.chain(KINKS.into_iter().filter(move |kink| (l..=u).contains(kink)))
}

/// Checks the lines in one precision; the largest share of its rounding allowed on the wrong side is `slack`.
fn check_sound<T: Real>(slack: impl Fn(Activation) -> f64) {
    let rng = Rng::new(11);
    for kind in ALL {
        let f = activation::<T>(kind);
        for ((l, u), rule) in intervals(&rng, kind).into_iter().flat_map(|ends| RULES.map(|rule| (ends, rule))) {
            let (l, u) = (T::from_f64(l), T::from_f64(u));
            let (below, above) = f.line_pair(l, u, rule);
            assert!(rule == LowerSlope::Adaptive || below.slope == above.slope, "{kind:?} {rule:?}");
            let at = |line: Line<T>, x: f64| line.slope.to_f64() * x + line.intercept.to_f64();
            let (mut low_gap, mut high_gap) = (f64::INFINITY, f64::INFINITY);
            let (low, high) = (l.to_f64().min(u.to_f64()), l.to_f64().max(u.to_f64()));
            let size = 1.0 + low.abs().max(high.abs());
            for x in points(low, high) {
                let y = value(kind, x);
                let rounding = T::EPSILON.to_f64() * slack(kind);
                let allowed =
                    |line: Line<T>| rounding * ((line.slope.to_f64() * x).abs() + line.intercept.to_f64().abs());
                let what = || format!("{kind:?} {rule:?} on [{l}, {u}] at {x}: {y}, lines {below:?} {above:?}");
                assert!(at(below, x) <= y + allowed(below), "{}", what());
                assert!(at(above, x) >= y - allowed(above), "{}", what());
                low_gap = low_gap.min(y - at(below, x));
                high_gap = high_gap.min(at(above, x) - y);
            }
            // Between two of the points a smooth function leaves its tangent by some width²/400².
            let near = 100.0 * T::EPSILON.to_f64() * size
                + 2e-5 * (high - low).min(1.0).powi(2)
                + 2e-3 * (high - low).min(1.0);
            let near = near * scale(kind, low, high);
            assert!(low_gap <= near && high_gap <= near, "{kind:?} on [{l}, {u}] leaves {low_gap} and {high_gap}");
        }
    }
}

/// Lines of functions that are no chords of straight pieces give way to rounding; those of the others are as exact as ε.
fn slack(kind: Activation) -> f64 {
    match kind {
        Activation::Relu | Activation::LeakyRelu { .. } => 4.0,
        Activation::Sigmoid
        | Activation::Tanh
        | Activation::Clip { .. }
        | Activation::Exp
        | Activation::Softplus
        | Activation::Reciprocal
        | Activation::Power { .. } => 0.0,
    }
}

#[test]
fn lines_never_cross_the_function() {
    check_sound::<f32>(slack);
    // The test's own numbers are rounded to f64.
    check_sound::<f64>(|kind| slack(kind) + 2.0);
}

/// Of slopes so small that nothing or only a few digits of them are left, inputs may be so large that they count.
#[test]
fn slopes_that_underflow_lift_no_line() {
    fn check<T: Real>(scales: &[f64]) {
        let f = activation::<T>(Activation::Reciprocal);
        for (&scale, sign, rule) in scales
            .iter()
            .flat_map(|s| [1.0, -1.0].map(|sign| (s, sign)))
            .flat_map(|(s, sign)| RULES.map(|rule| (s, sign, rule)))
        {
            let (l, u) = (T::from_f64(sign * scale), T::from_f64(3.0 * sign * scale));
            let (below, above) = f.line_pair(l, u, rule);
            let bracket = f.bracket(l, u);
            for x in points(l.to_f64().min(u.to_f64()), l.to_f64().max(u.to_f64())) {
                let y = 1.0 / x;
                let own = 1e-12 * y.abs();
                for low in [below, bracket.lower[0], bracket.lower[1]] {
                    let at = low.slope.to_f64() * x + low.intercept.to_f64();
                    assert!(at <= y + own, "{rule:?} at {x}: {at} is not below {y}");
                }
                for high in [above, bracket.upper[0], bracket.upper[1]] {
                    let at = high.slope.to_f64() * x + high.intercept.to_f64();
                    assert!(at >= y - own, "{rule:?} at {x}: {at} is not above {y}");
                }
            }
        }
    }
    check::<f64>(&[1e100, 1e150, 1e153, 1e155, 1e160, 1e161, 1e162, 1e165, 1e170, 1e250, 1e300]);
    check::<f32>(&[1e10, 1e15, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e25, 1e30, 1e37]);
}

/// Both lines of either side, and what shares make of them, are on the right side without any tolerance for rounding; the
/// lines of least area are those of [`tightrope_engine::activation::Activation::line_pair`].
#[test]
fn brackets_hold_as_they_are() {
    let rng = Rng::new(14);
    for kind in ALL {
        let f = activation::<f64>(kind);
        for (l, u) in intervals(&rng, kind) {
            let bracket = f.bracket(l, u);
            let mixed = |[first, second]: [Line<f64>; 2], share: f64| Line {
                slope: (1.0 - share) * first.slope + share * second.slope,
                intercept: (1.0 - share) * first.intercept + share * second.intercept,
            };
            for share in [0.0, 1.0, bracket.share, rng.uniform()] {
                let (below, above) = (mixed(bracket.lower, share), mixed(bracket.upper, share));
                for x in points(l, u) {
                    let y = value(kind, x);
                    // The bound of a stable ReLU is itself, and the test's own numbers are rounded.
                    let own = 4.0 * f64::EPSILON * (x.abs() + y.abs());
                    let what = || format!("{kind:?} on [{l}, {u}] at {x}, share {share}: {y}, {below:?} {above:?}");
                    assert!(below.at(x) <= y + own, "{}", what());
                    assert!(above.at(x) >= y - own, "{}", what());
                }
            }
            let (below, above) = f.line_pair(l, u, LowerSlope::Adaptive);
            let own = (mixed(bracket.lower, bracket.share), mixed(bracket.upper, bracket.share));
            for x in [l, u, 0.5 * (l + u)] {
                let near = 1e-13 * (1.0 + l.abs() + u.abs()) * scale(kind, l, u);
                assert!(
                    (own.0.at(x) - below.at(x)).abs() <= near,
                    "{kind:?} on [{l}, {u}]: {bracket:?}, not {below:?}"
                );
                assert!(
                    (own.1.at(x) - above.at(x)).abs() <= near,
                    "{kind:?} on [{l}, {u}]: {bracket:?}, not {above:?}"
                );
            }
        }
    }
}

/// Bounds that overflowed have lines, as far as there are any.
#[test]
fn brackets_without_finite_bounds_are_no_numbers_that_lie() {
    for kind in ALL {
        let f = activation::<f64>(kind);
        for (l, u) in [(f64::NEG_INFINITY, 1.0), (-1.0, f64::INFINITY), (f64::NEG_INFINITY, f64::INFINITY)] {
            let bracket = f.bracket(l, u);
            for x in [l.max(-1e3), u.min(1e3), 0.0, 0.3] {
                let y = value(kind, x);
                assert!(bracket.lower.iter().all(|line| line.at(x) <= y + 1e-12), "{kind:?}, [{l}, {u}]: {bracket:?}");
                assert!(bracket.upper.iter().all(|line| line.at(x) >= y - 1e-12), "{kind:?}, [{l}, {u}]: {bracket:?}");
            }
        }
    }
}

/// A split is strictly inside, and at a kink where there is one.
#[test]
fn splits_are_inside() {
    let rng = Rng::new(15);
    for kind in ALL {
        let f = activation::<f64>(kind);
        for (l, u) in intervals(&rng, kind).into_iter().filter(|&(l, u)| f.is_open(l, u)) {
            let point = f.split_point(l, u);
            assert!(l < point && point < u, "{kind:?} on [{l}, {u}] is split at {point}");
            if let Activation::Clip { lower, upper } = kind {
                assert!(point == lower || point == upper, "{kind:?} on [{l}, {u}] is split at {point}");
            }
        }
    }
}

#[test]
fn images_and_derivatives_are_those_of_the_function() {
    let rng = Rng::new(12);
    let mut count = Count::default();
    for kind in ALL {
        let f = activation::<f64>(kind);
        for _ in 0..200 {
            let away = rng.sign() * rng.between(0.3, 5.0);
            let x = if kind == Activation::Reciprocal { away } else { 3.0 * rng.normal() };
            assert!((f.value(x) - value(kind, x)).abs() <= 1e-15 * scale(kind, x, x), "{kind:?} at {x}");
            assert_eq!(f.values(&[x, x]), [f.value(x); 2]);
            count.compare(&format!("{kind:?} at {x}"), f.derivative(x), |t| value(kind, x + t));
            let mut target = [1.0, 2.0];
            f.pull_back(&[x, x], &[3.0, -1.0], &mut target);
            assert_eq!(target, [1.0 + f.derivative(x) * 3.0, 2.0 - f.derivative(x)]);
        }
        assert!(f.value(f64::NAN).is_nan());
    }
    count.finish(2900);
}

#[test]
fn adjoints_of_lines_are_their_derivatives() {
    let rng = Rng::new(13);
    let mut count = Count::default();
    for kind in ALL {
        let f = activation::<f64>(kind);
        for repeat in 0..1200 {
            let rule = RULES[repeat % RULES.len()];
            let middle = 2.0 * rng.normal();
            let width = 10.0_f64.powf(rng.between(-2.0, 1.0));
            let away = middle.signum() * (middle.abs() + 1.1 * width + 0.1);
            let middle = if kind == Activation::Reciprocal { away } else { middle };
            let (l, u) = (middle - width, middle + width);
            let line = || Line { slope: rng.normal(), intercept: rng.normal() };
            let g = (line(), line());
            let sum = |l: f64, u: f64| {
                let (below, above) = f.line_pair(l, u, rule);
                let dot = |g: Line<f64>, line: Line<f64>| g.slope * line.slope + g.intercept * line.intercept;
                dot(g.0, below) + dot(g.1, above)
            };
            let (on_l, on_u) = f.line_pair_adjoint(l, u, rule, g);
            count.compare(&format!("{kind:?} {rule:?}, l of [{l}, {u}]"), on_l, |t| sum(l + t, u));
            count.compare(&format!("{kind:?} {rule:?}, u of [{l}, {u}]"), on_u, |t| sum(l, u + t));
        }
    }
    count.finish(34_000);
}

/// Narrow intervals have the derivative of the tangent, whatever rounding does to differences.
#[test]
fn adjoints_stay_finite_on_narrow_intervals() {
    for kind in ALL {
        for x in [-2.0, -1.0, -1e-9, 0.0, 1e-9, 0.35, 1.0, 6.0] {
            let widths = [0.0, 1e-300, 1e-16, 1e-12, 1e-9, 1e-6];
            for (width, rule) in widths.into_iter().flat_map(|width| RULES.map(|rule| (width, rule))) {
                let f = activation::<f64>(kind);
                let g = Line { slope: 1.0, intercept: 1.0 };
                let (on_l, on_u) = f.line_pair_adjoint(x - width, x + width, rule, (g, g));
                // At a kink the guard allows 1/1e-12, times where the line meets the axis.
                let (is_s_shaped, is_steep) = (matches!(kind, Activation::Sigmoid | Activation::Tanh), is_steep(kind));
                let limit = if is_s_shaped {
                    10.0
                } else if is_steep {
                    1e7
                } else {
                    1e13
                };
                if kind == Activation::Reciprocal && x.abs() < 0.1 {
                    continue;
                }
                assert!(on_l.abs() <= limit && on_u.abs() <= limit, "{kind:?} at {x} ± {width}: {on_l}, {on_u}");
            }
        }
    }
}

#[test]
fn ties_take_the_flatter_lower_line() {
    let lower = |kind, l: f64, u: f64| activation::<f64>(kind).line_pair(l, u, LowerSlope::Adaptive).0.slope;
    assert_eq!((lower(Activation::Relu, -1.0, 1.0), lower(Activation::Relu, -1.0, 1.1)), (0.0, 1.0));
    let leaky = Activation::LeakyRelu { slope: 0.2 };
    assert_eq!((lower(leaky, -1.0, 1.0), lower(leaky, -1.0, 1.1)), (0.2, 1.0));
    let clip = Activation::Clip { lower: 0.0, upper: 6.0 };
    assert_eq!((lower(clip, -1.0, 1.0), lower(clip, -1.0, 1.1)), (0.0, 1.0));
}

/// Functions that fall have the image of an interval, and its adjoint.
#[test]
fn images_of_intervals_are_theirs() {
    let rng = Rng::new(16);
    let mut count = Count::default();
    for kind in ALL {
        let f = activation::<f64>(kind);
        for _ in 0..300 {
            let (x, width) = (2.0 * rng.normal(), 10.0_f64.powf(rng.between(-2.0, 0.7)));
            let (l, u) = (x - width, x + width);
            if !is_bounded(kind, l, u) {
                continue;
            }
            let (low, high) = f.image(l, u);
            let values: Vec<f64> = points(l, u).map(|x| value(kind, x)).collect();
            let near = 1e-14 * scale(kind, l, u);
            let (least, most) = values.iter().fold((f64::INFINITY, -f64::INFINITY), |(a, b), &y| (a.min(y), b.max(y)));
            assert!(low <= least + near && most <= high + near, "{kind:?} on [{l}, {u}]: {low} {high}");
            // Some point is near the least, and one at the largest value.
            assert!(least - low <= 1e-2 * (1.0 + width).powi(8) && high - most <= near, "{kind:?} on [{l}, {u}]");
            let g = (rng.normal(), rng.normal());
            let sum = |l: f64, u: f64| {
                let (low, high) = f.image(l, u);
                g.0 * low + g.1 * high
            };
            let (on_l, on_u) = f.image_adjoint(l, u, g);
            count.compare(&format!("{kind:?}, l of [{l}, {u}]"), on_l, |t| sum(l + t, u));
            count.compare(&format!("{kind:?}, u of [{l}, {u}]"), on_u, |t| sum(l, u + t));
        }
        let (low, high) = f.image(f64::NAN, 1.0);
        assert!(low.is_nan() || high.is_nan(), "{kind:?}");
    }
    count.finish(8000);
    let reciprocal = activation::<f64>(Activation::Reciprocal);
    for (l, u) in [(-1.0, 1.0), (0.0, 1.0), (-1.0, 0.0), (0.0, 0.0)] {
        assert_eq!(reciprocal.image(l, u), (f64::NEG_INFINITY, f64::INFINITY));
        let bracket = reciprocal.bracket(l, u);
        assert_eq!((bracket.lower[0].intercept, bracket.upper[0].intercept), (f64::NEG_INFINITY, f64::INFINITY));
    }
}

/// Bounds that overflowed give no line.
#[test]
fn no_lines_without_finite_bounds() {
    for kind in ALL.into_iter().filter(|&kind| kind != Activation::Reciprocal) {
        for (l, u) in [(f32::NEG_INFINITY, 1.0), (-1.0, f32::INFINITY), (f32::NAN, 1.0), (-f32::MAX, f32::MAX)] {
            let lines = activation::<f32>(kind).lines(&[l, -1.0], &[u, 2.0], LowerSlope::Adaptive);
            assert!(lines.lower_slope[0].is_nan() && lines.upper_slope[0].is_nan(), "{kind:?} on [{l}, {u}]");
            assert!(lines.lower_slope[1].is_finite() && lines.upper_intercept[1].is_finite(), "{kind:?}");
        }
    }
}
