//! Runs that end with a network which has learned nothing.

use tightrope_engine::Loaded;
use tightrope_network::{number_text, rounded_text};

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
            "the training loss is {} at the end, above ln {classes} = {guess:.4}, which is that of guessing",
            rounded_text(loss)
        ),
        (false, None) => return Ok(None),
    };
    let config = &job.config;
    Ok(Some(format!(
        "{found}. Train with a smaller ε (train.eps = {}), a longer warm-up (warmup.end = {} of {}), or \
         another learning rate (train.lr = {})",
        number_text(config.train.eps.unwrap_or(config.eps)),
        number_text(config.warmup.end.unwrap_or(config.warmup.start)),
        match config.train.epochs {
            1 => "1 epoch".into(),
            epochs => format!("{epochs} epochs"),
        },
        number_text(config.train.lr)
    )))
}

fn largest(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, j| if logits[j] > logits[best] { j } else { best })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tightrope_data::{Dataset, Split};
    use tightrope_engine::{Engine, Reference};
    use tightrope_network::{Layer, NetworkBuilder};

    use super::warning;
    use crate::Config;
    use crate::progress::EpochMetrics;
    use crate::trainer::Job;

    /// What is told of a linear network of one input, with these weights and biases, on two images after a training loss and
    /// a certified accuracy that equals the natural one.
    fn told(theta: [f32; 4], loss: f64) -> Option<String> {
        let mut builder = NetworkBuilder::new(&[1, 1, 1]).unwrap();
        let flat = builder.add("flat", Layer::Flatten, &[0]).unwrap();
        builder.linear("linear", 2, true, flat).unwrap();
        let config = Config::parse("dataset = \"two\"\nmodel = \"mlp\"\neps = 0.1\n", "(test)", &[]).unwrap();
        let set = Arc::new(Dataset::own("two", Split::Train, [1, 1, 1], 2, vec![0.0, 1.0], vec![0, 1]));
        let network = builder.build().unwrap();
        let job = Job::with_network(&config, network, None, Arc::new(Reference), set.clone(), Some(set)).unwrap();
        let at = Reference.load(&job.network, &theta, &[]).unwrap();
        let test = json!({
            "samples": 2, "eps": 0.1, "relaxation": "ibp", "natural_accuracy": 0.5, "certified_accuracy": 0.5,
            "natural_loss": loss, "certified_loss": loss, "seconds": 0.0,
        });
        let last: EpochMetrics = serde_json::from_value(json!({
            "epoch": 1, "step": 1, "time": 0.0, "loss": loss, "lr": 0.1, "eps": 0.1, "sigma": 0.0, "robust_weight": 1.0,
            "images_per_second": 1.0, "seconds": 1.0, "test": test,
        }))
        .unwrap();
        warning(&job, &*at, Some(&last)).unwrap()
    }

    #[test]
    fn constant_networks_and_losses_beyond_guessing_are_told_and_others_are_not() {
        let constant = told([0.0, 0.0, 0.0, 1.0], 0.1).unwrap();
        assert!(constant.contains("predicts class 1 for every image"), "{constant}");
        assert!(constant.contains("what is certified (50.00 %) is the share of that class"), "{constant}");
        let loss = told([1.0, -1.0, -0.5, 0.5], 0.8).unwrap();
        assert!(loss.contains("0.8 at the end, above ln 2 = 0.6931"), "{loss}");
        for part in ["train.eps = 0.1", "warmup.end", "train.lr"] {
            assert!(loss.contains(part) && constant.contains(part), "{loss}");
        }
        assert_eq!(told([1.0, -1.0, -0.5, 0.5], 0.6), None);
    }
}
