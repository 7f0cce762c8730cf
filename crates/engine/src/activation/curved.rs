//! Curved functions: convex or concave on an interval, or turning from the one to the other at 0. Lines are chords and
//! tangents.
//!
//! On [l, u] with the middle m
//! * a convex function is above its tangent at m, which of all tangents leaves the least area, and below its chord;
//! * a concave one is below that tangent and above that chord;
//! * an odd one that is concave below 0 and convex above is above the tangent at any t ≥ d, d being where the tangent passes
//!   through (l, f(l)): of m and d the larger is taken, and the chord if there is no such place in [l, u]. The line above
//!   is the line below on [−u, −l], turned about 0.
//!
//! Parallel lines have the slope f′(m): the tangent, and the line through the end that is farther from it. Where the function
//! turns they are constants. A function that is not bounded on an interval has infinite constants there, and what is made
//! of those says nothing.

use std::fmt::Debug;

use super::line::{chord_adjoint, interval_adjoint};
use super::{Activation, Bracket, Line, middle_of};
use crate::{LowerSlope, Real};

/// A function with the lines of this file.
#[derive(Debug)]
pub(super) struct Curved<F>(pub(super) F);

/// How a function bends on an interval.
pub(super) enum Shape<T> {
    Convex,
    Concave,
    /// Odd, concave below 0 and convex above, with 0 inside the interval: tangents at t ≥ `touch`·|x| are below f at x < 0
    /// and from there on.
    Turning {
        touch: T,
    },
    /// Not bounded.
    Broken,
}

/// Where a function is least or largest on an interval.
pub(super) enum Extreme<T> {
    AtL,
    AtU,
    /// Inside, with this value.
    Inside(T),
}

/// A function of this kind.
pub(super) trait Curve<T: Real>: Debug + Send + Sync {
    /// f(x).
    fn at(&self, x: T) -> T;

    /// f′(x), relatively exact everywhere.
    fn slope(&self, x: T) -> T;

    /// f″(x).
    fn curvature(&self, x: T) -> T;

    /// (f(u) − f(l))/(u − l), f′(l) for l = u; relatively exact where f does not change its direction.
    fn chord(&self, l: T, u: T) -> T;

    /// How f bends on [l, u].
    fn shape(&self, l: T, u: T) -> Shape<T>;

    /// Where f is least and where it is largest on [l, u]; none if it is not bounded.
    fn extremes(&self, _: T, _: T) -> Option<[Extreme<T>; 2]> {
        Some([Extreme::AtL, Extreme::AtU])
    }

    /// Whether f does not fall anywhere.
    fn is_increasing(&self) -> bool {
        true
    }

    /// A bound of the relative rounding error of [`Curve::at`].
    fn error(&self) -> T;
}

/// How a line is found.
enum Choice<T> {
    /// Through both ends.
    Chord,
    /// Tangent at the middle.
    Middle,
    /// Tangent at d = −`touch`·l.
    Touching { touch: T, d: T },
    /// None: an infinite constant.
    Nothing,
}

/// Relative width below which chord and tangent are one.
const NARROWEST: f64 = 1e-7;

fn middle<T: Real>(l: T, u: T) -> T {
    l + (u - l) * T::from_f64(0.5)
}

/// The line below a function that turns at 0.
fn turning<T: Real>(touch: T, l: T, u: T) -> Choice<T> {
    // Rounded to the sound side.
    let d = -l * touch * (T::ONE + T::from_f64(16.0) * T::EPSILON);
    if d >= u {
        Choice::Chord
    } else if middle(l, u) >= d {
        Choice::Middle
    } else {
        Choice::Touching { touch, d }
    }
}

/// How the lines below and above are found; the one above is given for [−u, −l] where the function turns.
fn choices<T: Real>(shape: &Shape<T>, l: T, u: T) -> [Choice<T>; 2] {
    match *shape {
        Shape::Convex => [Choice::Middle, Choice::Chord],
        Shape::Concave => [Choice::Chord, Choice::Middle],
        Shape::Turning { touch } => [turning(touch, l, u), turning(touch, -u, -l)],
        Shape::Broken => [Choice::Nothing, Choice::Nothing],
    }
}

/// The line of slope `slope` that is below both ends of f, or above them.
fn beside_ends<T: Real, F: Curve<T>>(f: &F, l: T, u: T, slope: T, is_below: bool) -> Line<T> {
    let (at_l, at_u) = (f.at(l) - slope * l, f.at(u) - slope * u);
    Line { slope, intercept: if is_below { at_l.min(at_u) } else { at_l.max(at_u) } }
}

/// A line but for rounding.
fn line<T: Real, F: Curve<T>>(f: &F, choice: &Choice<T>, l: T, u: T, is_below: bool) -> Line<T> {
    let tangent = |x: T| Line::through(x, f.at(x), f.slope(x));
    match *choice {
        Choice::Chord => beside_ends(f, l, u, f.chord(l, u), is_below),
        Choice::Middle => tangent(middle(l, u)),
        Choice::Touching { d, .. } => tangent(d),
        Choice::Nothing => Line::constant(if is_below { -T::INFINITY } else { T::INFINITY }),
    }
}

fn line_adjoint<T: Real, F: Curve<T>>(f: &F, choice: &Choice<T>, l: T, u: T, g: Line<T>) -> (T, T) {
    // A tangent moves with the place x that it touches f at.
    let of_tangent = |x: T| (g.slope - x * g.intercept) * f.curvature(x);
    let of_middle = || {
        let on_end = of_tangent(middle(l, u)) * T::from_f64(0.5);
        (on_end, on_end)
    };
    match *choice {
        Choice::Middle => of_middle(),
        Choice::Chord => {
            let (slope, m) = (f.chord(l, u), middle(l, u));
            // So close that differences of slopes are lost to rounding, chord and tangent change alike.
            let bend = (f.curvature(m) * (u - l)).abs();
            if u <= l || bend < T::EPSILON.sqrt() * slope.abs() {
                return of_middle();
            }
            chord_adjoint((l, f.slope(l)), (u, f.slope(u)), slope, g)
        }
        Choice::Touching { touch, d } => (-touch * of_tangent(d), T::ZERO),
        Choice::Nothing => (T::ZERO, T::ZERO),
    }
}

/// Turned about 0, and the sides changed.
fn turned<T: Real>(line: Line<T>) -> Line<T> {
    Line { intercept: -line.intercept, ..line }
}

/// The parallel lines of a function that is convex (or concave) on [l, u], but for rounding.
fn parallel<T: Real, F: Curve<T>>(f: &F, l: T, u: T, is_convex: bool) -> (Line<T>, Line<T>) {
    let tangent = line(f, &Choice::Middle, l, u, is_convex);
    let far = beside_ends(f, l, u, tangent.slope, !is_convex);
    if is_convex { (tangent, far) } else { (far, tangent) }
}

/// The adjoint of [`parallel`].
fn parallel_adjoint<T: Real, F: Curve<T>>(
    f: &F,
    l: T,
    u: T,
    is_convex: bool,
    (below, above): (Line<T>, Line<T>),
) -> (T, T) {
    let (on_tangent, on_far) = if is_convex { (below, above) } else { (above, below) };
    let m = middle(l, u);
    let slope = f.slope(m);
    let (at_l, at_u) = (f.at(l) - slope * l, f.at(u) - slope * u);
    let is_at_l = if is_convex { at_l >= at_u } else { at_l <= at_u };
    let end = if is_at_l { l } else { u };
    let on_slope = on_tangent.slope + on_far.slope - m * on_tangent.intercept - end * on_far.intercept;
    let half = on_slope * f.curvature(m) * T::from_f64(0.5);
    let at_end = (f.slope(end) - slope) * on_far.intercept;
    if is_at_l { (half + at_end, half) } else { (half, half + at_end) }
}

/// Whether one of two numbers is NaN.
fn is_nan<T: Real>(l: T, u: T) -> bool {
    l.partial_cmp(&u).is_none()
}

/// The least and the largest value on [l, u].
fn image<T: Real, F: Curve<T>>(f: &F, l: T, u: T) -> (T, T) {
    if is_nan(l, u) {
        return (T::NAN, T::NAN);
    }
    let Some(extremes) = f.extremes(l, u) else { return (-T::INFINITY, T::INFINITY) };
    let [low, high] = extremes.map(|extreme| match extreme {
        Extreme::AtL => f.at(l),
        Extreme::AtU => f.at(u),
        Extreme::Inside(value) => value,
    });
    (low, high)
}

/// The constants between which f is on [l, u].
fn constants<T: Real, F: Curve<T>>(f: &F, l: T, u: T) -> (Line<T>, Line<T>) {
    let (least, most) = image(f, l, u);
    (Line::constant(least), Line::constant(most))
}

/// The lines but for rounding.
fn exact_lines<T: Real, F: Curve<T>>(f: &F, l: T, u: T, rule: LowerSlope) -> (Line<T>, Line<T>) {
    let shape = f.shape(l, u);
    match (rule, &shape) {
        (LowerSlope::Constant, _) | (LowerSlope::Parallel, Shape::Turning { .. } | Shape::Broken) => constants(f, l, u),
        (LowerSlope::Parallel, Shape::Convex) => parallel(f, l, u, true),
        (LowerSlope::Parallel, Shape::Concave) => parallel(f, l, u, false),
        (LowerSlope::Adaptive, _) => {
            let [below, above] = choices(&shape, l, u);
            let above = match shape {
                Shape::Turning { .. } => turned(line(f, &above, -u, -l, true)),
                Shape::Convex | Shape::Concave | Shape::Broken => line(f, &above, l, u, false),
            };
            (line(f, &below, l, u, true), above)
        }
    }
}

/// The largest |f| on [l, u], where f is bounded.
fn size<T: Real, F: Curve<T>>(f: &F, l: T, u: T) -> T {
    f.at(l).abs().max(f.at(u).abs())
}

impl<T: Real, F: Curve<T>> Activation<T> for Curved<F> {
    fn value(&self, x: T) -> T {
        self.0.at(x)
    }

    fn derivative(&self, x: T) -> T {
        self.0.slope(x)
    }

    fn is_increasing(&self) -> bool {
        self.0.is_increasing()
    }

    fn image(&self, l: T, u: T) -> (T, T) {
        image(&self.0, l, u)
    }

    fn image_adjoint(&self, l: T, u: T, (g_low, g_high): (T, T)) -> (T, T) {
        let mut on = (T::ZERO, T::ZERO);
        if let Some(extremes) = self.0.extremes(l, u) {
            for (extreme, g) in extremes.into_iter().zip([g_low, g_high]).filter(|(_, g)| *g != T::ZERO) {
                match extreme {
                    Extreme::AtL => on.0 += self.0.slope(l) * g,
                    Extreme::AtU => on.1 += self.0.slope(u) * g,
                    Extreme::Inside(_) => {}
                }
            }
        }
        on
    }

    fn is_affine_on(&self, _: T, _: T) -> bool {
        false
    }

    fn line_pair(&self, l: T, u: T, rule: LowerSlope) -> (Line<T>, Line<T>) {
        let (l, u) = (l.min(u), l.max(u));
        let (below, above) = exact_lines(&self.0, l, u, rule);
        let size = size(&self.0, l, u);
        let (mut below, mut above) = (below.lowered(l, u, size), above.raised(l, u, size));
        // Values and slopes may be so small that they have lost their digits.
        let lost = T::MIN_POSITIVE * (T::ONE + (u - l));
        below.intercept -= lost;
        above.intercept += lost;
        // What overflows is as good as the constants. So is a slope that is next to nothing: of its products with small
        // coefficients nothing is left, while its inputs may be so large that it counts.
        let flattest = T::MIN_POSITIVE.sqrt();
        let is_of_use =
            |line: Line<T>| line.slope.is_finite() && line.intercept.is_finite() && line.slope.abs() >= flattest;
        let (least, most) = self.image(l, u);
        let margin = |value: T| T::from_f64(4.0) * self.0.error() * value.abs() + T::MIN_POSITIVE;
        let floor = Line::constant(if least.is_finite() { least - margin(least) } else { least });
        let ceiling = Line::constant(if most.is_finite() { most + margin(most) } else { most });
        if !(is_of_use(below) && is_of_use(above)) && rule != LowerSlope::Adaptive {
            (below, above) = (floor, ceiling);
        }
        if !is_of_use(below) {
            below = floor;
        }
        if !is_of_use(above) {
            above = ceiling;
        }
        (below, above)
    }

    fn line_pair_adjoint(&self, l: T, u: T, rule: LowerSlope, (g_below, g_above): (Line<T>, Line<T>)) -> (T, T) {
        if l > u {
            let (on_l, on_u) = self.line_pair_adjoint(u, l, rule, (g_below, g_above));
            return (on_u, on_l);
        }
        let f = &self.0;
        let shape = f.shape(l, u);
        match (rule, &shape) {
            (LowerSlope::Constant, _) | (LowerSlope::Parallel, Shape::Turning { .. } | Shape::Broken) => {
                interval_adjoint(self, l, u, (g_below, g_above))
            }
            (LowerSlope::Parallel, Shape::Convex) => parallel_adjoint(f, l, u, true, (g_below, g_above)),
            (LowerSlope::Parallel, Shape::Concave) => parallel_adjoint(f, l, u, false, (g_below, g_above)),
            (LowerSlope::Adaptive, _) => {
                let [below, above] = choices(&shape, l, u);
                let on_below = line_adjoint(f, &below, l, u, g_below);
                match shape {
                    Shape::Turning { .. } => {
                        let on_above = line_adjoint(f, &above, -u, -l, turned(g_above));
                        (on_below.0 - on_above.1, on_below.1 - on_above.0)
                    }
                    Shape::Convex | Shape::Concave | Shape::Broken => {
                        let on_above = line_adjoint(f, &above, l, u, g_above);
                        (on_below.0 + on_above.0, on_below.1 + on_above.1)
                    }
                }
            }
        }
    }

    fn value_error(&self) -> T {
        self.0.error()
    }

    /// |slope·x| and |intercept| − |f|, the steepest place of a function of this kind being an end.
    fn reach(&self, l: T, u: T) -> T {
        if self.0.extremes(l, u).is_none() {
            return T::INFINITY;
        }
        let steepest = self.0.slope(l).abs().max(self.0.slope(u).abs());
        T::from_f64(2.0) * steepest * l.abs().max(u.abs()) + size(&self.0, l, u)
    }

    /// A split makes the lines better as long as there is anything between them.
    fn is_open(&self, l: T, u: T) -> bool {
        u - l > T::from_f64(NARROWEST) * (T::ONE + l.abs() + u.abs())
    }

    fn has_choice(&self) -> bool {
        false
    }

    /// The lines of [`Activation::line_pair`], lowered and raised by what could be wrong with them.
    ///
    /// A tangent whose slope is off by some roundings leaves the function by those times the width; of any slope the line
    /// beside both ends is on the right side of f there, and in between where f bends away from it.
    fn bracket(&self, l: T, u: T) -> Bracket<T> {
        if is_nan(l, u) {
            let [below, above] = [-T::INFINITY, T::INFINITY].map(Line::constant);
            return Bracket { lower: [below; 2], upper: [above; 2], share: T::ZERO };
        }
        let (l, u) = (l.min(u), l.max(u));
        let (least, most) = self.image(l, u);
        let (below, above) = match (u - l).is_finite() {
            true => self.line_pair(l, u, LowerSlope::Adaptive),
            false => (Line::constant(least), Line::constant(most)),
        };
        // Where values overflow, what is below is the constant.
        let size = Some(size(&self.0, l, u)).filter(|size| size.is_finite()).unwrap_or(least.abs());
        let (below, above) = (below.outward(l, u, size, true), above.outward(l, u, size, false));
        Bracket { lower: [below; 2], upper: [above; 2], share: T::ZERO }
    }

    fn split_point(&self, l: f64, u: f64) -> f64 {
        if l < 0.0 && u > 0.0 && !matches!(self.0.shape(T::from_f64(l), T::from_f64(u)), Shape::Convex) {
            0.0
        } else {
            middle_of(l, u)
        }
    }
}
