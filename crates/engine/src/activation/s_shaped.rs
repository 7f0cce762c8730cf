//! S-shaped functions: convex below 0, concave above, point-symmetric about (0, f(0)). Lines are chords and tangents.
//!
//! The construction is CROWN's (Zhang et al. 2018). The lower line on [l, u] is
//! * the chord, if l ≥ 0 (f is concave) or if the chord rises no faster than f at l (then it stays below f);
//! * the tangent at m = (l + u)/2, if u ≤ 0 (f is convex), or if m < 0 and the tangent does not rise above f at u: of all
//!   tangents it has the least area below f;
//! * else the tangent at the d < 0 for which it passes through (u, f(u)).
//!
//! The upper line is the lower line of [−u, −l], turned about (0, f(0)).
//!
//! Parallel lines have the slope min(f′(l), f′(u)), the smallest of f on [l, u], and go through (l, f(l)) and (u, f(u))
//! (Singh et al. 2018).

use std::fmt::Debug;

use super::line::{chord_adjoint, interval, interval_adjoint};
use super::{Activation, Bracket, Line};
use crate::{LowerSlope, Real};

/// A function of this shape with the lines of this file.
#[derive(Debug)]
pub(super) struct SShaped<F>(pub(super) F);

/// A function of this shape.
pub(super) trait Curve<T: Real>: Debug + Send + Sync {
    /// f(x).
    fn at(&self, x: T) -> T;

    /// f′(x), relatively exact everywhere.
    fn slope(&self, x: T) -> T;

    /// f″(x).
    fn curvature(&self, x: T) -> T;

    /// f(u) − f(l), relatively exact where l and u are close.
    fn rise(&self, l: T, u: T) -> T;
}

/// How a lower line is found.
enum Choice<T> {
    Chord,
    /// Tangent at the middle.
    Middle,
    /// Tangent at this place, through the function's point at u.
    Tangent(T),
}

/// Relative width below which chord and tangent are one.
const NARROWEST: f64 = 1e-7;

/// Steps of the search for a tangent; some ten suffice unless rounding hides the solution.
const STEPS: usize = 60;

fn chord_slope<T: Real, F: Curve<T>>(f: &F, l: T, u: T) -> T {
    if u > l { f.rise(l, u) / (u - l) } else { f.slope(l) }
}

fn middle<T: Real>(l: T, u: T) -> T {
    (l + u) * T::from_f64(0.5)
}

fn choice<T: Real, F: Curve<T>>(f: &F, l: T, u: T) -> Choice<T> {
    if l >= T::ZERO || (u > T::ZERO && chord_slope(f, l, u) <= f.slope(l)) {
        Choice::Chord
    } else if u <= T::ZERO || (middle(l, u) < T::ZERO && height(f, middle(l, u), u) <= T::ZERO) {
        Choice::Middle
    } else {
        Choice::Tangent(tangent_through(f, l, u))
    }
}

/// How far the tangent at d rises above (u, f(u)).
fn height<T: Real, F: Curve<T>>(f: &F, d: T, u: T) -> T {
    f.slope(d) * (u - d) + f.at(d) - f.at(u)
}

/// The d in [l, 0) whose tangent passes (u, f(u)), l < 0 < u, or rather just below it.
///
/// The tangent's [`height`] h over (u, f(u)) grows with d from h(l) < 0: h′ = f″(d)(u − d). Newton's method in a bracket;
/// what is returned has h ≤ 0, on the sound side.
fn tangent_through<T: Real, F: Curve<T>>(f: &F, l: T, u: T) -> T {
    let height = |d: T| height(f, d, u);
    let (mut low, mut high) = (l, T::ZERO);
    // The solution for small u.
    let mut d = (u * T::from_f64(-0.5)).max(middle(low, high));
    let near = |d: T| T::from_f64(8.0) * T::EPSILON * d.abs();
    for _ in 0..STEPS {
        let h = height(d);
        if h <= T::ZERO {
            low = d;
        } else {
            high = d;
        }
        let mut next = d - h / (f.curvature(d) * (u - d));
        if !(next > low && next < high) {
            next = middle(low, high);
        }
        let step = (next - d).abs();
        d = next;
        if step <= near(d) {
            break;
        }
    }
    // The iterates may have come from above.
    let mut back = near(d);
    while d - back > low {
        if height(d - back) <= T::ZERO {
            return d - back;
        }
        back *= T::from_f64(8.0);
    }
    low
}

/// The lower line but for rounding.
fn lower_line<T: Real, F: Curve<T>>(f: &F, l: T, u: T) -> Line<T> {
    let tangent = |x: T| Line::through(x, f.at(x), f.slope(x));
    match choice(f, l, u) {
        Choice::Chord => {
            let slope = chord_slope(f, l, u);
            let (from_l, from_u) = (Line::through(l, f.at(l), slope), Line::through(u, f.at(u), slope));
            if from_l.intercept < from_u.intercept { from_l } else { from_u }
        }
        Choice::Middle => tangent(middle(l, u)),
        Choice::Tangent(d) => tangent(d),
    }
}

fn lower_line_adjoint<T: Real, F: Curve<T>>(f: &F, l: T, u: T, g: Line<T>) -> (T, T) {
    // Of the tangent at m, which moves with both ends.
    let of_middle = || {
        let m = middle(l, u);
        let on_end = (g.slope - m * g.intercept) * f.curvature(m) * T::from_f64(0.5);
        (on_end, on_end)
    };
    match choice(f, l, u) {
        // So close that differences of slopes are lost to rounding, chord and tangent change alike.
        Choice::Chord if u - l <= T::EPSILON.sqrt() => of_middle(),
        Choice::Chord => chord_adjoint((l, f.slope(l)), (u, f.slope(u)), chord_slope(f, l, u), g),
        Choice::Middle => of_middle(),
        // d moves with u such that the line stays a tangent through (u, f(u)): the implicit function theorem.
        Choice::Tangent(d) => {
            let slope = f.slope(d);
            (T::ZERO, chord_adjoint((d, slope), (u, f.slope(u)), slope, g).1)
        }
    }
}

/// The adjoint of the two lines of slope λ = min(f′(l), f′(u)) through (l, f(l)) and (u, f(u)).
fn parallel_adjoint<T: Real, F: Curve<T>>(f: &F, l: T, u: T, (below, above): (Line<T>, Line<T>)) -> (T, T) {
    let (at_l, at_u) = (f.slope(l), f.slope(u));
    let g_slope = below.slope + above.slope - l * below.intercept - u * above.intercept;
    if at_l <= at_u {
        (g_slope * f.curvature(l), (at_u - at_l) * above.intercept)
    } else {
        ((at_l - at_u) * below.intercept, g_slope * f.curvature(u))
    }
}

impl<T: Real, F: Curve<T>> Activation<T> for SShaped<F> {
    fn value(&self, x: T) -> T {
        self.0.at(x)
    }

    fn derivative(&self, x: T) -> T {
        self.0.slope(x)
    }

    fn is_affine_on(&self, _: T, _: T) -> bool {
        false
    }

    fn line_pair(&self, l: T, u: T, rule: LowerSlope) -> (Line<T>, Line<T>) {
        let (l, u) = (l.min(u), l.max(u));
        let (at_l, at_u) = (self.0.at(l), self.0.at(u));
        let (size, around) = (at_l.abs().max(at_u.abs()), T::from_f64(2.0) * self.0.at(T::ZERO));
        let (below, above) = match rule {
            LowerSlope::Adaptive => {
                let turned = lower_line(&self.0, -u, -l);
                (lower_line(&self.0, l, u), Line { intercept: around - turned.intercept, ..turned })
            }
            LowerSlope::Parallel => {
                let slope = self.0.slope(l).min(self.0.slope(u));
                (Line::through(l, at_l, slope), Line::through(u, at_u, slope))
            }
            LowerSlope::Constant => interval(self, l, u),
        };
        (below.lowered(l, u, size), above.raised(l, u, size + around))
    }

    fn line_pair_adjoint(&self, l: T, u: T, rule: LowerSlope, (g_below, g_above): (Line<T>, Line<T>)) -> (T, T) {
        if l > u {
            let (on_l, on_u) = self.line_pair_adjoint(u, l, rule, (g_below, g_above));
            return (on_u, on_l);
        }
        match rule {
            LowerSlope::Adaptive => {}
            LowerSlope::Parallel => return parallel_adjoint(&self.0, l, u, (g_below, g_above)),
            LowerSlope::Constant => return interval_adjoint(self, l, u, (g_below, g_above)),
        }
        let below = lower_line_adjoint(&self.0, l, u, g_below);
        let above = lower_line_adjoint(&self.0, -u, -l, Line { intercept: -g_above.intercept, ..g_above });
        (below.0 - above.1, below.1 - above.0)
    }

    /// Some units in the last place, which is more than any libm's exponential function and hyperbolic tangent take.
    fn value_error(&self) -> T {
        T::from_f64(8.0) * T::EPSILON
    }

    /// A split makes the lines better as long as there is anything between them.
    fn is_open(&self, l: T, u: T) -> bool {
        u - l > T::from_f64(NARROWEST) * (T::ONE + l.abs() + u.abs())
    }

    fn has_choice(&self) -> bool {
        false
    }

    /// The lines of CROWN, lowered and raised by what could be wrong with them.
    ///
    /// A tangent at d whose slope is off by some roundings leaves the function by those times the width on the side where
    /// f is convex (concave), and at the end of the other side by the rounding of f and of the slope's product. A chord is
    /// exact at its ends but for such roundings, and elsewhere it is on the right side of f.
    fn bracket(&self, l: T, u: T) -> Bracket<T> {
        let (l, u) = (l.min(u), l.max(u));
        let around = T::from_f64(2.0) * self.0.at(T::ZERO);
        let (at_l, at_u) = (self.0.at(l), self.0.at(u));
        let (below, above) = match (u - l).is_finite() {
            true => self.line_pair(l, u, LowerSlope::Adaptive),
            false => (Line::constant(at_l), Line::constant(at_u)),
        };
        let size = at_l.abs().max(at_u.abs()) + around;
        let (below, above) = (below.outward(l, u, size, true), above.outward(l, u, size, false));
        Bracket { lower: [below; 2], upper: [above; 2], share: T::ZERO }
    }

    fn split_point(&self, l: f64, u: f64) -> f64 {
        if l < 0.0 && u > 0.0 { 0.0 } else { super::middle_of(l, u) }
    }
}
