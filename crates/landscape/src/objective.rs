//! Functions of θ whose landscape is drawn: the loss of a training method on a fixed batch, or any closure.

use std::ops::Range;

use tightrope_engine::{Loaded, Perturbation};
use tightrope_train::methods::{Method, Minibatch};
use tightrope_train::smoothing::Noise;

use crate::LandscapeError;

/// A function of θ.
pub trait Objective {
    /// The value at `theta`.
    ///
    /// # Errors
    /// If it cannot be evaluated there.
    fn value(&mut self, theta: &[f32]) -> Result<f64, LandscapeError>;

    /// The values at θ + δ and θ − δ of each member in `pairs`.
    ///
    /// # Errors
    /// As [`Objective::value`].
    fn pairs(
        &mut self,
        theta: &[f32],
        perturbation: Perturbation<'_>,
        pairs: Range<u64>,
    ) -> Result<Vec<[f64; 2]>, LandscapeError> {
        let mut member = theta.to_vec();
        let mut values = Vec::new();
        for pair in pairs {
            let mut both = [0.0; 2];
            for (value, sign) in both.iter_mut().zip([1.0, -1.0]) {
                perturbation.perturb(theta, pair, sign, &mut member);
                *value = self.value(&member)?;
            }
            values.push(both);
        }
        Ok(values)
    }
}

/// A function that is given as code, such as one whose smoothed form is known.
pub struct Analytic<F>(
    /// The function.
    pub F,
);

impl<F: FnMut(&[f32]) -> f64> Objective for Analytic<F> {
    fn value(&mut self, theta: &[f32]) -> Result<f64, LandscapeError> {
        Ok(self.0(theta))
    }
}

/// The loss of a training method on a fixed batch, as training computes it: batch norms take the statistics of the batch at
/// every θ, and attacks begin anew at every θ.
pub struct MethodLoss<'a> {
    method: &'a dyn Method,
    batch: &'a Minibatch<'a>,
    at: Box<dyn Loaded<f32>>,
}

impl<'a> MethodLoss<'a> {
    /// The loss of `method` on `batch`, evaluated on the handle `at`, whose θ is moved about.
    pub fn new(method: &'a dyn Method, batch: &'a Minibatch<'a>, at: Box<dyn Loaded<f32>>) -> Self {
        MethodLoss { method, batch, at }
    }

    /// The loss at `theta` and its gradient, `[|θ|]`.
    ///
    /// # Errors
    /// As [`Method::gradient`].
    pub fn gradient(&mut self, theta: &[f32]) -> Result<(f64, Vec<f32>), LandscapeError> {
        self.at.update(theta)?;
        let (evaluated, gradient) = self.method.gradient(self.batch, &*self.at)?;
        Ok((evaluated.loss, gradient))
    }
}

impl Objective for MethodLoss<'_> {
    fn value(&mut self, theta: &[f32]) -> Result<f64, LandscapeError> {
        self.at.update(theta)?;
        Ok(self.method.loss(self.batch, &*self.at)?.loss)
    }

    fn pairs(
        &mut self,
        theta: &[f32],
        perturbation: Perturbation<'_>,
        pairs: Range<u64>,
    ) -> Result<Vec<[f64; 2]>, LandscapeError> {
        self.at.update(theta)?;
        Ok(self.method.population_loss(self.batch, &*self.at, perturbation, pairs)?)
    }
}
