//! `metrics.jsonl`: one line per epoch.

use serde::{Deserialize, Serialize};

use super::{TEST, log_lines};
use crate::text;

/// One epoch. Every number but the epoch's may be missing: runs of other versions, and losses that are not finite.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Epochs done, from 1.
    pub epoch: u64,
    /// Optimiser steps done.
    pub step: Option<u64>,
    /// Mean training loss.
    pub loss: Option<f64>,
    /// Share of training samples classified correctly, in [0, 1].
    pub train_natural_accuracy: Option<f64>,
    /// Share of training samples certified, in [0, 1].
    pub train_certified_accuracy: Option<f64>,
    /// Learning rate of the last step.
    pub lr: Option<f64>,
    /// ε of the last step.
    pub eps: Option<f64>,
    /// σ of the last step.
    pub sigma: Option<f64>,
    /// Members of the last step.
    pub population: Option<f64>,
    /// Signal-to-noise ratio of the gradients of the last steps, of runs that adapt to it.
    pub snr: Option<f64>,
    /// Training images per second.
    pub images_per_second: Option<f64>,
    /// Seconds of training.
    pub seconds: Option<f64>,
    /// The evaluation, on test or validation samples.
    pub test: Option<Evaluation>,
}

/// An evaluation on test or validation samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// `test` or `validation`; logs that were written before there was a choice do not tell it.
    pub split: Option<String>,
    /// Samples evaluated.
    pub samples: Option<u64>,
    /// Radius certified.
    pub eps: Option<f64>,
    /// Relaxation that certified.
    pub relaxation: Option<String>,
    /// Share classified correctly, in [0, 1].
    pub natural_accuracy: Option<f64>,
    /// Share certified, in [0, 1].
    pub certified_accuracy: Option<f64>,
    /// Mean natural cross-entropy.
    pub natural_loss: Option<f64>,
    /// Mean certified cross-entropy.
    pub certified_loss: Option<f64>,
}

impl Evaluation {
    /// What was evaluated on; `test` where it is not told.
    pub fn split(&self) -> &str {
        self.split.as_deref().unwrap_or(TEST)
    }
}

impl Epoch {
    /// Fails for shares that are none.
    fn checked(self) -> Result<Self, String> {
        let test = self.test.as_ref();
        for (name, share) in [
            ("train_natural_accuracy", self.train_natural_accuracy),
            ("train_certified_accuracy", self.train_certified_accuracy),
            ("test.natural_accuracy", test.and_then(|test| test.natural_accuracy)),
            ("test.certified_accuracy", test.and_then(|test| test.certified_accuracy)),
        ] {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                return Err(format!("{name} is {}, and shares are from 0 to 1", share.unwrap_or_default()));
            }
        }
        Ok(self)
    }
}

/// The epochs by rising number; lines that are damaged, or tell an epoch again, are left out with a remark.
pub(super) fn parse(bytes: &[u8], remarks: &mut Vec<String>) -> Result<Vec<Epoch>, String> {
    let mut epochs: Vec<Epoch> = Vec::new();
    let (mut damaged, mut reason, mut again) = (Vec::new(), String::new(), Vec::new());
    for (number, line) in log_lines(bytes, remarks) {
        let read = serde_json::from_slice::<Epoch>(line).map_err(|problem| problem.to_string());
        match read.and_then(Epoch::checked) {
            Ok(epoch) if epochs.last().is_none_or(|last| last.epoch < epoch.epoch) => epochs.push(epoch),
            Ok(_) => again.push(number),
            Err(problem) => {
                if damaged.is_empty() {
                    reason = problem;
                }
                damaged.push(number);
            }
        }
    }
    if !damaged.is_empty() {
        let (count, lines) = (damaged.len(), text::lines(&damaged));
        remarks.push(format!("{count} damaged and left out: {lines} (the first: {reason})"));
    }
    if !again.is_empty() {
        remarks.push(format!("{} left out, whose epochs stand there already: {}", again.len(), text::lines(&again)));
    }
    Ok(epochs)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn damaged_lines_are_counted_and_named() {
        let text = "{\"epoch\":1,\"loss\":2.5,\"test\":{\"natural_accuracy\":0.5}}\n{\"epoch\":2,\"loss\":NaN}\n\n\
                    {\"epoch\":1}\n{\"epoch\":3,\"loss\":null}\n{\"epoch\":4,\"loss\":1e999}\n{\"epoch\":5";
        let mut remarks = Vec::new();
        let epochs = parse(text.as_bytes(), &mut remarks).unwrap();
        assert_eq!(epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [1, 3]);
        assert_eq!((epochs[0].loss, epochs[1].loss), (Some(2.5), None));
        assert_eq!(epochs[0].test.as_ref().unwrap().natural_accuracy, Some(0.5));
        assert_eq!(remarks.len(), 3, "{remarks:?}");
        assert!(remarks[0].contains("last line"), "{remarks:?}");
        assert!(remarks[1].starts_with("2 damaged and left out: lines 2, 6 (the first: "), "{remarks:?}");
        assert!(remarks[2].contains("line 4"), "{remarks:?}");
    }

    #[test]
    fn shares_beyond_one_are_damage() {
        let text = "{\"epoch\":1,\"test\":{\"natural_accuracy\":97.5}}\n{\"epoch\":2,\"train_certified_accuracy\":-0.1}\n\
                    {\"epoch\":3,\"test\":{\"natural_accuracy\":1.0,\"certified_accuracy\":0.0}}\n";
        let mut remarks = Vec::new();
        assert_eq!(parse(text.as_bytes(), &mut remarks).unwrap().len(), 1);
        assert!(remarks[0].contains("lines 1, 2") && remarks[0].contains("natural_accuracy is 97.5"), "{remarks:?}");
    }

    #[test]
    fn an_empty_log_has_no_epochs() {
        let mut remarks = Vec::new();
        assert_eq!(parse(b"", &mut remarks).unwrap(), []);
        assert!(remarks.is_empty());
    }
}
