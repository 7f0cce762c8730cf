//! The loss over a plane through θ.

use serde::Serialize;

use crate::slice::places;
use crate::{LandscapeError, Probe, Smoothing};

/// How a plane is sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanePlan {
    /// First and last coordinate along each direction.
    pub ranges: [(f64, f64); 2],
    /// Points along each direction, at least 3.
    pub points: usize,
}

/// The loss, or the smoothed loss, at θ + x·d₁ + y·d₂.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plane {
    /// Standard deviation σ of the smoothing; 0 for the original loss.
    pub sigma: f64,
    /// Samples behind each value; 1 for the original loss.
    pub samples: u64,
    /// Coordinates along the first direction, rising.
    pub x: Vec<f64>,
    /// Coordinates along the second direction, rising.
    pub y: Vec<f64>,
    /// The values, `[y, x]`.
    pub loss: Vec<f64>,
    /// Their standard errors; 0 where nothing is sampled.
    pub standard_error: Vec<f64>,
}

impl Plane {
    /// Samples what `probe` evaluates around `theta` in the plane of `directions`.
    ///
    /// # Errors
    /// If the plan or the smoothing makes no sense, lengths differ, the objective cannot be evaluated or the observer stops.
    pub fn take(
        probe: &mut Probe<'_>,
        theta: &[f32],
        directions: [&[f32]; 2],
        smoothing: Option<&Smoothing>,
        plan: &PlanePlan,
    ) -> Result<Self, LandscapeError> {
        let [x, y] = [places(plan.ranges[0], plan.points)?, places(plan.ranges[1], plan.points)?];
        if let Some(direction) = directions.iter().find(|direction| direction.len() != theta.len()) {
            let problem = format!("a direction has {} numbers, θ has {}", direction.len(), theta.len());
            return Err(LandscapeError::Usage(problem));
        }
        let (sigma, samples) = smoothing.map_or((0.0, 1), |smoothing| (smoothing.sigma, 2 * smoothing.pairs));
        let (mut loss, mut standard_error) = (Vec::new(), Vec::new());
        let mut point = vec![0.0_f32; theta.len()];
        for &v in &y {
            for &u in &x {
                for (i, value) in point.iter_mut().enumerate() {
                    let moved = u * f64::from(directions[0][i]) + v * f64::from(directions[1][i]);
                    *value = (f64::from(theta[i]) + moved) as f32;
                }
                let value = probe.value(&point, smoothing)?;
                loss.push(value.mean);
                standard_error.push(value.standard_error);
            }
        }
        Ok(Plane { sigma, samples, x, y, loss, standard_error })
    }
}
