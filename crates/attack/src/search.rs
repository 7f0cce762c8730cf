//! What a descent needs to know of the search it is part of: where points may lie, and what is found at them.

/// The set that the points of one start may not leave.
pub trait FeasibleSet<T> {
    /// Moves `point [d]` by a step of `size` down the `gradient [d]`, back into the set; the unit of `size` is the set's
    /// own: a radius or a width.
    fn step(&self, point: &mut [T], gradient: &[T], size: f64);

    /// Moves `point [d]` into the set, if it does not lie there, to a point nearby.
    fn project(&self, point: &mut [T]);
}

impl<T, S: FeasibleSet<T>> FeasibleSet<T> for &S {
    fn step(&self, point: &mut [T], gradient: &[T], size: f64) {
        S::step(self, point, gradient, size);
    }

    fn project(&self, point: &mut [T]) {
        S::project(self, point);
    }
}

/// A search from several starts at a time for points with a property, along the gradient of a loss that is low near them.
///
/// A descent ([`pgd::descend`](crate::pgd::descend), [`apgd::descend`](crate::apgd::descend)) moves the points; the
/// search evaluates the network, keeps what it finds, and drops starts that need no more.
pub trait Search<T> {
    /// Where the points of a start may lie.
    type Set<'s>: FeasibleSet<T>
    where
        Self: 's;
    /// Why an evaluation can fail.
    type Error;

    /// Where the points of `start` may lie.
    fn set(&self, start: usize) -> Self::Set<'_>;

    /// Looks at the `points [active, d]` of the starts `active`, and says which of them go on, and how.
    ///
    /// # Errors
    /// If the network cannot be evaluated.
    fn evaluate(&mut self, active: &[usize], points: &[T]) -> Result<Evaluated<T>, Self::Error>;

    /// Looks at the last `points [active, d]` of a descent, for which no losses are wanted.
    ///
    /// # Errors
    /// If the network cannot be evaluated.
    fn finish(&mut self, active: &[usize], points: &[T]) -> Result<(), Self::Error>;
}

/// What a search says of the points `[active, d]` that it was shown.
#[derive(Clone, Debug)]
pub struct Evaluated<T> {
    /// Numbers, in order, of the points whose starts go on; none ends the descent, where nothing is left to search for or
    /// time is out.
    pub going_on: Vec<usize>,
    /// The loss at each point `[active]`.
    pub losses: Vec<f64>,
    /// Its gradient `[active, d]`, each row up to a positive factor.
    pub gradients: Vec<T>,
}

impl<T> Evaluated<T> {
    /// The end of a descent.
    pub fn ended() -> Self {
        Evaluated { going_on: Vec::new(), losses: Vec::new(), gradients: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tightrope_engine::Real;

    use super::{Evaluated, Search};
    use crate::pgd::StepSizes;
    use crate::{InputBox, apgd, pgd};

    /// Lowers |x − 0.3|² + |y + 0.8| over a box that cuts y off at −0.5.
    struct Valley<T> {
        set: InputBox<T>,
        least: f64,
    }

    impl<T: Real> Search<T> for Valley<T> {
        type Set<'s> = &'s InputBox<T>;
        type Error = Infallible;

        fn set(&self, _: usize) -> &InputBox<T> {
            &self.set
        }

        fn evaluate(&mut self, active: &[usize], points: &[T]) -> Result<Evaluated<T>, Infallible> {
            let mut all = Evaluated { going_on: (0..active.len()).collect(), ..Evaluated::ended() };
            for point in points.chunks(2) {
                let (x, y) = (point[0].to_f64() - 0.3, point[1].to_f64() + 0.8);
                all.losses.push(x * x + y.abs());
                all.gradients.extend([2.0 * x, y.signum()].map(T::from_f64));
            }
            self.least = all.losses.iter().fold(self.least, |least, &loss| least.min(loss));
            Ok(all)
        }

        fn finish(&mut self, active: &[usize], points: &[T]) -> Result<(), Infallible> {
            self.evaluate(active, points).map(|_| ())
        }
    }

    /// Both descents, from two corners, reach the minimum within `close`.
    fn reaches_the_minimum<T: Real>(close: f64) {
        let valley = || {
            let set = InputBox::inside([(-1.0, 1.0), (-0.5, 0.5)].into_iter());
            Valley::<T> { set, least: f64::INFINITY }
        };
        let corners = || [-1.0, -0.5, 1.0, 0.5].map(T::from_f64).to_vec();
        let mut scheduled = valley();
        let sizes = StepSizes { first: 0.5, last: 1e-6, steps: 40 };
        let Ok(()) = pgd::descend(&mut scheduled, 40, sizes, vec![0, 1], corners());
        let mut adaptive = valley();
        let Ok(()) = apgd::descend(&mut adaptive, 200, vec![0, 1], corners());
        for least in [scheduled.least, adaptive.least] {
            assert!(least >= 0.3 - 1e-6 && least < 0.3 + close, "{least}");
        }
    }

    #[test]
    fn descents_reach_the_minimum_in_either_precision() {
        reaches_the_minimum::<f32>(1e-4);
        reaches_the_minimum::<f64>(1e-4);
    }
}
