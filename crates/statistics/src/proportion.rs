//! Shares of samples with their Wilson intervals.

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

#[cfg(test)]
mod tests {
    use super::Proportion;

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
}
