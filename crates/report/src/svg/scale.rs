//! From values to places along an axis, and where its ticks stand.

/// Values beyond this are not drawn: differences of larger ones have no f64.
const LARGEST: f64 = 1e150;

/// A value that can be drawn.
pub fn drawable(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.abs() <= LARGEST)
}

/// A linear or logarithmic axis.
#[derive(Clone, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: Vec<f64>,
    from: f64,
    to: f64,
}

impl Scale {
    /// A linear scale that holds all of `values` between round ends, drawn from place `from` to `to`; the ends do not leave
    /// `limits`.
    pub fn linear(values: impl Iterator<Item = f64>, limits: Option<(f64, f64)>, from: f64, to: f64) -> Self {
        Scale::stepped(values, 0.0, limits, from, to)
    }

    /// A linear scale from `ends[0]` to `ends[1]` as they are, with round ticks between them.
    pub fn exact(ends: [f64; 2], from: f64, to: f64) -> Self {
        let [low, high] = ends;
        let mut scale = Scale::linear(ends.into_iter(), None, from, to);
        scale.ticks.retain(|tick| (low..=high).contains(tick));
        Scale { low, high, ..scale }
    }

    /// As [`Scale::linear`], with ticks at whole numbers only.
    pub fn whole(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        Scale::stepped(values, 1.0, None, from, to)
    }

    fn stepped(
        values: impl Iterator<Item = f64>,
        least_step: f64,
        limits: Option<(f64, f64)>,
        from: f64,
        to: f64,
    ) -> Self {
        let (low, high) = ends(values).unwrap_or((0.0, 1.0));
        let size = low.abs().max(high.abs());
        let (low, high) = match high - low {
            spread if spread > 1e-9 * size && spread > 1e-150 => (low, high),
            _ if size > 1e-150 => (low - 0.1 * size, high + 0.1 * size),
            _ => (0.0, 1.0),
        };
        let step = round_step((high - low) / 5.0).max(least_step);
        let (mut first, mut last) = ((low / step).floor(), (high / step).ceil());
        if let Some((least, most)) = limits {
            first = first.max((least / step).round());
            last = last.min((most / step).round()).max(first + 1.0);
        }
        // At most some eight by the choice of the step.
        let ticks: Vec<f64> = (0..=(last - first) as usize).map(|k| (first + k as f64) * step).collect();
        Scale { low: first * step, high: last * step, logarithmic: false, ticks, from, to }
    }

    /// A logarithmic scale over whole powers of ten that holds the positive ones of `values`.
    pub fn logarithmic(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = ends(values.filter(|&value| value > 0.0)).unwrap_or((0.1, 1.0));
        let first = low.log10().floor() as i32;
        let last = (high.log10().ceil() as i32).max(first + 1);
        let every = ((last - first) as usize).div_ceil(6);
        let ticks = (first..=last).step_by(every).map(|power| 10_f64.powi(power)).collect();
        Scale { low: 10_f64.powi(first), high: 10_f64.powi(last), logarithmic: true, ticks, from, to }
    }

    /// The place of `value`; values beyond the ends stand at them.
    pub fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.low).log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + (self.to - self.from) * share.clamp(0.0, 1.0)
    }

    /// Values that get a tick.
    pub fn ticks(&self) -> &[f64] {
        &self.ticks
    }

    /// The places of the two ends.
    pub fn span(&self) -> (f64, f64) {
        (self.from, self.to)
    }
}

/// The smallest and largest finite value.
fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |ends, value| match ends {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}

/// The smallest of 1, 2, 5 · 10ⁿ that is not below `step` > 0.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let digits = [1.0, 2.0, 5.0, 10.0];
    power * digits.into_iter().find(|digit| digit * power >= step * (1.0 - 1e-9)).unwrap_or(10.0)
}

#[cfg(test)]
mod tests {
    use super::{Scale, drawable};

    fn linear(values: &[f64], limits: Option<(f64, f64)>) -> Scale {
        Scale::linear(values.iter().copied(), limits, 0.0, 100.0)
    }

    #[test]
    fn linear_ticks_are_round_and_hold_the_values() {
        assert_eq!(linear(&[0.0, 1.0], None).ticks(), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(linear(&[3.0, 47.0], None).ticks(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!(linear(&[97.0, 99.9], Some((0.0, 100.0))).ticks(), [97.0, 98.0, 99.0, 100.0]);
        assert_eq!(linear(&[], None).ticks().len(), 6);
        assert_eq!(Scale::whole([0.0, 2.0].into_iter(), 0.0, 1.0).ticks(), [0.0, 1.0, 2.0]);
        let scale = linear(&[0.0, 10.0], None);
        assert_eq!(
            [scale.place(0.0), scale.place(5.0), scale.place(10.0), scale.place(99.0)],
            [0.0, 50.0, 100.0, 100.0]
        );
    }

    #[test]
    fn logarithmic_ticks_are_powers_of_ten() {
        let scale = Scale::logarithmic([2e-3, 4e-4, 0.0].into_iter(), 0.0, 100.0);
        assert_eq!(scale.ticks().len(), 3);
        assert!((scale.place(1e-3) - 50.0).abs() < 1e-9 && scale.place(0.0) == 0.0);
        assert!(Scale::logarithmic([1e-140, 1e140].into_iter(), 0.0, 1.0).ticks().len() <= 8);
    }

    #[test]
    fn extreme_values_leave_no_scale_without_ticks() {
        for values in
            [&[5.0][..], &[0.0], &[1e150, -1e150], &[1e-300, 2e-300], &[1e100, 1e100 * (1.0 + 1e-15)], &[-3.0, -3.0]]
        {
            let scale = linear(values, None);
            assert!((2..=12).contains(&scale.ticks().len()), "{values:?}: {scale:?}");
            assert!(values.iter().all(|&value| (0.0..=100.0).contains(&scale.place(value))), "{values:?}: {scale:?}");
        }
        assert_eq!(
            [drawable(Some(f64::INFINITY)), drawable(Some(f64::NAN)), drawable(Some(2.0))],
            [None, None, Some(2.0)]
        );
    }
}
