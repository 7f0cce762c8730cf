//! Values of an objective along a line or in a plane, original or smoothed with common random numbers.

use serde::Serialize;
use tightrope_engine::Perturbation;
use tightrope_statistics::Moments;
use tightrope_train::Flow;

use crate::{LandscapeError, Objective};

/// The step that smoothing noise is addressed with: the last one, which no training run comes to.
const SMOOTHING_STEP: u64 = u64::MAX;
/// The same for the weight noise of the sensitivity, which is independent of it.
const SENSITIVITY_STEP: u64 = u64::MAX - 1;
/// Antithetic pairs between two questions whether to stop.
const PAIRS_AT_ONCE: u64 = 8;

/// The points θ + t·d.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    theta: &'a [f32],
    direction: &'a [f32],
}

impl<'a> Line<'a> {
    /// Through `theta` along `direction`.
    ///
    /// # Errors
    /// If the lengths differ or the direction has a number that is not finite.
    pub fn new(theta: &'a [f32], direction: &'a [f32]) -> Result<Self, LandscapeError> {
        if theta.len() != direction.len() {
            let problem = format!("the direction has {} numbers, θ has {}", direction.len(), theta.len());
            return Err(LandscapeError::Usage(problem));
        }
        if let Some(place) = direction.iter().position(|value| !value.is_finite()) {
            return Err(LandscapeError::Usage(format!("the direction holds {} at {place}", direction[place])));
        }
        Ok(Line { theta, direction })
    }

    /// θ, the point at t = 0.
    pub fn theta(&self) -> &'a [f32] {
        self.theta
    }

    /// The direction d.
    pub fn direction(&self) -> &'a [f32] {
        self.direction
    }

    /// θ + t·d, rounded once.
    pub fn at(&self, t: f64) -> Vec<f32> {
        self.theta.iter().zip(self.direction).map(|(&p, &d)| (f64::from(p) + t * f64::from(d)) as f32).collect()
    }
}

/// Gaussian smoothing by Monte Carlo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smoothing {
    /// Standard deviation σ > 0 of the noise on θ.
    pub sigma: f64,
    /// Antithetic pairs, so that twice as many losses make a value.
    pub pairs: u64,
    /// Seed of the noise.
    pub seed: u64,
}

/// A value with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Value {
    /// The value, or the mean over the samples.
    pub mean: f64,
    /// Standard error of the mean over antithetic pairs; 0 for a value that is not sampled.
    pub standard_error: f64,
}

/// Evaluates an objective, and asks an observer after each step whether to go on.
pub struct Probe<'a> {
    objective: &'a mut dyn Objective,
    observer: Box<dyn FnMut(u64) -> Flow + 'a>,
}

impl<'a> Probe<'a> {
    /// Of `objective`.
    pub fn new(objective: &'a mut dyn Objective) -> Self {
        Probe { objective, observer: Box::new(|_| Flow::Continue) }
    }

    /// The same, telling `observer` how many more losses are done; [`Flow::Stop`] ends the work with an error.
    pub fn observed(self, observer: impl FnMut(u64) -> Flow + 'a) -> Self {
        Probe { observer: Box::new(observer), ..self }
    }

    /// The value at `theta`, smoothed if `smoothing` is given.
    ///
    /// # Errors
    /// If the objective cannot be evaluated, σ or the number of pairs is 0, or the observer stops.
    pub fn value(&mut self, theta: &[f32], smoothing: Option<&Smoothing>) -> Result<Value, LandscapeError> {
        let Some(smoothing) = smoothing else {
            let mean = self.objective.value(theta)?;
            self.tell(1)?;
            return Ok(Value { mean, standard_error: 0.0 });
        };
        let pairs = self.pairs(theta, smoothing, SMOOTHING_STEP)?;
        let means: Vec<f64> = pairs.iter().map(|[plus, minus]| 0.5 * (plus + minus)).collect();
        let usage = || LandscapeError::Usage("smoothing needs at least one pair of samples".into());
        let moments = Moments::of(&means).ok_or_else(usage)?;
        // A single pair tells nothing of its error.
        let standard_error = moments.std.map_or(f64::NAN, |std| std / (moments.count as f64).sqrt());
        Ok(Value { mean: moments.mean, standard_error })
    }

    /// The values at θ ± δ for the weight noise of the sensitivity, smoothed if `smoothing` is given.
    pub(crate) fn neighbours(
        &mut self,
        theta: &[f32],
        noise: &Smoothing,
        smoothing: Option<&Smoothing>,
    ) -> Result<Vec<f64>, LandscapeError> {
        let Some(smoothing) = smoothing else {
            return Ok(self.pairs(theta, noise, SENSITIVITY_STEP)?.into_iter().flatten().collect());
        };
        let perturbation = perturbation(noise, SENSITIVITY_STEP)?;
        let mut member = theta.to_vec();
        let mut values = Vec::new();
        for pair in 0..noise.pairs {
            for sign in [1.0, -1.0] {
                tightrope_train::smoothing::Noise::perturb(&perturbation, theta, pair, sign, &mut member);
                values.push(self.value(&member, Some(smoothing))?.mean);
            }
        }
        Ok(values)
    }

    fn pairs(&mut self, theta: &[f32], noise: &Smoothing, step: u64) -> Result<Vec<[f64; 2]>, LandscapeError> {
        let perturbation = perturbation(noise, step)?;
        let mut values = Vec::with_capacity(noise.pairs as usize);
        for first in (0..noise.pairs).step_by(PAIRS_AT_ONCE as usize) {
            let members = first..(first + PAIRS_AT_ONCE).min(noise.pairs);
            let count = members.end - members.start;
            values.extend(self.objective.pairs(theta, perturbation, members)?);
            self.tell(2 * count)?;
        }
        Ok(values)
    }

    fn tell(&mut self, losses: u64) -> Result<(), LandscapeError> {
        match (self.observer)(losses) {
            Flow::Continue => Ok(()),
            Flow::Stop => Err(LandscapeError::Stopped),
        }
    }
}

fn perturbation(noise: &Smoothing, step: u64) -> Result<Perturbation<'static>, LandscapeError> {
    let sigma = noise.sigma as f32;
    if !(sigma > 0.0 && sigma.is_finite()) {
        let problem = format!("σ = {}: smoothing needs a number above 0 in single precision", noise.sigma);
        return Err(LandscapeError::Usage(problem));
    }
    Ok(Perturbation::new(noise.seed, step, sigma))
}
