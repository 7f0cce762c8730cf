//! A function sampled at equal steps.

use serde::Serialize;

use crate::{LandscapeError, Value};

/// Values at equally spaced points of a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Slice {
    /// The points, rising.
    pub t: Vec<f64>,
    /// The values there.
    pub loss: Vec<f64>,
    /// Their standard errors; 0 where nothing is sampled.
    pub standard_error: Vec<f64>,
}

impl Slice {
    /// `points` ≥ 3 values of `function` from `range.0` to `range.1`.
    ///
    /// # Errors
    /// If there are fewer points, the range is empty, or the function fails.
    pub fn sample(
        range: (f64, f64),
        points: usize,
        mut function: impl FnMut(f64) -> Result<Value, LandscapeError>,
    ) -> Result<Self, LandscapeError> {
        let t = places(range, points)?;
        let mut slice = Slice::default();
        for t in t {
            let value = function(t)?;
            slice.t.push(t);
            slice.loss.push(value.mean);
            slice.standard_error.push(value.standard_error);
        }
        Ok(slice)
    }

    /// The step between two points.
    pub fn step(&self) -> f64 {
        match *self.t.as_slice() {
            [first, .., last] => (last - first) / (self.t.len() - 1) as f64,
            _ => 0.0,
        }
    }
}

/// `points` ≥ 3 places from `range.0` to `range.1`, equally spaced; 0 is met exactly if it is one of them.
///
/// # Errors
/// If there are fewer points, or the range is empty or not finite.
pub(crate) fn places((from, to): (f64, f64), points: usize) -> Result<Vec<f64>, LandscapeError> {
    if points < 3 {
        return Err(LandscapeError::Usage(format!("{points} points: a slice needs at least 3")));
    }
    if !(from < to && (to - from).is_finite()) {
        return Err(LandscapeError::Usage(format!("the range from {from} to {to} is none")));
    }
    let last = (points - 1) as f64;
    let place = |i: usize| (from * (last - i as f64) + to * i as f64) / last;
    Ok((0..points).map(place).collect())
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn places_are_equally_spaced_and_meet_the_ends_and_zero() {
        let found = places((-0.1, 0.1), 101).unwrap();
        assert_eq!((found[0], found[50], found[100]), (-0.1, 0.0, 0.1));
        assert!(found.windows(2).all(|pair| (pair[1] - pair[0] - 0.002).abs() < 1e-15));
        assert!(
            places((0.0, 0.0), 3).is_err() && places((0.0, 1.0), 2).is_err() && places((0.0, f64::NAN), 3).is_err()
        );
    }
}
