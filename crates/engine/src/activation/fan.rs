//! Lines to choose from: two below and two above a function, each as good as proved, and shares that mix them.

use super::Line;
use crate::Real;

/// Two lines below f on an interval and two above it. Mixed by a share α ∈ [0, 1], (1 − α)·first + α·second, they are such
/// lines again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bracket<T> {
    /// Below.
    pub lower: [Line<T>; 2],
    /// Above.
    pub upper: [Line<T>; 2],
    /// The share that gives the lines of least area.
    pub share: T,
}

/// The brackets of the neurons of a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fan<T> {
    pub(super) lower: Vec<[Line<T>; 2]>,
    pub(super) upper: Vec<[Line<T>; 2]>,
    /// The share that is taken where none is given.
    pub(super) shares: Vec<T>,
    /// Height between the lines of least area, on average over the interval; 0 for neurons that no split improves.
    pub(super) gaps: Vec<T>,
}

/// Roundings that a line of a bracket gives way to, in units of the numbers it comes from: more than f64 evaluation of a
/// slope, of f and of the difference f(x) − slope·x can be off by, f being accurate to [`super::Activation::value_error`].
const ROUNDINGS: f64 = 64.0;

impl<T: Real> Bracket<T> {
    /// f itself where it is affine.
    pub(super) fn exact(line: Line<T>) -> Self {
        Bracket { lower: [line; 2], upper: [line; 2], share: T::ZERO }
    }
}

/// (1 − share)·first + share·second.
#[inline(always)]
pub(crate) fn mixed<T: Real>([first, second]: [Line<T>; 2], share: T) -> Line<T> {
    if first == second {
        return first;
    }
    let rest = T::ONE - share;
    Line {
        slope: rest * first.slope + share * second.slope,
        intercept: rest * first.intercept + share * second.intercept,
    }
}

impl<T: Real> Line<T> {
    /// Height at x.
    pub fn at(self, x: T) -> T {
        self.slope * x + self.intercept
    }

    /// The line lowered or raised by the roundings of numbers of its own size on [l, u] and of values up to `size`.
    pub(super) fn outward(self, l: T, u: T, size: T, down: bool) -> Self {
        let reach = if self.slope == T::ZERO { T::ZERO } else { self.slope.abs() * l.abs().max(u.abs()) };
        let margin = T::from_f64(ROUNDINGS) * T::EPSILON * (reach + size + self.intercept.abs()) + T::MIN_POSITIVE;
        Line { intercept: if down { self.intercept - margin } else { self.intercept + margin }, ..self }
    }

    fn margin(slope: T, points: &[(T, T)]) -> T {
        let size = |&(x, y): &(T, T)| (slope * x).abs() + y.abs();
        let largest = points.iter().map(size).fold(T::ZERO, T::max);
        T::from_f64(ROUNDINGS) * T::EPSILON * largest + T::MIN_POSITIVE
    }

    /// The highest line of this slope that is below all `points` (x, y), less what rounding may have raised it by.
    pub(super) fn below(slope: T, points: &[(T, T)]) -> Self {
        let least = points.iter().map(|&(x, y)| y - slope * x).fold(T::INFINITY, T::min);
        Line { slope, intercept: least - Self::margin(slope, points) }
    }

    /// The lowest line of this slope that is above all `points`, and what rounding may have lowered it by.
    pub(super) fn above(slope: T, points: &[(T, T)]) -> Self {
        let most = points.iter().map(|&(x, y)| y - slope * x).fold(-T::INFINITY, T::max);
        Line { slope, intercept: most + Self::margin(slope, points) }
    }
}

impl<T: Real> Fan<T> {
    pub(super) fn push(&mut self, bracket: Bracket<T>, gap: T) {
        self.lower.push(bracket.lower);
        self.upper.push(bracket.upper);
        self.shares.push(bracket.share);
        self.gaps.push(gap);
    }

    /// The two lines that a coefficient on neuron `i` chooses from: the lower ones if it is not negative.
    #[inline(always)]
    pub fn choice(&self, i: usize, coefficient: T) -> [Line<T>; 2] {
        if coefficient >= T::ZERO { self.lower[i] } else { self.upper[i] }
    }

    /// Whether shares make a difference to any line.
    pub(crate) fn has_choice(&self) -> bool {
        self.lower.iter().chain(&self.upper).any(|[first, second]| first != second)
    }

    /// Converted number by number.
    pub(super) fn narrowed(&self) -> Fan<f32> {
        let narrow = |v: T| v.to_f64() as f32;
        let line = |line: Line<T>| Line { slope: narrow(line.slope), intercept: narrow(line.intercept) };
        let lines = |lines: &[[Line<T>; 2]]| lines.iter().map(|pair| pair.map(line)).collect();
        let numbers = |numbers: &[T]| numbers.iter().map(|&v| narrow(v)).collect();
        Fan {
            lower: lines(&self.lower),
            upper: lines(&self.upper),
            shares: numbers(&self.shares),
            gaps: numbers(&self.gaps),
        }
    }
}
