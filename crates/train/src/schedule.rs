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

/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LrSchedule {
    /// Multiplied by a factor at milestones.
    Step,
    /// Falls along half a cosine.
    Cosine,
    /// Rises along half a cosine, then falls along another.
    OneCycle,
}

impl LrSchedule {
    /// Every schedule, in the order of help texts.
    pub const ALL: [LrSchedule; 3] = [LrSchedule::Step, LrSchedule::Cosine, LrSchedule::OneCycle];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            LrSchedule::Step => "step",
            LrSchedule::Cosine => "cosine",
            LrSchedule::OneCycle => "one-cycle",
        }
    }

    /// True if the learning rate of any step depends on the length of the run.
    pub fn spans_the_run(self) -> bool {
        match self {
            LrSchedule::Step => false,
            LrSchedule::Cosine | LrSchedule::OneCycle => true,
        }
    }
}

/// `to` + (`from` − `to`)(1 + cos πs)/2 at part `s` of the way, from 0 to 1: half a cosine, flat and exact at both ends
/// (Loshchilov and Hutter 2017).
pub fn cosine(from: f64, to: f64, s: f64) -> f64 {
    let s = s.clamp(0.0, 1.0);
    between(from, to, (1.0 - (std::f64::consts::PI * s).cos()) / 2.0)
}

/// The one-cycle schedule (Smith and Topin 2018) at part `s` of the run: by [`cosine`] from `start` to `peak` over the part
/// `warmup`, then to `end`.
pub fn one_cycle(start: f64, peak: f64, end: f64, warmup: f64, s: f64) -> f64 {
    if s < warmup {
        cosine(start, peak, s / warmup)
    } else {
        cosine(peak, end, (s - warmup) / (1.0 - warmup).max(f64::MIN_POSITIVE))
    }
}

/// The point at part `s` in [0, 1] of the way from `from` to `to`; exact at both ends.
pub fn between(from: f64, to: f64, s: f64) -> f64 {
    from * (1.0 - s) + to * s
}

#[cfg(test)]
mod tests {
    use super::{Ramp, RampShape, between, cosine, milestones, one_cycle};

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

    /// cos π/3 = 1/2, cos π/2 = 0: parts 1/3, 1/2 and 2/3 of the way are 1/4, 1/2 and 3/4 of the distance.
    #[test]
    fn cosines_have_their_closed_form() {
        for (s, part) in [(0.0, 0.0), (1.0 / 3.0, 0.25), (0.5, 0.5), (2.0 / 3.0, 0.75), (1.0, 1.0), (1.5, 1.0)] {
            assert!((cosine(2.0, 0.4, s) - (2.0 - 1.6 * part)).abs() < 1e-15, "{s}");
        }
        assert_eq!((cosine(0.3, 0.1, 0.0), cosine(0.3, 0.1, 1.0)), (0.3, 0.1));
        // torch.optim.lr_scheduler.CosineAnnealingLR from 2 to 0.1 in 100 steps.
        for (step, lr) in [(15, 1.8964561979789494), (65, 0.6187090252474307)] {
            assert!((cosine(2.0, 0.1, f64::from(step) / 100.0) - lr).abs() < 1e-12);
        }
    }

    #[test]
    fn one_cycle_rises_and_falls() {
        let at = |s| one_cycle(0.1, 2.1, 0.5, 0.25, s);
        for (s, lr) in [(0.0, 0.1), (0.125, 1.1), (0.25 / 3.0, 0.6), (0.25, 2.1), (0.625, 1.3), (0.5, 1.7), (1.0, 0.5)]
        {
            assert!((at(s) - lr).abs() < 1e-15, "{s}: {} instead of {lr}", at(s));
        }
        // No warm-up is a cosine, nothing but warm-up ends at the peak.
        assert_eq!(one_cycle(0.1, 2.0, 0.5, 0.0, 0.0), 2.0);
        assert_eq!((one_cycle(0.1, 2.0, 0.5, 1.0, 0.0), one_cycle(0.1, 2.0, 0.5, 1.0, 1.0)), (0.1, 2.0));
    }
}
