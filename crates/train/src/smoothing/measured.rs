//! Estimates with what their members tell of the error.

use tightrope_engine::Real;

use super::Estimate;
use super::sums::square;

/// An estimate and how far it scatters.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured<T> {
    /// Loss and gradient.
    pub estimate: Estimate<T>,
    /// Trace of the covariance of the gradient over noise on the parameters, the minibatch being given: the sample variance
    /// of the n members' terms, summed over the elements of θ, divided by n. None where n = 1, which tells nothing.
    pub variance: Option<f64>,
}

impl<T: Real> Measured<T> {
    /// How much of the gradient is signal, where its variance is known.
    pub fn signal(&self) -> Option<Signal> {
        // E‖g‖² = ‖E g‖² + variance.
        self.variance.map(|variance| Signal { square: square(&self.estimate.gradient) - variance, variance })
    }
}

/// What a gradient's estimate has of signal and of noise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signal {
    /// An unbiased estimate of the squared length of the estimate's mean; noise alone has it negative half of the time.
    pub square: f64,
    /// Trace of the estimate's covariance.
    pub variance: f64,
}

impl Signal {
    /// A ratio beyond it says no more than that there is no noise.
    const LARGEST: f64 = 1e9;

    /// The signal-to-noise ratio q, signal over variance. Estimate and mean have a cosine of about √(q/(1 + q)).
    pub fn ratio(&self) -> f64 {
        let ratio = self.square / self.variance.max(f64::MIN_POSITIVE);
        // 0/0: a loss that nothing changes. More members would not help.
        if self.square == 0.0 && self.variance == 0.0 {
            return Signal::LARGEST;
        }
        ratio.clamp(-Signal::LARGEST, Signal::LARGEST)
    }
}
