//! Clip, min(max(x, a), b): two chords, or a constant where that takes less room.
//!
//! With m = (l + u)/2, the upper line on an interval that is not affine is
//! * the chord from l to u, if u ≤ b (only the kink at a is inside, f is convex);
//! * else the line from (l, f(l)) to (b, b), if m < b: where l ≥ a this is x itself;
//! * else the constant b.
//!
//! The lower line is the same turned by 180°: the chord if l ≥ a, else the line from (a, a) to (u, f(u)) if m > a, else
//! the constant a. Of two candidates that both touch f, the one with the smaller value at m has less area above f: the
//! adaptive rule of ReLU (a = 0, b = ∞), which takes slope 1 if u > −l. Parallel lines have the slope of the chord from l
//! to u and touch f from both sides.

use super::line::{chord_adjoint, interval, interval_adjoint};
use super::relu::NARROW;
use super::{Activation, Bracket, Line};
use crate::{LowerSlope, Real};

/// min(max(x, lower), upper).
#[derive(Debug)]
pub(super) struct Clip<T> {
    lower: T,
    upper: T,
    /// The same as they were given.
    kinks: [f64; 2],
}

/// One line of the relaxation.
enum Choice<T> {
    /// Through (p, f(p)) and (q, f(q)); each of the two is l or u, or a kink that stays where it is.
    Chord { p: End<T>, q: End<T> },
    /// The same value everywhere.
    Constant(T),
}

/// An end of a chord.
#[derive(Clone, Copy)]
enum End<T> {
    L,
    U,
    Kink(T),
}

impl<T: Real> Clip<T> {
    pub(super) fn new(lower: f64, upper: f64) -> Self {
        Clip { lower: T::from_f64(lower), upper: T::from_f64(upper), kinks: [lower, upper] }
    }

    /// Lower and upper line for an interval with a kink inside.
    fn choices(&self, l: T, u: T) -> [Choice<T>; 2] {
        let (a, b) = (self.lower, self.upper);
        let middle = (l + u) * T::from_f64(0.5);
        let below = if l >= a {
            Choice::Chord { p: End::L, q: End::U }
        } else if middle > a {
            Choice::Chord { p: End::Kink(a), q: End::U }
        } else {
            Choice::Constant(a)
        };
        let above = if u <= b {
            Choice::Chord { p: End::L, q: End::U }
        } else if middle < b {
            Choice::Chord { p: End::L, q: End::Kink(b) }
        } else {
            Choice::Constant(b)
        };
        [below, above]
    }

    /// Where lines with the slope of the chord from l to u touch f from below and from above: at a kink inside, else at both
    /// ends alike, of which the lower line has l and the upper one u.
    fn touching(&self, l: T, u: T) -> [T; 2] {
        [if l < self.lower { self.lower } else { l }, if u > self.upper { self.upper } else { u }]
    }

    /// The adjoint of the parallel lines: of their common slope, and of the ends that they go through.
    fn parallel_adjoint(&self, l: T, u: T, (below, above): (Line<T>, Line<T>)) -> (T, T) {
        let width = (u - l).max(T::from_f64(NARROW));
        let slope = (self.value(u) - self.value(l)) / width;
        let [low, high] = self.touching(l, u);
        let g_slope = below.slope + above.slope - low * below.intercept - high * above.intercept;
        let (at_l, at_u) = (self.derivative(l), self.derivative(u));
        let mut on_l = (slope - at_l) / width * g_slope;
        let mut on_u = (at_u - slope) / width * g_slope;
        if low == l {
            on_l += (at_l - slope) * below.intercept;
        }
        if high == u {
            on_u += (at_u - slope) * above.intercept;
        }
        (on_l, on_u)
    }

    /// Position of an end, and f there.
    fn point(&self, end: End<T>, l: T, u: T) -> (T, T) {
        let x = match end {
            End::L => l,
            End::U => u,
            End::Kink(x) => x,
        };
        (x, self.value(x))
    }

    /// f itself on an interval without a kink inside.
    fn piece(&self, l: T, u: T) -> Option<Line<T>> {
        if !self.is_affine_on(l, u) {
            None
        } else if u <= self.lower {
            Some(Line::constant(self.lower))
        } else if l >= self.upper {
            Some(Line::constant(self.upper))
        } else {
            Some(Line::IDENTITY)
        }
    }

    fn line(&self, choice: &Choice<T>, l: T, u: T) -> Line<T> {
        match *choice {
            Choice::Constant(value) => Line::constant(value),
            Choice::Chord { p, q } => Line::chord(self.point(p, l, u), self.point(q, l, u)),
        }
    }

    fn adjoint(&self, choice: &Choice<T>, l: T, u: T, g: Line<T>) -> (T, T) {
        let Choice::Chord { p, q } = *choice else { return (T::ZERO, T::ZERO) };
        let (at_p, at_q) = (self.point(p, l, u), self.point(q, l, u));
        let slope = Line::chord(at_p, at_q).slope;
        let far = at_q.0.max(at_p.0 + T::from_f64(NARROW));
        let (on_p, on_q) = chord_adjoint((at_p.0, self.derivative(at_p.0)), (far, self.derivative(at_q.0)), slope, g);
        let of = |wanted: fn(End<T>) -> bool| {
            let part = |end, g| if wanted(end) { g } else { T::ZERO };
            part(p, on_p) + part(q, on_q)
        };
        (of(|end| matches!(end, End::L)), of(|end| matches!(end, End::U)))
    }
}

impl<T: Real> Activation<T> for Clip<T> {
    fn value(&self, x: T) -> T {
        if x <= self.lower {
            self.lower
        } else if x >= self.upper {
            self.upper
        } else {
            x
        }
    }

    fn derivative(&self, x: T) -> T {
        if x > self.lower && x < self.upper { T::ONE } else { T::ZERO }
    }

    fn is_affine_on(&self, l: T, u: T) -> bool {
        let (l, u) = (l.min(u), l.max(u));
        u <= self.lower || l >= self.upper || (l >= self.lower && u <= self.upper)
    }

    fn line_pair(&self, l: T, u: T, rule: LowerSlope) -> (Line<T>, Line<T>) {
        let (l, u) = (l.min(u), l.max(u));
        if let Some(line) = self.piece(l, u) {
            return (line, line);
        }
        let (below, above) = match rule {
            LowerSlope::Adaptive => {
                let [below, above] = self.choices(l, u);
                (self.line(&below, l, u), self.line(&above, l, u))
            }
            LowerSlope::Parallel => {
                let slope = Line::chord((l, self.value(l)), (u, self.value(u))).slope;
                let touching = self.touching(l, u).map(|x| Line::through(x, self.value(x), slope));
                (touching[0], touching[1])
            }
            LowerSlope::Constant => return interval(self, l, u),
        };
        let size = self.value(l).abs().max(self.value(u).abs());
        (below.lowered(l, u, size), above.raised(l, u, size))
    }

    fn line_pair_adjoint(&self, l: T, u: T, rule: LowerSlope, g: (Line<T>, Line<T>)) -> (T, T) {
        // Bounds that rounding has swapped are as good as equal, where every line is affine or nearly so.
        if self.is_affine_on(l, u) || l > u {
            return (T::ZERO, T::ZERO);
        }
        match rule {
            LowerSlope::Adaptive => {
                let [below, above] = self.choices(l, u);
                let (a, b) = (self.adjoint(&below, l, u, g.0), self.adjoint(&above, l, u, g.1));
                (a.0 + b.0, a.1 + b.1)
            }
            LowerSlope::Parallel => self.parallel_adjoint(l, u, g),
            LowerSlope::Constant => interval_adjoint(self, l, u, g),
        }
    }

    fn value_error(&self) -> T {
        T::ZERO
    }

    /// Below, the constant a and the line from (a, a) to (u, f(u)); above, the line from (l, f(l)) to (b, b) and the
    /// constant b. A chord has no alternative.
    ///
    /// The share goes from the lines that are best on the left to those that are best on the right. Where both kinks are
    /// inside and the middle is between them, the best ones are in different places of this order: the upper lines then
    /// change theirs.
    fn bracket(&self, l: T, u: T) -> Bracket<T> {
        let (l, u) = (l.min(u), l.max(u));
        if let Some(line) = self.piece(l, u) {
            return Bracket::exact(line);
        }
        let (a, b) = (self.lower, self.upper);
        let (floor, ceiling) = (Line::constant(a), Line::constant(b));
        if !(u - l).is_finite() {
            return Bracket { lower: [floor; 2], upper: [ceiling; 2], share: T::ZERO };
        }
        let (at_l, at_u) = (self.value(l), self.value(u));
        let mut points = vec![(l, at_l), (u, at_u)];
        points.extend([a, b].into_iter().filter(|&kink| l < kink && kink < u).map(|kink| (kink, kink)));
        let chord = ((at_u - at_l) / (u - l)).min(T::ONE);
        let (left, right) = (l < a, u > b);
        let lower = match left {
            true => [floor, Line::below(((at_u - a) / (u - a)).min(T::ONE), &points)],
            false => [Line::below(chord, &points); 2],
        };
        let [slanted, flat] = match right {
            true => [Line::above(((b - at_l) / (b - l)).min(T::ONE), &points), ceiling],
            false => [Line::above(chord, &points); 2],
        };
        let middle = (l + u) * T::from_f64(0.5);
        let (rises, is_high) = (middle > a, middle >= b);
        let (upper, second) = match (left, right) {
            (true, true) if rises != is_high => ([flat, slanted], rises),
            (true, _) => ([slanted, flat], rises),
            (false, _) => ([slanted, flat], is_high),
        };
        Bracket { lower, upper, share: if second { T::ONE } else { T::ZERO } }
    }

    /// The kink inside; of two the one nearer to the middle.
    fn split_point(&self, l: f64, u: f64) -> f64 {
        let middle = 0.5 * (l + u);
        let inside = self.kinks.into_iter().filter(|&kink| l < kink && kink < u);
        inside.min_by(|a, b| (a - middle).abs().total_cmp(&(b - middle).abs())).unwrap_or(middle)
    }
}
