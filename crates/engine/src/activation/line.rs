//! Lines slope·x + intercept: chords, tangents, their adjoints, and the lines of a whole layer.

use super::fan::mixed;
use super::{Activation, Bracket, Fan};
use crate::Real;

/// slope·x + intercept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line<T> {
    /// Slope.
    pub slope: T,
    /// Value at 0.
    pub intercept: T,
}

/// A line below and a line above every neuron of a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lines<T> {
    /// Slopes of the lower lines.
    pub lower_slope: Vec<T>,
    /// Intercepts of the lower lines; empty if all are 0.
    pub lower_intercept: Vec<T>,
    /// Slopes of the upper lines.
    pub upper_slope: Vec<T>,
    /// Intercepts of the upper lines.
    pub upper_intercept: Vec<T>,
    /// What shares choose from, in lines to be optimised; none where a share is the slope of the lower line (ReLU).
    pub fan: Option<Box<Fan<T>>>,
}

/// Intercepts of inexact lines give way by this many units of rounding of the numbers they come from.
const ROUNDINGS: f64 = 16.0;

impl<T: Real> Line<T> {
    pub(super) const ZERO: Self = Line { slope: T::ZERO, intercept: T::ZERO };
    pub(super) const IDENTITY: Self = Line { slope: T::ONE, intercept: T::ZERO };

    pub(super) fn constant(value: T) -> Self {
        Line { slope: T::ZERO, intercept: value }
    }

    /// The line through (x, y).
    pub(super) fn through(x: T, y: T, slope: T) -> Self {
        Line { slope, intercept: y - slope * x }
    }

    /// The chord through (p, f(p)) and (q, f(q)), p < q.
    pub(super) fn chord((p, at_p): (T, T), (q, at_q): (T, T)) -> Self {
        Self::through(p, at_p, (at_q - at_p) / (q - p))
    }

    /// What rounding can have moved the line by on [l, u], where it stands for values up to `size`.
    fn rounding(self, l: T, u: T, size: T) -> T {
        let reach = self.slope.abs() * l.abs().max(u.abs());
        T::from_f64(ROUNDINGS) * T::EPSILON * (reach + size.abs() + self.intercept.abs())
    }

    /// The line lowered by what rounding can have raised it by on [l, u].
    pub(super) fn lowered(self, l: T, u: T, size: T) -> Self {
        Line { intercept: self.intercept - self.rounding(l, u, size), ..self }
    }

    /// The line raised by what rounding can have lowered it by on [l, u].
    pub(super) fn raised(self, l: T, u: T, size: T) -> Self {
        Line { intercept: self.intercept + self.rounding(l, u, size), ..self }
    }
}

/// The adjoint of a chord: the cotangents of p and q for the cotangent `g` of the line through (p, f(p)) and (q, f(q))
/// with slope `slope`.
///
/// ∂slope/∂p = (slope − f′(p))/(q − p), ∂slope/∂q = (f′(q) − slope)/(q − p), and the line passes through (p, f(p)).
/// A tangent at p through (q, f(q)) is the chord with f′(p) = slope: it does not depend on where p moves.
pub(super) fn chord_adjoint<T: Real>((p, slope_at_p): (T, T), (q, slope_at_q): (T, T), slope: T, g: Line<T>) -> (T, T) {
    let g_slope = g.slope - p * g.intercept;
    let on_p = (slope - slope_at_p) / (q - p) * g_slope + (slope_at_p - slope) * g.intercept;
    let on_q = (slope_at_q - slope) / (q - p) * g_slope;
    (on_p, on_q)
}

/// The constants between which a function is: f(l) and f(u), if it does not fall.
pub(super) fn interval<T: Real>(f: &impl Activation<T>, l: T, u: T) -> (Line<T>, Line<T>) {
    let (low, high) = f.image(l, u);
    (Line::constant(low), Line::constant(high))
}

/// The adjoint of [`interval`].
pub(super) fn interval_adjoint<T: Real>(f: &impl Activation<T>, l: T, u: T, g: (Line<T>, Line<T>)) -> (T, T) {
    f.image_adjoint(l, u, (g.0.intercept, g.1.intercept))
}

impl<T: Real> Lines<T> {
    /// Zeros for `n` neurons, with room for cotangents of all four numbers.
    pub fn zeros(n: usize) -> Self {
        let zeros = || vec![T::ZERO; n];
        Lines {
            lower_slope: zeros(),
            lower_intercept: zeros(),
            upper_slope: zeros(),
            upper_intercept: zeros(),
            fan: None,
        }
    }

    /// No lines yet, with room for those of `n` neurons but for lower intercepts.
    pub(crate) fn without_lower_intercepts(n: usize) -> Self {
        let room = || Vec::with_capacity(n);
        Lines { lower_slope: room(), upper_slope: room(), upper_intercept: room(), ..Lines::default() }
    }

    pub(super) fn with_capacity(n: usize) -> Self {
        let room = || Vec::with_capacity(n);
        Lines { lower_slope: room(), lower_intercept: room(), upper_slope: room(), upper_intercept: room(), fan: None }
    }

    pub(super) fn push(&mut self, lower: Line<T>, upper: Line<T>) {
        self.lower_slope.push(lower.slope);
        self.lower_intercept.push(lower.intercept);
        self.upper_slope.push(upper.slope);
        self.upper_intercept.push(upper.intercept);
    }

    /// Forgets lower intercepts that are all 0.
    pub(super) fn finish(&mut self) {
        if self.lower_intercept.iter().all(|&intercept| intercept == T::ZERO) {
            self.lower_intercept.clear();
        }
    }

    /// Half the distance of each neuron's two lines, which are parallel.
    pub fn radii(&self) -> Vec<T> {
        let of = |i: usize| {
            let (below, above) = self.pair(i);
            (above.intercept - below.intercept) * T::from_f64(0.5)
        };
        (0..self.lower_slope.len()).map(of).collect()
    }

    /// Replaces both lines of each neuron, which are parallel, by the line in their middle. As cotangents of such lines the
    /// result belongs to the lines that there were before.
    pub fn centre(&mut self) {
        self.lower_intercept.resize(self.upper_intercept.len(), T::ZERO);
        for (lower, upper) in self.lower_intercept.iter_mut().zip(&mut self.upper_intercept) {
            let middle = (*lower + *upper) * T::from_f64(0.5);
            (*lower, *upper) = (middle, middle);
        }
    }

    /// Lower and upper line of neuron `i`.
    pub fn pair(&self, i: usize) -> (Line<T>, Line<T>) {
        let intercept = self.lower_intercept.get(i).copied().unwrap_or(T::ZERO);
        let lower = Line { slope: self.lower_slope[i], intercept };
        (lower, Line { slope: self.upper_slope[i], intercept: self.upper_intercept[i] })
    }

    /// Appends the lines of a bracket that its share gives, and the bracket; `gap` as in [`Fan`].
    pub(super) fn push_bracket(&mut self, bracket: Bracket<T>, gap: T) {
        self.push(mixed(bracket.lower, bracket.share), mixed(bracket.upper, bracket.share));
        self.fan.get_or_insert_default().push(bracket, gap);
    }

    /// The share of each element that gives these lines.
    pub fn shares(&self) -> &[T] {
        match &self.fan {
            Some(fan) => &fan.shares,
            None => &self.lower_slope,
        }
    }

    /// Takes another share for an element that has a choice.
    pub fn set_share(&mut self, i: usize, share: T) {
        match self.fan.as_deref_mut() {
            Some(fan) => {
                let (lower, upper) = (mixed(fan.lower[i], share), mixed(fan.upper[i], share));
                fan.shares[i] = share;
                (self.lower_slope[i], self.lower_intercept[i]) = (lower.slope, lower.intercept);
                (self.upper_slope[i], self.upper_intercept[i]) = (upper.slope, upper.intercept);
            }
            None => {
                if self.is_open(i) {
                    self.lower_slope[i] = share;
                }
            }
        }
    }

    /// Whether a split of the element makes its lines better.
    pub fn is_open(&self, i: usize) -> bool {
        match &self.fan {
            Some(fan) => fan.gaps[i] > T::ZERO,
            // Stable ReLUs have no intercept.
            None => self.upper_intercept[i] > T::ZERO,
        }
    }

    /// The height between the lines of an element; 0 where no split makes them better.
    pub fn gap(&self, i: usize) -> T {
        match &self.fan {
            Some(fan) => fan.gaps[i],
            // The triangle's upper line is that far above the kink.
            None => self.upper_intercept[i],
        }
    }
}

impl Lines<f64> {
    /// The same in f32, for optimisation.
    pub fn narrowed(&self) -> Lines<f32> {
        let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect();
        Lines {
            lower_slope: narrow(&self.lower_slope),
            lower_intercept: narrow(&self.lower_intercept),
            upper_slope: narrow(&self.upper_slope),
            upper_intercept: narrow(&self.upper_intercept),
            fan: self.fan.as_ref().map(|fan| Box::new(fan.narrowed())),
        }
    }
}
