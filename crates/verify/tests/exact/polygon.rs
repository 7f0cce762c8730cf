//! Convex polygons, segments and points with exact corners.

use num_bigint::{BigInt, Sign};
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

use crate::number::{Rational, common_denominator, times};

/// A point (x, y, w) for (x/w, y/w) with w > 0, or the linear form a·x + b·y + c·w.
pub type Triple = [BigInt; 3];

/// Corners in cyclic order, each with the line along which the next one lies. Corners are always crossings of two of the
/// lines, which keeps their numbers short; they may coincide, and a segment has two corners, there and back.
#[derive(Clone)]
pub struct Polygon(Vec<(Triple, Triple)>);

/// Where a form is positive and negative on a polygon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Nowhere negative.
    Above,
    /// Nowhere positive, and negative somewhere.
    Below,
    /// Both.
    Both,
}

/// The form's value at a point, times the point's w.
pub fn dot(form: &Triple, point: &Triple) -> BigInt {
    &form[0] * &point[0] + &form[1] * &point[1] + &form[2] * &point[2]
}

fn crossing(p: &Triple, q: &Triple) -> Triple {
    let minor = |i: usize, j: usize| &p[i] * &q[j] - &p[j] * &q[i];
    let point = [minor(1, 2), minor(2, 0), minor(0, 1)];
    assert!(!point[2].is_zero(), "parallel lines do not cross");
    if point[2].is_negative() { point.map(|v| -v) } else { point }
}

impl Polygon {
    /// The product of up to two intervals of positive length; coordinates without one are 0.
    pub fn product(ranges: &[[Rational; 2]]) -> Self {
        // The line where coordinate `axis` is `value`.
        let line = |axis: usize, value: &Rational| {
            let mut line = [BigInt::zero(), BigInt::zero(), -value.numer()];
            line[axis] = value.denom().clone();
            line
        };
        let zero = line(1, &Rational::zero());
        let lines = match ranges {
            [] => return Polygon(vec![([0, 0, 1].map(BigInt::from), zero)]),
            [[left, right]] => {
                let ends = [left, right].map(|x| (crossing(&zero, &line(0, x)), zero.clone()));
                return Polygon(ends.to_vec());
            }
            [[left, right], [low, high]] => [line(1, low), line(0, right), line(1, high), line(0, left)],
            _ => panic!("{} inputs vary, at most two may", ranges.len()),
        };
        Polygon((0..4).map(|i| (crossing(&lines[(i + 3) % 4], &lines[i]), lines[i].clone())).collect())
    }

    /// The corners; none if the polygon is empty.
    pub fn corners(&self) -> impl Iterator<Item = &Triple> {
        self.0.iter().map(|(corner, _)| corner)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The form's sides on a polygon that is not empty.
    pub fn side(&self, form: &Triple) -> Side {
        let signs: Vec<Sign> = self.corners().map(|corner| dot(form, corner).sign()).collect();
        match (signs.contains(&Sign::Plus), signs.contains(&Sign::Minus)) {
            (_, false) => Side::Above,
            (false, true) => Side::Below,
            (true, true) => Side::Both,
        }
    }

    /// The part where the form is ≥ 0.
    pub fn part(&self, form: &Triple) -> Polygon {
        let signs: Vec<Sign> = self.corners().map(|corner| dot(form, corner).sign()).collect();
        let mut kept = Vec::new();
        for (i, (corner, line)) in self.0.iter().enumerate() {
            let next = signs[(i + 1) % signs.len()];
            match (signs[i], next) {
                (Sign::Plus, Sign::Minus) => {
                    kept.push((corner.clone(), line.clone()));
                    kept.push((crossing(line, form), form.clone()));
                }
                (Sign::NoSign, Sign::Minus) => kept.push((corner.clone(), form.clone())),
                (Sign::Minus, Sign::Plus) => kept.push((crossing(line, form), line.clone())),
                (Sign::Minus, _) => {}
                _ => kept.push((corner.clone(), line.clone())),
            }
        }
        Polygon(kept)
    }

    /// The mean of the corners. A form that is nowhere negative and positive at a corner is positive there.
    pub fn center(&self) -> Triple {
        let points: Vec<[Rational; 2]> = self.corners().map(coordinates).collect();
        let count = Rational::from(BigInt::from(points.len()));
        let mean = |axis: usize| points.iter().map(|point| &point[axis]).sum::<Rational>() / &count;
        let mean = [mean(0), mean(1)];
        let below = common_denominator(mean.iter());
        let [x, y] = mean.map(|v| times(&v, &below));
        [x, y, below]
    }
}

/// A point's coordinates.
pub fn coordinates([x, y, w]: &Triple) -> [Rational; 2] {
    [x, y].map(|v| BigRational::new(v.clone(), w.clone()))
}

/// The form that is one everywhere.
pub fn one() -> Triple {
    [BigInt::zero(), BigInt::zero(), BigInt::one()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(values: &[i64]) -> Vec<Rational> {
        values.iter().map(|&v| Rational::from(BigInt::from(v))).collect()
    }

    fn form(a: i64, b: i64, c: i64) -> Triple {
        [a, b, c].map(BigInt::from)
    }

    /// Coordinates of the corners as twelfths, without repetition.
    fn twelfths(polygon: &Polygon) -> Vec<[i64; 2]> {
        let twelve = Rational::from(BigInt::from(12));
        let mut all: Vec<[i64; 2]> = polygon
            .corners()
            .map(|corner| coordinates(corner).map(|v| (v * &twelve).to_integer().try_into().unwrap()))
            .collect();
        all.dedup();
        if all.len() > 1 && all.first() == all.last() {
            all.pop();
        }
        all
    }

    fn square() -> Polygon {
        let [zero, one]: [Rational; 2] = whole(&[0, 1]).try_into().unwrap();
        Polygon::product(&[[zero.clone(), one.clone()], [zero, one]])
    }

    #[test]
    fn a_square_is_cut_into_known_parts() {
        let square = square();
        assert_eq!(twelfths(&square), [[0, 0], [12, 0], [12, 12], [0, 12]]);
        // x + y ≤ 1/2, then x ≥ y.
        let triangle = square.part(&form(-2, -2, 1));
        assert_eq!(twelfths(&triangle), [[0, 0], [6, 0], [0, 6]]);
        assert_eq!(twelfths(&triangle.part(&form(1, -1, 0))), [[0, 0], [6, 0], [3, 3]]);
        assert_eq!(square.side(&form(-2, -2, 1)), Side::Both);
        assert_eq!(square.side(&form(1, 1, 0)), Side::Above);
        assert_eq!(square.side(&form(-1, -1, 0)), Side::Below);
    }

    #[test]
    fn edges_corners_and_nothing_remain() {
        let square = square();
        let edge = square.part(&form(-1, 0, 0));
        assert_eq!(twelfths(&edge), [[0, 0], [0, 12]]);
        // The edge cut at 1/3 and to its end.
        assert_eq!(twelfths(&edge.part(&form(0, -3, 1))), [[0, 0], [0, 4]]);
        assert_eq!(twelfths(&edge.part(&form(0, 1, -1))), [[0, 12]]);
        let corner = square.part(&form(-1, -1, 0));
        assert_eq!(twelfths(&corner), [[0, 0]]);
        assert!(corner.part(&form(1, 1, -1)).is_empty() && square.part(&form(0, 0, -1)).is_empty());
        assert_eq!(twelfths(&corner.part(&form(1, 1, 0))), [[0, 0]]);
    }

    #[test]
    fn segments_and_points() {
        let [low, high]: [Rational; 2] = whole(&[-1, 2]).try_into().unwrap();
        let segment = Polygon::product(&[[low, high]]);
        let part = segment.part(&form(3, 0, 1));
        assert_eq!(twelfths(&part), [[-4, 0], [24, 0]]);
        assert_eq!(twelfths(&part.part(&form(-2, 0, 1))), [[-4, 0], [6, 0]]);
        assert_eq!(coordinates(&segment.center())[0], Rational::new(1.into(), 2.into()));
        assert_eq!(twelfths(&Polygon::product(&[]).part(&one())), [[0, 0]]);
    }
}
