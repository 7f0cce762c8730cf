//! The perturbations an adversary may choose: a norm ball, optionally cut to the data range.

use tightrope_engine::{EngineError, Norm, Real, Region};

/// {x' : ‖x' − x‖_p ≤ ε} ∩ [lo, hi]^d, with ε, lo and hi as exact f64 numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThreatModel {
    /// The norm p.
    pub norm: Norm,
    /// Radius ε ≥ 0.
    pub epsilon: f64,
    /// Data range [lo, hi], if the ball is cut to it.
    pub clip: Option<(f64, f64)>,
}

impl ThreatModel {
    /// The regions around the samples `x [N, d]`, rounded outwards: each contains every point of the exact set.
    ///
    /// # Errors
    /// As [`Region::ball`].
    pub fn region<T: Real>(&self, x: &[f32], dimension: usize) -> Result<Region<T>, EngineError> {
        let inputs: Vec<T> = x.iter().map(|&v| T::from_f32(v)).collect();
        let clip = self.clip.map(|(low, high)| (T::from_f64(low), T::from_f64(high)));
        let mut region = Region::ball(&inputs, dimension, T::from_f64(self.epsilon), self.norm, clip)?;
        for ((&value, &center), radius) in x.iter().zip(&region.center).zip(&mut region.radius) {
            let (lower, upper) = self.interval(value);
            let center = center.to_f64();
            *radius = radius.max(rounded_up((upper - center).max(center - lower)));
        }
        if let Some(ball) = &mut region.ball {
            ball.epsilon = rounded_up(self.epsilon);
        }
        Ok(region)
    }

    /// True if `point` lies in the exact set around `x` (both of one sample); NaN lies nowhere.
    pub fn contains(&self, x: &[f32], point: &[f32]) -> bool {
        let inside = x.iter().zip(point).all(|(&value, &p)| {
            let (lower, upper) = self.interval(value);
            (lower..=upper).contains(&f64::from(p))
        });
        let distances = || x.iter().zip(point).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs());
        inside
            && match self.norm {
                Norm::Inf => true,
                Norm::L2 => distances().map(|d| d * d).sum::<f64>().sqrt() <= self.epsilon,
                Norm::L1 => distances().sum::<f64>() <= self.epsilon,
            }
    }

    /// The values one pixel may take when it is `value` in the sample.
    pub fn interval(&self, value: f32) -> (f64, f64) {
        let (lower, upper) = (f64::from(value) - self.epsilon, f64::from(value) + self.epsilon);
        self.clip.map_or((lower, upper), |(low, high)| (lower.max(low), upper.min(high)))
    }
}

/// The nearest `T` that is not below `value` ≥ 0.
fn rounded_up<T: Real>(value: f64) -> T {
    let nearest = T::from_f64(value);
    // One unit in the last place of f32 is at most 2⁻²³ of the value; f64 is exact already.
    if nearest.to_f64() < value { T::from_f64(value * (1.0 + f64::from(f32::EPSILON))) } else { nearest }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tightrope_engine::Norm;

    use super::ThreatModel;

    proptest! {
        /// The f32 region holds the exact interval of every pixel.
        #[test]
        fn regions_are_rounded_outwards(x in 0.0_f32..=1.0, epsilon in 0.0_f64..0.4, clipped: bool) {
            let threat = ThreatModel { norm: Norm::Inf, epsilon, clip: clipped.then_some((0.0, 1.0)) };
            let region = threat.region::<f32>(&[x], 1).unwrap();
            let (lower, upper) = threat.interval(x);
            let (center, radius) = (f64::from(region.center[0]), f64::from(region.radius[0]));
            prop_assert!(center - radius <= lower && upper <= center + radius);
            prop_assert!(center - radius >= lower - 1e-6 && upper + 1e-6 >= center + radius);
        }
    }

    #[test]
    fn membership_follows_the_norm_and_the_clip() {
        let threat = |norm, clip| ThreatModel { norm, epsilon: 0.5, clip };
        let x = [0.25, 0.75];
        assert!(threat(Norm::Inf, None).contains(&x, &[-0.25, 1.25]));
        assert!(!threat(Norm::Inf, Some((0.0, 1.0))).contains(&x, &[-0.25, 1.0]));
        assert!(!threat(Norm::L2, None).contains(&x, &[-0.25, 1.25]));
        assert!(threat(Norm::L2, None).contains(&x, &[0.55, 1.15]));
        assert!(!threat(Norm::L1, None).contains(&x, &[0.55, 1.15]));
        assert!(threat(Norm::L1, None).contains(&x, &[0.5, 1.0]));
        assert!(!threat(Norm::Inf, None).contains(&x, &[f32::NAN, 0.75]));
    }
}
