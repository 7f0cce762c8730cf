//! Mean and spread of repetitions.

use serde::Serialize;

/// Mean and spread of repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moments {
    /// Repetitions.
    pub count: usize,
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation (n − 1); none for a single repetition.
    pub std: Option<f64>,
}

impl Moments {
    /// Of `values`; none if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let std = (count > 1).then(|| (squares / (count as f64 - 1.0)).sqrt());
        (count > 0).then_some(Moments { count, mean, std })
    }
}

#[cfg(test)]
mod tests {
    use super::Moments;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn means_and_deviations() {
        let moments = Moments::of(&[1.0, 2.0, 4.0]).unwrap();
        close(moments.mean, 7.0 / 3.0);
        close(moments.std.unwrap(), (7.0_f64 / 3.0).sqrt());
        assert_eq!(Moments::of(&[0.5]), Some(Moments { count: 1, mean: 0.5, std: None }));
        assert_eq!(Moments::of(&[]), None);
    }
}
