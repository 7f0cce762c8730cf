//! The minimum of a linear form over a box cut by an ℓ2 or ℓ1 ball, from below by the Lagrangian of the ball.
//!
//! With δ = x − c, which the box keeps in [lo, hi], any λ ≥ 0 gives
//!
//! > min a·x ≥ a·c + Σ_i min_{δ_i} (a_i δ_i + λ δ_i²/2) − λ ε²/2  over ℓ2,
//! > min a·x ≥ a·c + Σ_i min_{δ_i} (a_i δ_i + λ |δ_i|) − λ ε  over ℓ1,
//!
//! with equality at the best λ (the set is convex and holds c). λ = 0 is the box alone; without a box the best λ gives
//! −ε‖a‖_q, the ball alone.

use crate::{Ball, Norm, Real};

/// A box and the ball that cuts it, of one row.
pub(crate) struct CutBox<'a, T> {
    pub ball: &'a Ball<T>,
    pub lower: &'a [T],
    pub upper: &'a [T],
}

/// A multiplier that is closer to the best one than this part of it is good enough.
const CLOSE: f64 = 1e-9;
/// Most steps towards the best multiplier over ℓ2: each catches more ends of the box, so few are ever taken.
const STEPS: usize = 64;

impl<T: Real> CutBox<'_, T> {
    fn ends(&self, i: usize) -> (T, T) {
        let c = self.ball.center[i];
        (self.lower[i] - c, self.upper[i] - c)
    }

    /// δ_i where a·δ + λ δ²/2 is least.
    fn least_square(&self, i: usize, a: T, multiplier: T) -> T {
        let (lo, hi) = self.ends(i);
        (-a / multiplier).max(lo).min(hi)
    }

    /// A lower bound of a·x over the set, and the size of its terms, which bounds what rounding does to it.
    pub(crate) fn minimum(&self, a: &[T]) -> (T, T) {
        let four = T::from_f64(4.0);
        let boxed = self.boxed(a);
        let (multiplier, size) = (self.multiplier(a), self.size(a));
        if multiplier == T::ZERO {
            return (boxed, four * size);
        }
        let half = T::from_f64(0.5);
        let epsilon = self.ball.epsilon;
        // What the multiplier is a factor of: in the bound, and in the size of its terms.
        let mut value = T::ZERO;
        let (price, mut priced) = match self.ball.norm {
            Norm::L1 => (epsilon, epsilon),
            Norm::L2 | Norm::Inf => (half * epsilon * epsilon, epsilon * epsilon),
        };
        for (i, &a) in a.iter().enumerate() {
            value += a * self.ball.center[i];
            match self.ball.norm {
                Norm::L1 => {
                    let (lo, hi) = self.ends(i);
                    let at = |delta: T| a * delta + multiplier * delta.abs();
                    let nearest = T::ZERO.max(lo).min(hi);
                    value += at(lo).min(at(hi)).min(at(nearest));
                    priced += nearest.abs();
                }
                Norm::L2 | Norm::Inf => {
                    let delta = self.least_square(i, a, multiplier);
                    value += a * delta + half * multiplier * delta * delta;
                    priced += delta.abs() * self.extent(i);
                }
            }
        }
        let cut = value - multiplier * price;
        let size = size + multiplier * priced;
        // Nothing is known where the multiplier takes the terms out of range: the box says what it says.
        if cut > boxed && size.is_finite() { (cut, four * size) } else { (boxed, four * self.size(a)) }
    }

    /// Appends a point of the set where a·x is least, to within rounding; nearest to the centre where a coefficient is 0.
    pub(crate) fn minimiser(&self, a: &[T], point: &mut Vec<T>) {
        let multiplier = self.multiplier(a);
        if multiplier == T::ZERO {
            return point.extend(a.iter().enumerate().map(|(i, &a)| match a.signum0() {
                sign if sign > T::ZERO => self.lower[i],
                sign if sign < T::ZERO => self.upper[i],
                _ => self.ball.center[i].max(self.lower[i]).min(self.upper[i]),
            }));
        }
        match self.ball.norm {
            Norm::L1 => {
                let first = point.len();
                point.extend_from_slice(&self.ball.center);
                let mut left = self.ball.epsilon;
                for i in steepest(a) {
                    let reach = self.reach(i, a[i]).min(left);
                    left -= reach;
                    point[first + i] -= a[i].signum0() * reach;
                }
            }
            Norm::L2 | Norm::Inf => {
                let delta = |(i, &a)| self.ball.center[i] + self.least_square(i, a, multiplier);
                point.extend(a.iter().enumerate().map(delta));
            }
        }
    }

    /// How far a coordinate goes against the sign of its coefficient.
    fn reach(&self, i: usize, a: T) -> T {
        let (lo, hi) = self.ends(i);
        if a > T::ZERO { (-lo).max(T::ZERO) } else { hi.max(T::ZERO) }
    }

    fn boxed(&self, a: &[T]) -> T {
        a.iter().enumerate().map(|(i, &a)| a * if a >= T::ZERO { self.lower[i] } else { self.upper[i] }).sum()
    }

    /// More than δ_i and its rounding can be.
    fn extent(&self, i: usize) -> T {
        self.ball.center[i].abs() + self.lower[i].abs().max(self.upper[i].abs())
    }

    fn size(&self, a: &[T]) -> T {
        a.iter().enumerate().map(|(i, &a)| a.abs() * self.extent(i)).sum()
    }

    /// The best multiplier λ; 0 if the box lies in the ball as far as the coefficients matter.
    fn multiplier(&self, a: &[T]) -> T {
        let epsilon = self.ball.epsilon;
        match self.ball.norm {
            Norm::L1 => {
                let mut left = epsilon;
                for i in steepest(a) {
                    left -= self.reach(i, a[i]);
                    if left <= T::ZERO {
                        return a[i].abs();
                    }
                }
                T::ZERO
            }
            // λ falls from step to step: more coordinates stop at their ends, and the others share what is left of ε².
            Norm::L2 | Norm::Inf => {
                let total: T = a.iter().map(|&a| a * a).sum();
                // A ball of one point has no finite multiplier that is best; a large one is as good.
                let least = T::from_f64(1e-12);
                let mut multiplier = total.sqrt() / epsilon.max(least);
                for _ in 0..STEPS {
                    let (mut free, mut left) = (T::ZERO, epsilon * epsilon);
                    for (i, &a) in a.iter().enumerate() {
                        let delta = self.least_square(i, a, multiplier);
                        if delta == -a / multiplier {
                            free += a * a;
                        } else {
                            left -= delta * delta;
                        }
                    }
                    if free == T::ZERO {
                        return if left >= T::ZERO { T::ZERO } else { multiplier };
                    }
                    let next = (free / left).sqrt();
                    if !(left > T::ZERO && next < multiplier) {
                        break;
                    }
                    let close = multiplier - next <= multiplier * T::from_f64(CLOSE);
                    multiplier = next;
                    if close {
                        break;
                    }
                }
                if multiplier.is_finite() { multiplier } else { T::ZERO }
            }
        }
    }
}

/// The coordinates with coefficients other than 0, the largest first.
fn steepest<T: Real>(a: &[T]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..a.len()).filter(|&i| a[i] != T::ZERO).collect();
    order.sort_by(|&i, &j| a[j].abs().partial_cmp(&a[i].abs()).unwrap_or(std::cmp::Ordering::Equal));
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::CutBox;
    use crate::{Ball, Norm};

    fn distance(norm: Norm, x: &[f64], c: &[f64]) -> f64 {
        let differences = x.iter().zip(c).map(|(x, c)| (x - c).abs());
        match norm {
            Norm::L1 => differences.sum(),
            Norm::L2 | Norm::Inf => differences.map(|d| d * d).sum::<f64>().sqrt(),
        }
    }

    #[test]
    fn by_hand() {
        let of = |norm, epsilon| Ball { norm, center: vec![0.0, 0.5], epsilon };
        let minimum = |ball: &Ball<f64>, a: [f64; 2], lower: [f64; 2], upper: [f64; 2]| {
            CutBox { ball, lower: &lower, upper: &upper }.minimum(&a).0
        };
        let wide = ([-9.0; 2], [9.0; 2]);
        // The ball alone: a·c − ε‖a‖_q.
        assert!((minimum(&of(Norm::L2, 0.5), [3.0, 4.0], wide.0, wide.1) - (2.0 - 2.5)).abs() < 1e-9);
        assert!((minimum(&of(Norm::L1, 0.5), [3.0, 4.0], wide.0, wide.1) - (2.0 - 2.0)).abs() < 1e-12);
        // The first coordinate cannot fall: all of ε is the second's.
        let (lower, upper) = ([0.0, 0.0], [1.0, 1.0]);
        assert!((minimum(&of(Norm::L2, 0.4), [3.0, 4.0], lower, upper) - 4.0 * 0.1).abs() < 1e-9);
        assert!((minimum(&of(Norm::L1, 0.4), [9.0, 4.0], lower, upper) - 4.0 * 0.1).abs() < 1e-12);
        // The box alone.
        assert!((minimum(&of(Norm::L2, 2.0), [3.0, 4.0], lower, upper)).abs() < 1e-12);
        assert!((minimum(&of(Norm::L1, 2.0), [-1.0, 4.0], lower, upper) + 1.0).abs() < 1e-12);
        // A point.
        assert!((minimum(&of(Norm::L2, 0.0), [3.0, 4.0], lower, upper) - 2.0).abs() < 1e-9);
        assert!((minimum(&of(Norm::L1, 0.0), [3.0, 4.0], lower, upper) - 2.0).abs() < 1e-12);
    }

    proptest! {
        /// No point of the set lies below the bound, and the minimiser, a point of the set, reaches it.
        #[test]
        fn bounds_are_true_and_tight(
            a in prop::collection::vec(prop_oneof![Just(0.0), -3.0_f64..3.0], 6),
            center in prop::collection::vec(0.0_f64..1.0, 6),
            epsilon in prop_oneof![Just(0.0), 0.001_f64..2.5],
            l1: bool,
            directions in prop::collection::vec(prop::collection::vec(-1.0_f64..1.0, 6), 48),
        ) {
            let norm = if l1 { Norm::L1 } else { Norm::L2 };
            let lower: Vec<f64> = center.iter().map(|c| (c - epsilon).max(0.0)).collect();
            let upper: Vec<f64> = center.iter().map(|c| (c + epsilon).min(1.0)).collect();
            let ball = Ball { norm, center: center.clone(), epsilon };
            let cut = CutBox { ball: &ball, lower: &lower, upper: &upper };
            let (bound, size) = cut.minimum(&a);
            let value = |x: &[f64]| a.iter().zip(x).map(|(a, x)| a * x).sum::<f64>();
            let error = 1e-13 * size + 1e-300;
            let mut least = Vec::new();
            cut.minimiser(&a, &mut least);
            prop_assert!(least.iter().zip(lower.iter().zip(&upper)).all(|(x, (l, u))| l - 1e-12 <= *x && *x <= u + 1e-12));
            prop_assert!(distance(norm, &least, &center) <= epsilon + 1e-6, "{least:?}");
            prop_assert!((value(&least) - bound).abs() <= 1e-6 * (1.0 + size), "{} and {bound}", value(&least));
            for direction in directions {
                let point: Vec<f64> = center.iter().zip(&direction).map(|(c, d)| c + d).collect();
                let shrink = (epsilon / distance(norm, &point, &center).max(1e-300)).min(1.0);
                let x: Vec<f64> = center.iter().zip(&direction).map(|(c, d)| (c + shrink * d).clamp(0.0, 1.0)).collect();
                // Clipping towards a centre in the box only shortens.
                prop_assert!(value(&x) >= bound - error, "{} below {bound}", value(&x));
            }
        }

        /// Any box, the centre in it or not, gives a bound that holds for the points of both sets.
        #[test]
        fn parts_of_the_box_may_leave_the_centre_out(
            a in prop::collection::vec(-3.0_f64..3.0, 3),
            ends in prop::collection::vec((-1.0_f64..1.0, 0.0_f64..1.0), 3),
            epsilon in 0.01_f64..1.5,
            l1: bool,
            points in prop::collection::vec(prop::collection::vec(0.0_f64..1.0, 3), 64),
        ) {
            let norm = if l1 { Norm::L1 } else { Norm::L2 };
            let lower: Vec<f64> = ends.iter().map(|(l, _)| *l).collect();
            let upper: Vec<f64> = ends.iter().map(|(l, w)| l + w).collect();
            let ball = Ball { norm, center: vec![0.0; 3], epsilon };
            let (bound, size) = CutBox { ball: &ball, lower: &lower, upper: &upper }.minimum(&a);
            for share in points {
                let x: Vec<f64> = (0..3).map(|i| lower[i] + share[i] * (upper[i] - lower[i])).collect();
                if distance(norm, &x, &ball.center) <= epsilon {
                    let value: f64 = a.iter().zip(&x).map(|(a, x)| a * x).sum();
                    prop_assert!(value >= bound - 1e-13 * size, "{value} below {bound}");
                }
            }
        }
    }
}
