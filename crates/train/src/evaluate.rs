//! Natural and certified accuracy on a data set.

use tightrope_data::Dataset;
use tightrope_engine::{BoundRequest, Loaded, Region, Relaxation, Spec};

use crate::TrainError;
use crate::loss::{certified_cross_entropy, cross_entropy};
use crate::methods::StepThreat;

/// Samples per engine call.
const BATCH: usize = 256;

/// Counts and loss sums over samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Samples evaluated.
    pub samples: usize,
    /// Classified correctly.
    pub natural_correct: usize,
    /// Certified at ε.
    pub certified: usize,
    /// Mean natural cross-entropy.
    pub natural_loss: f64,
    /// Mean certified cross-entropy.
    pub certified_loss: f64,
}

impl Evaluation {
    /// Part of the samples classified correctly.
    pub fn natural_accuracy(&self) -> f64 {
        self.natural_correct as f64 / self.samples.max(1) as f64
    }

    /// Part of the samples certified.
    pub fn certified_accuracy(&self) -> f64 {
        self.certified as f64 / self.samples.max(1) as f64
    }
}

/// Evaluates the network of `at` on the first `limit` samples (0 for all) of `data` with `relaxation` under `threat`.
/// `stop` is asked before each batch; after a yes there is no evaluation.
///
/// # Errors
/// If the engine refuses, as for pixels outside the data range.
pub fn evaluate(
    at: &dyn Loaded<f32>,
    data: &Dataset,
    limit: usize,
    threat: StepThreat,
    relaxation: Relaxation,
    mut stop: impl FnMut() -> bool,
) -> Result<Option<Evaluation>, TrainError> {
    let count = if limit == 0 { data.len() } else { limit.min(data.len()) };
    let StepThreat { epsilon, norm, clip } = threat;
    let d = at.network().input_len();
    let mut total = Evaluation::default();
    let (mut natural_loss, mut certified_loss) = (0.0, 0.0);
    for first in (0..count).step_by(BATCH) {
        if stop() {
            return Ok(None);
        }
        let range = first..(first + BATCH).min(count);
        let inputs = &data.range(range.clone());
        let labels = &data.labels[range];
        let natural = cross_entropy(&at.forward(inputs)?, labels);
        let region = Region::ball(inputs, d, epsilon, norm, clip)?;
        let spec = Spec::Margins { labels: labels.to_vec() };
        let bounds = at.bound(&region, &spec, BoundRequest::lower(relaxation))?;
        let certified = certified_cross_entropy(&bounds.lower, labels);
        total.samples += labels.len();
        total.natural_correct += natural.correct;
        total.certified += certified.certified;
        natural_loss += natural.per_sample.iter().map(|&l| f64::from(l)).sum::<f64>();
        certified_loss += certified.per_sample.iter().map(|&l| f64::from(l)).sum::<f64>();
    }
    total.natural_loss = natural_loss / count.max(1) as f64;
    total.certified_loss = certified_loss / count.max(1) as f64;
    Ok(Some(total))
}
