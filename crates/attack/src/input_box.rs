//! Boxes of inputs in the precision of a search, rounded inwards, with their steps and projection.

use tightrope_engine::Real;

use crate::search::FeasibleSet;

/// \[low, high\] in each coordinate, within given exact ends.
#[derive(Clone, Debug)]
pub struct InputBox<T> {
    /// Lower ends.
    pub low: Vec<T>,
    /// Upper ends, none below its lower one.
    pub high: Vec<T>,
}

impl<T: Real> InputBox<T> {
    /// The numbers of `T` between each pair of exact ends; where there are none, the one nearest to the lower end.
    pub fn inside(ends: impl Iterator<Item = (f64, f64)>) -> Self {
        let inwards = |(lower, upper): (f64, f64)| {
            let (low, high) = (at_least::<T>(lower), at_most::<T>(upper));
            if low <= high { (low, high) } else { (T::from_f64(lower), T::from_f64(lower)) }
        };
        let (low, high) = ends.map(inwards).unzip();
        InputBox { low, high }
    }

    /// Number of coordinates d.
    pub fn dimension(&self) -> usize {
        self.low.len()
    }

    /// The point that lies at the given `shares [d]`, in [0, 1], of the way from the lower to the upper ends.
    pub fn point_at(&self, shares: &[f32]) -> Vec<T> {
        let coordinate = |(i, &share): (usize, &f32)| {
            let (low, high) = (self.low[i], self.high[i]);
            (low + T::from_f32(share) * (high - low)).min(high)
        };
        shares.iter().enumerate().map(coordinate).collect()
    }

    /// Moves each coordinate i of `point` by `length(i, low, high)` against the sign of the `gradient`, and cuts it to the box.
    pub fn signed_step(&self, point: &mut [T], gradient: &[T], length: impl Fn(usize, T, T) -> T) {
        let sides = self.low.iter().zip(&self.high);
        for (i, ((p, &g), (&low, &high))) in point.iter_mut().zip(gradient).zip(sides).enumerate() {
            *p = (*p - length(i, low, high) * g.signum0()).max(low).min(high);
        }
    }

    /// Moves `point` to the nearest one of the box; a coordinate that is no number becomes its lower end.
    pub fn cut(&self, point: &mut [T]) {
        for (p, (&low, &high)) in point.iter_mut().zip(self.low.iter().zip(&self.high)) {
            *p = p.max(low).min(high);
        }
    }
}

/// Steps are measured in the widths of the box.
impl<T: Real> FeasibleSet<T> for InputBox<T> {
    fn step(&self, point: &mut [T], gradient: &[T], size: f64) {
        let size = T::from_f64(size);
        self.signed_step(point, gradient, |_, low, high| size * (high - low));
    }

    fn project(&self, point: &mut [T]) {
        self.cut(point);
    }
}

/// The least number of `T` that is not below `value`.
fn at_least<T: Real>(value: f64) -> T {
    let nearest = T::from_f64(value);
    // Only f32 rounds, so that its neighbours are those of `T`.
    if nearest.to_f64() < value { T::from_f32((value as f32).next_up()) } else { nearest }
}

/// The largest number of `T` that is not above `value`.
fn at_most<T: Real>(value: f64) -> T {
    -at_least::<T>(-value)
}

#[cfg(test)]
mod tests {
    use super::InputBox;
    use crate::search::FeasibleSet;

    #[test]
    fn ends_are_rounded_inwards_in_f32_and_kept_in_f64() {
        let ends = [(0.1, 0.2), (-0.2, -0.1), (0.5, 0.5)];
        let single = InputBox::<f32>::inside(ends.into_iter());
        for (i, (lower, upper)) in ends.into_iter().enumerate() {
            let (low, high) = (single.low[i], single.high[i]);
            assert!(lower <= f64::from(low) && f64::from(high) <= upper);
            assert!(f64::from(low.next_down()) < lower && f64::from(high.next_up()) > upper);
        }
        let double = InputBox::<f64>::inside(ends.into_iter());
        assert_eq!((double.low, double.high), ends.into_iter().unzip());
    }

    #[test]
    fn a_box_without_numbers_of_its_own_is_the_nearest_one() {
        let between = f64::from(0.1_f32) + 1e-12;
        let single = InputBox::<f32>::inside([(between, between)].into_iter());
        assert_eq!((single.low, single.high), (vec![0.1], vec![0.1]));
    }

    #[test]
    fn steps_are_shares_of_the_width_and_end_at_the_sides() {
        let set = InputBox::<f64>::inside([(0.0, 4.0), (0.0, 1.0), (2.0, 2.0)].into_iter());
        let middle = set.point_at(&[0.5, 0.5, 0.5]);
        assert_eq!(middle, [2.0, 0.5, 2.0]);
        for (gradient, size, expected) in
            [([-3.0, 0.0, 1.0], 0.25, [3.0, 0.5, 2.0]), ([1.0, -1.0, 1.0], 2.0, [0.0, 1.0, 2.0])]
        {
            let mut point = middle.clone();
            set.step(&mut point, &gradient, size);
            assert_eq!(point, expected);
        }
        let mut outside = [5.0, -1.0, f64::NAN];
        set.project(&mut outside);
        assert_eq!(outside, [4.0, 0.0, 2.0]);
    }
}
