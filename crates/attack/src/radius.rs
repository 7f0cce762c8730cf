//! How far an adversary may move the inputs: by one radius, or by one for each channel.

use tightrope_engine::{EngineError, Norm};

/// ε ≥ 0 of a threat model, as exact f64 numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Radius {
    /// The same for all inputs.
    Same(f64),
    /// One for each channel, the first axis of a sample: a box of several widths, in ℓ∞ alone.
    ///
    /// So much as a radius in pixels comes to where each channel was divided by a standard deviation of its own.
    Channels(Vec<f64>),
}

impl Radius {
    /// The one radius of all inputs, if there is one.
    pub fn same(&self) -> Option<f64> {
        match self {
            Radius::Same(epsilon) => Some(*epsilon),
            Radius::Channels(_) => None,
        }
    }

    /// The largest of them.
    pub fn largest(&self) -> f64 {
        self.values().iter().copied().fold(0.0, f64::max)
    }

    /// All of them: one, or one for each channel.
    pub fn values(&self) -> &[f64] {
        match self {
            Radius::Same(epsilon) => std::slice::from_ref(epsilon),
            Radius::Channels(values) => values,
        }
    }

    /// That of each of `dimension` inputs, in order.
    pub fn each(&self, dimension: usize) -> impl Iterator<Item = f64> + '_ {
        let values = self.values();
        let share = dimension.div_ceil(values.len().max(1));
        values.iter().flat_map(move |&epsilon| std::iter::repeat_n(epsilon, share)).take(dimension)
    }

    /// Checks that balls of the norm can have these radii around samples of the shape.
    ///
    /// # Errors
    /// If one is negative or not finite, or if there is one for each channel where the norm is not ℓ∞ or `shape` has
    /// another number of channels.
    pub fn check(&self, norm: Norm, shape: &[usize]) -> Result<(), EngineError> {
        if let Some(bad) = self.values().iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
            return Err(EngineError::Usage(format!("ε = {bad} must be a finite number ≥ 0")));
        }
        let Radius::Channels(values) = self else { return Ok(()) };
        let problem = match shape.first() {
            _ if norm != Norm::Inf => {
                "one radius for each channel makes a box, which is of the norm inf alone; give one radius".to_string()
            }
            Some(&channels) if channels == values.len() => return Ok(()),
            channels => format!(
                "{} radii, but the network's input of shape {shape:?} has {} channels (its first axis); give one radius, \
                 or as many as there are channels",
                values.len(),
                channels.unwrap_or(&0),
            ),
        };
        Err(EngineError::Usage(problem))
    }
}

impl From<f64> for Radius {
    fn from(epsilon: f64) -> Self {
        Radius::Same(epsilon)
    }
}

#[cfg(test)]
mod tests {
    use tightrope_engine::Norm;

    use super::Radius;

    #[test]
    fn channels_have_their_radii() {
        let radius = Radius::Channels(vec![0.5, 0.0]);
        assert_eq!(radius.each(6).collect::<Vec<_>>(), [0.5, 0.5, 0.5, 0.0, 0.0, 0.0]);
        assert_eq!((radius.largest(), radius.same()), (0.5, None));
        assert_eq!(Radius::from(0.25).each(3).collect::<Vec<_>>(), [0.25; 3]);
    }

    #[test]
    fn what_has_no_ball_is_refused() {
        let channels = Radius::Channels(vec![0.5, 0.0]);
        assert!(channels.check(Norm::Inf, &[2, 3, 3]).is_ok());
        assert!(channels.check(Norm::L2, &[2, 3, 3]).unwrap_err().to_string().contains("inf alone"));
        assert!(channels.check(Norm::Inf, &[3, 3, 3]).unwrap_err().to_string().contains("has 3 channels"));
        assert!(Radius::Channels(vec![f64::NAN]).check(Norm::Inf, &[1]).is_err());
        assert!(Radius::from(-1.0).check(Norm::L1, &[1]).is_err());
    }
}
