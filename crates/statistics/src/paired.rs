//! Comparisons of two things that were measured on the same seeds and samples.

use serde::Serialize;
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

use crate::Moments;

/// Differences of pairs with their t-test: is the mean difference above 0?
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedDifferences {
    /// The differences.
    pub moments: Moments,
    /// The statistic mean/(std/√n); none for fewer than two pairs, infinite if all differences are equal and not 0.
    pub t: Option<f64>,
    /// Probability of a t as large or larger if the mean were 0 (Student 1908, one-sided, n − 1 degrees of freedom); none
    /// for fewer than two pairs.
    pub p_above: Option<f64>,
}

impl PairedDifferences {
    /// Of `(first, second)` pairs: first − second. None if there are no pairs.
    pub fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let differences: Vec<f64> = pairs.iter().map(|(first, second)| first - second).collect();
        let moments = Moments::of(&differences)?;
        let t = moments.std.map(|std| match (moments.mean, std) {
            (0.0, 0.0) => 0.0,
            (mean, std) => mean / (std / (moments.count as f64).sqrt()),
        });
        let p_above = t.and_then(|t| {
            let student = StudentsT::new(0.0, 1.0, moments.count as f64 - 1.0).ok()?;
            Some(if t.is_infinite() { f64::from(u8::from(t < 0.0)) } else { student.sf(t) })
        });
        Some(PairedDifferences { moments, t, p_above })
    }

    /// As `p_above`, for a t as small or smaller.
    pub fn p_below(&self) -> Option<f64> {
        let opposite = |t: f64| StudentsT::new(0.0, 1.0, self.moments.count as f64 - 1.0).ok().map(|d| d.cdf(t));
        self.t.and_then(|t| if t.is_infinite() { Some(f64::from(u8::from(t > 0.0))) } else { opposite(t) })
    }
}

/// Samples that only one of two classifiers gets right (McNemar 1947), with the exact two-sided test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Discordant {
    /// Samples that only the first gets right.
    pub first: u64,
    /// Samples that only the second gets right.
    pub second: u64,
}

impl Discordant {
    /// Counts pairs of outcomes on the same samples.
    pub fn of(outcomes: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut found = Discordant { first: 0, second: 0 };
        for outcome in outcomes {
            match outcome {
                (true, false) => found.first += 1,
                (false, true) => found.second += 1,
                (true, true) | (false, false) => {}
            }
        }
        found
    }

    /// Probability of counts as unequal or more so if both were as likely: binomial with 1/2, both tails; 1 for none.
    pub fn p(&self) -> f64 {
        let (all, fewer) = (self.first + self.second, self.first.min(self.second));
        let tail = Binomial::new(0.5, all).map_or(1.0, |binomial| binomial.cdf(fewer));
        (2.0 * tail).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Discordant, PairedDifferences};

    /// Student's own example (1908): hours of sleep gained by two drugs, t = 4.06 with 9 degrees of freedom, p = .0014
    /// one-sided.
    #[test]
    fn student_on_sleep() {
        let first = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let second = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let pairs: Vec<(f64, f64)> = first.into_iter().zip(second).collect();
        let found = PairedDifferences::of(&pairs).unwrap();
        assert!((found.moments.mean - 1.58).abs() < 1e-12, "{found:?}");
        assert!((found.t.unwrap() - 4.0621).abs() < 1e-4, "{found:?}");
        assert!((found.p_above.unwrap() - 0.001416).abs() < 1e-6, "{found:?}");
        assert!((found.p_below().unwrap() - (1.0 - 0.001416)).abs() < 1e-6);
    }

    #[test]
    fn few_or_equal_pairs() {
        assert_eq!(PairedDifferences::of(&[]), None);
        let one = PairedDifferences::of(&[(2.0, 1.0)]).unwrap();
        assert_eq!((one.t, one.p_above, one.p_below()), (None, None, None));
        let none = PairedDifferences::of(&[(1.0, 1.0), (2.0, 2.0)]).unwrap();
        assert_eq!(none.t, Some(0.0));
        assert!((none.p_above.unwrap() - 0.5).abs() < 1e-9);
        let constant = PairedDifferences::of(&[(2.0, 1.0), (3.0, 2.0)]).unwrap();
        assert_eq!((constant.p_above, constant.p_below()), (Some(0.0), Some(1.0)));
    }

    #[test]
    fn mcnemar_is_the_exact_binomial_test() {
        let outcomes = [(true, false), (true, true), (false, false), (true, false), (false, true), (true, false)];
        let found = Discordant::of(outcomes);
        assert_eq!(found, Discordant { first: 3, second: 1 });
        // 2 · (1 + 4)/16.
        assert!((found.p() - 0.625).abs() < 1e-12);
        assert!((Discordant { first: 0, second: 6 }.p() - 2.0 / 64.0).abs() < 1e-12);
        assert_eq!(Discordant { first: 0, second: 0 }.p(), 1.0);
        assert_eq!(Discordant { first: 5, second: 5 }.p(), 1.0);
    }
}
