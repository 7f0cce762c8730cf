//! The perturbations an adversary may choose: a norm ball, optionally cut to the data range.

use tightrope_engine::{EngineError, Norm, Real, Region};

use crate::Radius;

/// {x' : ‖x' − x‖_p ≤ ε} ∩ [lo, hi]^d, with ε, lo and hi as exact f64 numbers; in ℓ∞, ε may differ from channel to channel.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreatModel {
    /// The norm p.
    pub norm: Norm,
    /// Radius ε ≥ 0.
    pub epsilon: Radius,
    /// Data range [lo, hi], if the ball is cut to it.
    pub clip: Option<(f64, f64)>,
}

impl ThreatModel {
    /// The ball of radius `epsilon`: a number, or a [`Radius`].
    pub fn new(norm: Norm, epsilon: impl Into<Radius>, clip: Option<(f64, f64)>) -> Self {
        ThreatModel { norm, epsilon: epsilon.into(), clip }
    }

    /// The regions around the samples `x [N, d]`, rounded outwards: each contains every point of the exact set.
    ///
    /// # Errors
    /// As [`Region::ball`] and [`Radius::check`], which is also to be asked with the shape of a sample.
    pub fn region<T: Real>(&self, x: &[f32], dimension: usize) -> Result<Region<T>, EngineError> {
        let mut region = match &self.epsilon {
            Radius::Same(epsilon) => {
                let inputs: Vec<T> = x.iter().map(|&v| T::from_f32(v)).collect();
                let clip = self.clip.map(|(low, high)| (T::from_f64(low), T::from_f64(high)));
                Region::ball(&inputs, dimension, T::from_f64(*epsilon), self.norm, clip)?
            }
            Radius::Channels(radii) => {
                self.epsilon.check(self.norm, &[radii.len(), dimension / radii.len().max(1)])?;
                self.boxes(x, dimension)?
            }
        };
        for (row, x) in x.chunks(dimension.max(1)).enumerate() {
            let first = row * dimension;
            let sides = region.center[first..].iter().zip(&mut region.radius[first..]);
            for ((lower, upper), (center, radius)) in self.sides(x).zip(sides) {
                let center = center.to_f64();
                *radius = radius.max(rounded_up((upper - center).max(center - lower)));
            }
        }
        if let (Some(ball), Some(epsilon)) = (&mut region.ball, self.epsilon.same()) {
            ball.epsilon = rounded_up(epsilon);
        }
        Ok(region)
    }

    /// The boxes around the samples, rounded to the nearest `T`.
    fn boxes<T: Real>(&self, x: &[f32], dimension: usize) -> Result<Region<T>, EngineError> {
        let (mut lower, mut upper) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
        for (sample, x) in x.chunks(dimension.max(1)).enumerate() {
            for (pixel, (low, high)) in self.sides(x).enumerate() {
                if low > high {
                    let problem =
                        format!("pixel {pixel} = {} lies outside the data range by more than its ε", x[pixel]);
                    return Err(EngineError::Region { sample, problem });
                }
                lower.push(T::from_f64(low));
                upper.push(T::from_f64(high));
            }
        }
        Region::boxes(&lower, &upper, dimension)
    }

    /// True if `point` lies in the exact set around `x` (both of one sample); NaN lies nowhere.
    pub fn contains(&self, x: &[f32], point: &[f32]) -> bool {
        let inside = self.sides(x).zip(point).all(|((lower, upper), &p)| (lower..=upper).contains(&f64::from(p)));
        let distances = || x.iter().zip(point).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs());
        inside
            && match self.norm {
                Norm::Inf => true,
                Norm::L2 => distances().map(|d| d * d).sum::<f64>().sqrt() <= self.epsilon.largest(),
                Norm::L1 => distances().sum::<f64>() <= self.epsilon.largest(),
            }
    }

    /// The values that each input of the sample `x [d]` may take alone.
    pub fn sides<'a>(&'a self, x: &'a [f32]) -> impl Iterator<Item = (f64, f64)> + 'a {
        x.iter().zip(self.epsilon.each(x.len())).map(|(&value, epsilon)| {
            let (lower, upper) = (f64::from(value) - epsilon, f64::from(value) + epsilon);
            self.clip.map_or((lower, upper), |(low, high)| (lower.max(low), upper.min(high)))
        })
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
    use crate::Radius;

    proptest! {
        /// The f32 region holds the exact interval of every pixel.
        #[test]
        fn regions_are_rounded_outwards(x in 0.0_f32..=1.0, epsilon in 0.0_f64..0.4, clipped: bool) {
            let threat = ThreatModel::new(Norm::Inf, epsilon, clipped.then_some((0.0, 1.0)));
            let region = threat.region::<f32>(&[x], 1).unwrap();
            let (lower, upper) = threat.sides(&[x]).next().unwrap();
            let (center, radius) = (f64::from(region.center[0]), f64::from(region.radius[0]));
            prop_assert!(center - radius <= lower && upper <= center + radius);
            prop_assert!(center - radius >= lower - 1e-6 && upper + 1e-6 >= center + radius);
        }

        /// The same where each channel has its own radius.
        #[test]
        fn boxes_of_channels_are_rounded_outwards(
            x in prop::collection::vec(0.0_f32..=1.0, 12),
            radii in prop::collection::vec(0.0_f64..0.4, 3),
            clipped: bool,
        ) {
            let threat = ThreatModel::new(Norm::Inf, Radius::Channels(radii.clone()), clipped.then_some((0.0, 1.0)));
            // Two samples of three channels with two pixels each.
            let region = threat.region::<f32>(&x, 6).unwrap();
            for (i, &value) in x.iter().enumerate() {
                let of_channel = ThreatModel::new(Norm::Inf, radii[i % 6 / 2], threat.clip);
                let (lower, upper) = of_channel.sides(&[value]).next().unwrap();
                let (center, radius) = (f64::from(region.center[i]), f64::from(region.radius[i]));
                prop_assert!(center - radius <= lower && upper <= center + radius);
                prop_assert!(center - radius >= lower - 1e-6 && upper + 1e-6 >= center + radius);
            }
        }
    }

    #[test]
    fn membership_follows_the_norm_and_the_clip() {
        let threat = |norm, clip| ThreatModel::new(norm, 0.5, clip);
        let x = [0.25, 0.75];
        assert!(threat(Norm::Inf, None).contains(&x, &[-0.25, 1.25]));
        assert!(!threat(Norm::Inf, Some((0.0, 1.0))).contains(&x, &[-0.25, 1.0]));
        assert!(!threat(Norm::L2, None).contains(&x, &[-0.25, 1.25]));
        assert!(threat(Norm::L2, None).contains(&x, &[0.55, 1.15]));
        assert!(!threat(Norm::L1, None).contains(&x, &[0.55, 1.15]));
        assert!(threat(Norm::L1, None).contains(&x, &[0.5, 1.0]));
        assert!(!threat(Norm::Inf, None).contains(&x, &[f32::NAN, 0.75]));
        let channels = ThreatModel::new(Norm::Inf, Radius::Channels(vec![0.25, 0.0]), None);
        assert!(channels.contains(&x, &[0.5, 0.75]));
        assert!(!channels.contains(&x, &[0.25, 0.8125]));
        assert!(!channels.contains(&x, &[0.75, 0.75]));
    }

    #[test]
    fn channels_that_do_not_fit_are_refused() {
        let channels = |norm, clip| ThreatModel::new(norm, Radius::Channels(vec![0.25, 0.0]), clip);
        let problem = |threat: ThreatModel, x: &[f32]| threat.region::<f64>(x, x.len()).unwrap_err().to_string();
        assert!(problem(channels(Norm::L2, None), &[0.5; 4]).contains("inf alone"));
        assert!(problem(channels(Norm::Inf, Some((0.0, 1.0))), &[0.5, 1.5]).contains("outside the data range"));
    }
}
