//! Intervals of proportions, Pareto fronts and their hypervolume.

use serde::Serialize;

/// A share of samples with its Wilson 95 % interval, as if the samples were drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Proportion {
    /// Samples that have the property.
    pub count: usize,
    /// Samples in all.
    pub total: usize,
    /// count/total; 0 for no samples.
    pub value: f64,
    /// Lower end of the interval; 0 for no samples.
    pub low: f64,
    /// Upper end of the interval; 1 for no samples.
    pub high: f64,
}

impl Proportion {
    /// `count` of `total` (Wilson 1927): the shares p₀ with |p − p₀| ≤ z √(p₀(1 − p₀)/n).
    pub fn new(count: usize, total: usize) -> Self {
        if total == 0 {
            return Proportion { count, total, value: 0.0, low: 0.0, high: 1.0 };
        }
        // The 97.5 % quantile of the normal distribution.
        const Z: f64 = 1.959_963_984_540_054;
        let n = total as f64;
        let p = count as f64 / n;
        let scale = 1.0 + Z * Z / n;
        let center = (p + Z * Z / (2.0 * n)) / scale;
        let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        Proportion { count, total, value: p, low: (center - half).max(0.0), high: (center + half).min(1.0) }
    }
}

/// The points that no other beats in one coordinate without losing in the other, larger being better; of equal points
/// the first. Positions in `points`, by rising first and falling second coordinate.
pub fn pareto_front(points: &[(f64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    // The sort is stable, so that of equal points the first stays first.
    order.sort_by(|&a, &b| points[b].0.total_cmp(&points[a].0).then(points[b].1.total_cmp(&points[a].1)));
    let mut front: Vec<usize> = Vec::new();
    for place in order {
        if front.last().is_none_or(|&last| points[place].1 > points[last].1) {
            front.push(place);
        }
    }
    front.reverse();
    front
}

/// Area between the reference point (0, 0) and what `points` dominate, in the unit of one coordinate times that of the
/// other. Points with a coordinate ≤ 0 add nothing.
pub fn hypervolume(points: &[(f64, f64)]) -> f64 {
    let mut area = 0.0;
    let mut left = 0.0;
    for place in pareto_front(points) {
        let (x, y) = points[place];
        if x > left && y > 0.0 {
            area += (x - left) * y;
            left = x;
        }
    }
    area
}

#[cfg(test)]
mod tests {
    use super::{Proportion, hypervolume, pareto_front};

    /// Newcombe (1998), table I, method 3.
    #[test]
    fn wilson_intervals_match_published_values() {
        for (count, total, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let p = Proportion::new(count, total);
            assert!((p.low - low).abs() < 5e-5 && (p.high - high).abs() < 5e-5, "{p:?}");
        }
    }

    #[test]
    fn extreme_shares_have_the_closed_form() {
        // With p = 0 the upper end is z²/(n + z²), with p = 1 the lower end n/(n + z²).
        let z2 = 1.959_963_984_540_054_f64.powi(2);
        let (none, all) = (Proportion::new(0, 50), Proportion::new(50, 50));
        assert!(none.low == 0.0 && (none.high - z2 / (50.0 + z2)).abs() < 1e-12, "{none:?}");
        assert!(all.high == 1.0 && (all.low - 50.0 / (50.0 + z2)).abs() < 1e-12, "{all:?}");
        let empty = Proportion::new(0, 0);
        assert_eq!((empty.value, empty.low, empty.high), (0.0, 0.0, 1.0));
    }

    #[test]
    fn fronts_hold_what_nothing_dominates() {
        let points = [(90.0, 10.0), (80.0, 40.0), (80.0, 30.0), (70.0, 40.0), (60.0, 60.0), (60.0, 60.0), (95.0, 5.0)];
        assert_eq!(pareto_front(&points), [4, 1, 0, 6]);
        assert_eq!(pareto_front(&[]), [] as [usize; 0]);
        assert_eq!(pareto_front(&[(1.0, 2.0)]), [0]);
    }

    #[test]
    fn hypervolumes_of_known_fronts() {
        assert_eq!(hypervolume(&[]), 0.0);
        assert_eq!(hypervolume(&[(50.0, 40.0)]), 2000.0);
        // Stairs: 60·60 + 20·40 + 10·10, dominated points add nothing.
        assert_eq!(hypervolume(&[(90.0, 10.0), (80.0, 40.0), (60.0, 60.0), (50.0, 40.0)]), 4500.0);
        assert_eq!(hypervolume(&[(100.0, 100.0), (99.0, 100.0)]), 10_000.0);
        assert_eq!(hypervolume(&[(0.0, 50.0), (50.0, 0.0)]), 0.0);
        // n points (i, n − i) of a falling line: the sum of 1·(n − i) is n(n − 1)/2.
        let line: Vec<(f64, f64)> = (1..=9).map(|i| (f64::from(i), f64::from(10 - i))).collect();
        assert_eq!(hypervolume(&line), 45.0);
    }

    #[test]
    fn hypervolume_agrees_with_counted_squares() {
        let points = [(7.0, 3.0), (3.0, 8.0), (5.0, 5.0), (2.0, 8.0), (7.0, 2.0)];
        let inside = |x: i32, y: i32| points.iter().any(|&(px, py)| f64::from(x) < px && f64::from(y) < py);
        let counted = (0..10).flat_map(|x| (0..10).map(move |y| (x, y))).filter(|&(x, y)| inside(x, y)).count();
        assert_eq!(hypervolume(&points), counted as f64);
    }
}
