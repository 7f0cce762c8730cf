//! Projected Adam ascent on the shares of lines (Xu et al. 2021): how far it goes, its steps, and how a bound moves with a share.

use crate::activation::Lines;
use crate::vector::vectorised;
use crate::{EngineError, Real};

/// How the shares (for a ReLU the slope of the lower line) behind each row of a specification are optimised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlopeAscent {
    /// Steps; with 0 the relaxation's own lines stay.
    pub steps: usize,
    /// First learning rate, > 0.
    pub rate: f64,
}

impl SlopeAscent {
    /// Factor of the learning rate from step to step.
    pub const DECAY: f64 = 0.98;

    /// Fails unless the rate is a number > 0.
    pub(crate) fn check(self) -> Result<(), EngineError> {
        if self.rate > 0.0 && self.rate.is_finite() {
            return Ok(());
        }
        Err(EngineError::Usage(format!("the learning rate {} of slopes must be a number above 0", self.rate)))
    }

    /// The sizes of step `index`, counted from 0.
    pub fn step(self, index: usize) -> AdamStep {
        AdamStep::new(self.rate as f32, SlopeAscent::DECAY as f32, index)
    }
}

/// What one step of Adam (Kingma and Ba 2015) does to a variable whose bound is to rise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate of this step.
    pub rate: f32,
    /// Factor that makes the running mean of gradients unbiased.
    pub mean_scale: f32,
    /// The same for their squares.
    pub square_scale: f32,
}

impl AdamStep {
    /// Decay of the running mean.
    pub const MEAN_DECAY: f32 = 0.9;
    /// Decay of the running mean of squares.
    pub const SQUARE_DECAY: f32 = 0.999;
    /// What is added to the root of that.
    pub const TINY: f32 = 1e-8;

    /// Step `index`, counted from 0, at a learning rate that falls from `rate` by the factor `decay` a step.
    pub fn new(rate: f32, decay: f32, index: usize) -> Self {
        let t = index as i32 + 1;
        AdamStep {
            rate: rate * decay.powi(index as i32),
            mean_scale: 1.0 / (1.0 - Self::MEAN_DECAY.powi(t)),
            square_scale: 1.0 / (1.0 - Self::SQUARE_DECAY.powi(t)),
        }
    }

    /// What is added to a variable of gradient `g`; `moment` holds the two running means.
    #[inline(always)]
    pub fn of(self, moment: &mut [f32; 2], g: f32) -> f32 {
        moment[0] = Self::MEAN_DECAY * moment[0] + (1.0 - Self::MEAN_DECAY) * g;
        moment[1] = Self::SQUARE_DECAY * moment[1] + (1.0 - Self::SQUARE_DECAY) * g * g;
        self.rate * (moment[0] * self.mean_scale) / ((moment[1] * self.square_scale).sqrt() + Self::TINY)
    }

    /// The step of shares, which stay in [0, 1].
    pub fn climb<T: Real>(self, shares: &mut [T], moments: &mut [[f32; 2]], gradient: &[T]) {
        vectorised(|| {
            for ((share, moment), &g) in shares.iter_mut().zip(moments).zip(gradient) {
                let by = self.of(moment, g.to_f64() as f32);
                *share = T::from_f32((share.to_f64() as f32 + by).clamp(0.0, 1.0));
            }
        });
    }
}

impl<T: Real> Lines<T> {
    /// Adds the derivatives of a row's bound with respect to the shares of the neurons from `set` on: `post` `[n]` are the
    /// row's coefficients on the function, z the relaxed values of its input; see [`crate::Loaded::relaxed`].
    pub fn add_share_gradient(&self, set: usize, post: &[T], z: &[T], gradient: &mut [T]) {
        match &self.fan {
            None => {
                let intercepts = &self.upper_intercept[set..set + z.len()];
                vectorised(|| {
                    for (((g, &post), &z), &intercept) in gradient.iter_mut().zip(post).zip(z).zip(intercepts) {
                        // Stable neurons have no intercept and keep their slopes.
                        *g += if intercept > T::ZERO { post.max(T::ZERO) * z } else { T::ZERO };
                    }
                });
            }
            Some(fan) => {
                for i in 0..z.len() {
                    let [first, second] = fan.choice(set + i, post[i]);
                    if first != second {
                        gradient[i] += post[i] * (second.at(z[i]) - first.at(z[i]));
                    }
                }
            }
        }
    }
}
