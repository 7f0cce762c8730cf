//! Activations as the domains see them: value, derivative, interval image and two bounding lines, with adjoints.
//!
//! One file per function. A file states the function of one number; what the domains call works on slices, so that the
//! choice of the function costs nothing per element.

mod clip;
mod curved;
mod exp;
mod fan;
mod leaky_relu;
mod line;
mod power;
mod reciprocal;
mod relu;
mod s_shaped;
mod sigmoid;
mod softplus;
mod tanh;

use std::fmt::Debug;

use tightrope_network::Activation as Kind;

use crate::{LowerSlope, Real};
use curved::Curved;
pub(crate) use fan::mixed;
pub use fan::{Bracket, Fan};
pub use line::{Line, Lines};
use s_shaped::SShaped;

/// A function f of one number.
///
/// Bounds passed to it are those of its argument x: l ≤ x ≤ u. Where rounding has left l > u by a few units in the last
/// place, lines are sound between the two.
pub trait Activation<T: Real>: Debug + Send + Sync {
    /// f(x); NaN for NaN.
    fn value(&self, x: T) -> T;

    /// f′(x); at a kink that of one of its sides.
    fn derivative(&self, x: T) -> T;

    /// Whether f does not fall anywhere.
    fn is_increasing(&self) -> bool {
        true
    }

    /// The least and the largest value of f on [l, u], those at the ends for functions that do not fall; infinite where f is
    /// not bounded, NaN for NaN.
    fn image(&self, l: T, u: T) -> (T, T) {
        (self.value(l), self.value(u))
    }

    /// Pulls cotangents on the least and the largest value back to l and u; where f′ is 0 nothing passes, whatever they are.
    fn image_adjoint(&self, l: T, u: T, (g_low, g_high): (T, T)) -> (T, T) {
        let pulled = |x: T, g: T| match self.derivative(x) {
            derivative if derivative != T::ZERO => derivative * g,
            _ => T::ZERO,
        };
        (pulled(l, g_low), pulled(u, g_high))
    }

    /// Whether f is affine on [l, u], so that its lines are f itself and better bounds of x change nothing.
    fn is_affine_on(&self, l: T, u: T) -> bool;

    /// A line below f and one above it on [l, u]; u − l is finite. `rule` says which where the lower one may be chosen.
    fn line_pair(&self, l: T, u: T, rule: LowerSlope) -> (Line<T>, Line<T>);

    /// Pulls cotangents on the numbers of [`Activation::line_pair`] back to l and u, with the case that l and u fall into
    /// taken as given.
    fn line_pair_adjoint(&self, l: T, u: T, rule: LowerSlope, g: (Line<T>, Line<T>)) -> (T, T);

    /// A bound of the relative rounding error of [`Activation::value`].
    fn value_error(&self) -> T;

    /// A bound of |slope·x| on [l, u] for the lines of a bracket and, together with |f|, of their intercepts: what
    /// [`crate::Charges`] needs. The default is that of slopes in [0, 1].
    fn reach(&self, l: T, u: T) -> T {
        l.abs().max(u.abs())
    }

    /// Whether better bounds l ≤ x ≤ u of x, or a split between them, make the lines better.
    fn is_open(&self, l: T, u: T) -> bool {
        !self.is_affine_on(l, u)
    }

    /// Lines that hold in exact arithmetic, whatever this one has rounded, those of [`Activation::line_pair`] (but for
    /// rounding) among them.
    fn bracket(&self, l: T, u: T) -> Bracket<T>;

    /// Whether there are two different lines in any bracket, so that shares are worth optimising.
    fn has_choice(&self) -> bool {
        true
    }

    /// Where a search divides the interval [l, u] on which f is open: a kink inside or, for smooth functions, where they
    /// turn from convex to concave, else the middle.
    fn split_point(&self, l: f64, u: f64) -> f64;

    /// Appends the lines to be optimised over the given bounds.
    fn extend(&self, lines: &mut Lines<T>, lower: &[f64], upper: &[f64]) {
        for (&l, &u) in lower.iter().zip(upper) {
            let (l, u) = (T::from_f64(l), T::from_f64(u));
            let bracket = self.bracket(l, u);
            let gap = if self.is_open(l, u) {
                let at = |x| mixed(bracket.upper, bracket.share).at(x) - mixed(bracket.lower, bracket.share).at(x);
                T::from_f64(0.5) * (at(l) + at(u))
            } else {
                T::ZERO
            };
            lines.push_bracket(bracket, gap);
        }
    }

    /// f(x) of each element.
    fn values(&self, x: &[T]) -> Vec<T> {
        x.iter().map(|&x| self.value(x)).collect()
    }

    /// target += f′(x)·g for each element; where one of the two is 0 nothing passes, whatever the other is.
    fn pull_back(&self, x: &[T], g: &[T], target: &mut [T]) {
        for ((target, &x), &g) in target.iter_mut().zip(x).zip(g) {
            let derivative = self.derivative(x);
            if derivative != T::ZERO && g != T::ZERO {
                *target += derivative * g;
            }
        }
    }

    /// The least and the largest values of all elements.
    fn images(&self, lower: &[T], upper: &[T]) -> (Vec<T>, Vec<T>) {
        lower.iter().zip(upper).map(|(&l, &u)| self.image(l, u)).unzip()
    }

    /// The adjoint of [`Activation::images`]: adds to the cotangents of the bounds.
    fn pull_back_images(&self, bounds: [&[T]; 2], g: [&[T]; 2], [g_lower, g_upper]: [&mut [T]; 2]) {
        let [lower, upper] = bounds;
        for i in 0..lower.len() {
            let (on_lower, on_upper) = self.image_adjoint(lower[i], upper[i], (g[0][i], g[1][i]));
            g_lower[i] += on_lower;
            g_upper[i] += on_upper;
        }
    }

    /// The lines of each element; NaN where a bound is not finite, so that bounds which overflowed do not pass for others.
    fn lines(&self, lower: &[T], upper: &[T], rule: LowerSlope) -> Lines<T> {
        let mut lines = Lines::with_capacity(lower.len());
        for (&l, &u) in lower.iter().zip(upper) {
            if (u - l).is_finite() {
                let (below, above) = self.line_pair(l, u, rule);
                lines.push(below, above);
            } else {
                lines.push(Line { slope: T::NAN, intercept: T::ZERO }, Line { slope: T::NAN, intercept: T::NAN });
            }
        }
        lines.finish();
        lines
    }

    /// The adjoint of [`Activation::lines`]: adds to the cotangents of the bounds.
    fn lines_adjoint(&self, bounds: [&[T]; 2], rule: LowerSlope, g: &Lines<T>, [g_lower, g_upper]: [&mut [T]; 2]) {
        let [lower, upper] = bounds;
        for i in 0..lower.len() {
            let pair = g.pair(i);
            if pair != (Line::ZERO, Line::ZERO) {
                let (on_lower, on_upper) = self.line_pair_adjoint(lower[i], upper[i], rule, pair);
                g_lower[i] += on_lower;
                g_upper[i] += on_upper;
            }
        }
    }
}

/// The function that a layer of `kind` applies.
pub fn activation<T: Real>(kind: Kind) -> Box<dyn Activation<T>> {
    T::activation(kind)
}

/// [`activation`] for the crate's own types.
pub(crate) fn of_kind<T: Real>(kind: Kind) -> Box<dyn Activation<T>> {
    match kind {
        Kind::Relu => Box::new(relu::Relu),
        Kind::LeakyRelu { slope } => Box::new(leaky_relu::LeakyRelu::new(slope)),
        Kind::Sigmoid => Box::new(SShaped(sigmoid::Sigmoid)),
        Kind::Tanh => Box::new(SShaped(tanh::Tanh)),
        Kind::Clip { lower, upper } => Box::new(clip::Clip::new(lower, upper)),
        Kind::Exp => Box::new(Curved(exp::Exp)),
        Kind::Softplus => Box::new(Curved(softplus::Softplus)),
        Kind::Reciprocal => Box::new(Curved(reciprocal::Reciprocal)),
        Kind::Power { exponent } => Box::new(Curved(power::Power::new(exponent))),
    }
}

/// The middle of [l, u], with as many digits as f32 has if that is inside: what splits it is then the same in f32 and f64.
pub fn middle_of(l: f64, u: f64) -> f64 {
    let middle = 0.5 * (l + u);
    let single = f64::from(middle as f32);
    if l < single && single < u { single } else { middle }
}
