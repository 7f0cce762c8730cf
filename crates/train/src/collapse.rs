//! Runs that end with a network which has learned nothing.

use tightrope_engine::Loaded;
use tightrope_network::number_text;

use crate::TrainError;
use crate::progress::EpochMetrics;
use crate::trainer::Job;

/// Samples whose predictions are looked at.
const SAMPLES: usize = 1000;

/// What to tell if the network of `at` predicts one class whatever it sees, or its loss is above that of guessing.
pub(crate) fn warning(
    job: &Job,
    at: &dyn Loaded<f32>,
    last: Option<&EpochMetrics>,
) -> Result<Option<String>, TrainError> {
    let classes = job.network.output_len();
    let guess = (classes as f64).ln();
    let data = job.test.as_ref().unwrap_or(&job.train);
    let count = data.len().min(SAMPLES);
    let logits = at.forward(&data.range(0..count))?;
    let predictions: Vec<usize> = logits.chunks(classes).map(largest).collect();
    let one = predictions.iter().all(|&class| class == predictions[0]);
    let varied = data.labels[..count].iter().any(|&label| label != data.labels[0]);
    let test = last.and_then(|metrics| metrics.test.as_ref());
    // A constant network is right about one class, whatever the perturbation.
    let certified = test.filter(|test| test.certified_accuracy == test.natural_accuracy).map(|t| t.certified_accuracy);
    let loss = last.map(|metrics| metrics.loss).filter(|&loss| loss > guess);
    let found = match (one && varied, loss) {
        (true, _) => format!(
            "the network predicts class {} for every image{}; it has learned nothing",
            predictions[0],
            certified.map_or_else(String::new, |share| format!(
                ", so what is certified ({:.2} %) is the share of that class",
                100.0 * share
            ))
        ),
        (false, Some(loss)) => format!(
            "the training loss is {loss:.4} at the end, above ln {classes} = {guess:.4}, which is that of guessing"
        ),
        (false, None) => return Ok(None),
    };
    let config = &job.config;
    Ok(Some(format!(
        "warning: {found}. Train with a smaller ε (train.eps = {}), a longer warm-up (warmup.end = {} of {} epochs), or \
         another learning rate (train.lr = {})",
        number_text(config.train.eps.unwrap_or(config.eps)),
        number_text(config.warmup.end.unwrap_or(config.warmup.start)),
        config.train.epochs,
        number_text(config.train.lr)
    )))
}

fn largest(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, j| if logits[j] > logits[best] { j } else { best })
}
