//! How ε, σ, the learning rate and the robust weight change over a run; time is measured in epochs.

use serde::{Deserialize, Serialize};

/// The shape of a ramp from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RampShape {
    /// t⁴ over the first quarter, then a line; value and slope are continuous.
    Smooth,
    /// A line.
    Linear,
    /// 1 from the start.
    Constant,
}

/// A rise from 0 (at `start` and before) to 1 (at `end` and after).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    /// Shape.
    pub shape: RampShape,
    /// Epoch at which it begins.
    pub start: f64,
    /// Epoch at which it is complete; ≥ `start`.
    pub end: f64,
}

impl Ramp {
    /// Position of the transition from the polynomial to the line, as a part of the width.
    const MIDDLE: f64 = 0.25;
    /// Exponent of the polynomial part.
    const EXPONENT: i32 = 4;

    /// The value in [0, 1] at `time`.
    pub fn at(&self, time: f64) -> f64 {
        if self.shape == RampShape::Constant || time >= self.end {
            return 1.0;
        }
        if time <= self.start {
            return 0.0;
        }
        let s = (time - self.start) / (self.end - self.start);
        match self.shape {
            RampShape::Smooth => {
                // f = a·sᵉ up to the middle m, then its tangent, which reaches 1 at s = 1: a·mᵉ + e·a·mᵉ⁻¹·(1−m) = 1.
                let (m, e) = (Ramp::MIDDLE, f64::from(Ramp::EXPONENT));
                let a = 1.0 / (m.powi(Ramp::EXPONENT - 1) * (m + e * (1.0 - m)));
                if s <= m { a * s.powi(Ramp::EXPONENT) } else { a * m.powi(Ramp::EXPONENT - 1) * (m + e * (s - m)) }
            }
            RampShape::Linear | RampShape::Constant => s,
        }
    }
}

/// `value` multiplied by `factor` for every milestone at or before `time`.
pub fn milestones(value: f64, factor: f64, milestones: &[f64], time: f64) -> f64 {
    milestones.iter().filter(|&&milestone| time >= milestone).fold(value, |value, _| value * factor)
}

/// The point at part `s` in [0, 1] of the way from `from` to `to`; exact at both ends.
pub fn between(from: f64, to: f64, s: f64) -> f64 {
    from * (1.0 - s) + to * s
}

#[cfg(test)]
mod tests {
    use super::{Ramp, RampShape, between, milestones};

    #[test]
    fn smooth_ramp_is_continuous_in_value_and_slope() {
        let ramp = Ramp { shape: RampShape::Smooth, start: 1.0, end: 21.0 };
        assert_eq!((ramp.at(0.0), ramp.at(1.0), ramp.at(21.0), ramp.at(30.0)), (0.0, 0.0, 1.0, 1.0));
        let h = 1e-6;
        let slope = |t: f64, h: f64| (ramp.at(t + h) - ramp.at(t)) / h;
        let middle = 1.0 + 0.25 * 20.0;
        for (t, name) in [(middle, "the middle"), (21.0, "the end")] {
            assert!((ramp.at(t - h) - ramp.at(t + h)).abs() < 1e-6, "jump at {name}");
        }
        assert!((slope(middle, -h) - slope(middle, h)).abs() < 1e-5, "kink at the middle");
        // The closed form: a = 1/(m³(4−3m)) with m = 1/4, thus f(m) = m/(4−3m) = 1/13 and slope 16/13 per width after it.
        assert!((ramp.at(middle) - 1.0 / 13.0).abs() < 1e-12);
        assert!((slope(15.0, 1e-3) - 16.0 / 13.0 / 20.0).abs() < 1e-9);
        assert!((ramp.at(1.0 + 0.125 * 20.0) - 1.0 / 13.0 / 16.0).abs() < 1e-12, "not a fourth power");
        assert!((0..2000).all(|i| ramp.at(f64::from(i) * 0.011) <= ramp.at(f64::from(i + 1) * 0.011)));
    }

    #[test]
    fn linear_and_constant_ramps() {
        let ramp = |shape| Ramp { shape, start: 2.0, end: 4.0 };
        assert_eq!([1.0, 2.0, 2.5, 4.0, 5.0].map(|t| ramp(RampShape::Linear).at(t)), [0.0, 0.0, 0.25, 1.0, 1.0]);
        assert_eq!([0.0, 3.0, 9.0].map(|t| ramp(RampShape::Constant).at(t)), [1.0; 3]);
        let step = Ramp { shape: RampShape::Smooth, start: 2.0, end: 2.0 };
        assert_eq!((step.at(1.9), step.at(2.0)), (0.0, 1.0));
    }

    #[test]
    fn milestones_multiply() {
        assert_eq!([0.0, 4.9, 5.0, 8.0].map(|t| milestones(8.0, 0.5, &[5.0, 8.0], t)), [8.0, 8.0, 4.0, 2.0]);
        assert_eq!((between(0.3, 0.7, 0.0), between(0.3, 0.7, 1.0)), (0.3, 0.7));
    }
}
