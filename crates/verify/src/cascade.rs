//! The cascade: stages of rising cost until each sample is verified or falsified.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tightrope_engine::{BoundRequest, EngineError, Relaxation, Spec};

use crate::log::{CertifyLog, SampleRecord, Verdict};
use crate::target::margin;
use crate::{Attack, Samples, Stage, Target, ThreatModel, VerifyError};

/// Which stages run in which order, and against what.
#[derive(Clone, Debug, PartialEq)]
pub struct Cascade {
    /// Stages in order, each at most once.
    pub stages: Vec<Stage>,
    /// Settings of [`Stage::Pgd`].
    pub attack: Attack,
    /// The perturbations.
    pub threat: ThreatModel,
    /// Time per sample after which no further stage is begun for it.
    pub timeout: Option<Duration>,
}

impl Cascade {
    /// Most samples one engine call gets, fixed so that a resumed run meets the same batches.
    pub const BATCH: usize = 128;

    /// Certifies a whole data set batch by batch, skipping what the log holds already.
    ///
    /// `done` are the log's records ([`CertifyLog::resume`]); `observe` hears of every new batch. A batch
    /// that is only partly done is computed whole, so that resumed results equal uninterrupted ones, and
    /// only the missing lines are appended. Returns one record per sample in order.
    pub fn run(
        &self,
        target: &Target<'_>,
        inputs: &[f32],
        labels: &[usize],
        log: &mut CertifyLog,
        done: &[SampleRecord],
        mut observe: impl FnMut(&[SampleRecord]),
    ) -> Result<Vec<SampleRecord>, VerifyError> {
        let d = target.network.input_len();
        EngineError::check_length("inputs", inputs.len(), labels.len() * d)?;
        let done: HashMap<u64, &SampleRecord> = done.iter().map(|record| (record.index, record)).collect();
        let mut all = Vec::with_capacity(labels.len());
        for first in (0..labels.len()).step_by(Self::BATCH) {
            let last = (first + Self::BATCH).min(labels.len());
            let indices: Vec<u64> = (first as u64..last as u64).collect();
            if indices.iter().all(|index| done.contains_key(index)) {
                all.extend(indices.iter().map(|index| done[index].clone()));
                continue;
            }
            let batch =
                Samples { indices: &indices, inputs: &inputs[first * d..last * d], labels: &labels[first..last] };
            let (old, new): (Vec<_>, Vec<_>) =
                self.certify(target, &batch)?.into_iter().partition(|record| done.contains_key(&record.index));
            log.append(&new)?;
            observe(&new);
            all.extend(old.iter().map(|record| done[&record.index].clone()).chain(new));
        }
        all.sort_by_key(|record| record.index);
        Ok(all)
    }

    /// Decides one batch; one record per sample in order.
    pub fn certify(&self, target: &Target<'_>, samples: &Samples<'_>) -> Result<Vec<SampleRecord>, VerifyError> {
        if let Some((position, stage)) = self.stages.iter().enumerate().find(|(i, s)| self.stages[..*i].contains(s)) {
            return Err(VerifyError::Usage(format!("stage `{stage}` stands twice (again as number {})", position + 1)));
        }
        target.check(samples)?;
        let classes = target.network.output_len();
        let logits = target.logits(samples.inputs)?;
        let mut open: Vec<Open> = samples
            .labels
            .iter()
            .enumerate()
            .map(|(i, &label)| Open::new(samples.indices[i], label, &logits[i * classes..(i + 1) * classes]))
            .collect();
        for &stage in &self.stages {
            let active: Vec<usize> = (0..open.len()).filter(|&i| open[i].goes_on(self.timeout)).collect();
            if active.is_empty() {
                continue;
            }
            let start = Instant::now();
            match stage {
                Stage::Pgd => self.attack_stage(target, samples, &active, &mut open)?,
                Stage::Bound(relaxation) => self.bound_stage(target, samples, &active, &mut open, relaxation)?,
            }
            // The batch shares its time evenly.
            let seconds = start.elapsed().as_secs_f64() / active.len() as f64;
            active.iter().for_each(|&i| open[i].record.spend(stage.name(), seconds));
        }
        Ok(open.into_iter().map(|sample| sample.record).collect())
    }

    fn attack_stage(
        &self,
        target: &Target<'_>,
        samples: &Samples<'_>,
        active: &[usize],
        open: &mut [Open],
    ) -> Result<(), VerifyError> {
        let gathered = Gathered::new(samples, active, target.network.input_len());
        let outcome = self.attack.run(target, &self.threat, &gathered.samples())?;
        for (row, &i) in active.iter().enumerate() {
            let record = &mut open[i].record;
            record.margin_attack = finite(outcome.margins[row]);
            if outcome.broken[row] {
                record.decide(Verdict::Falsified, Stage::Pgd.name());
            }
        }
        Ok(())
    }

    fn bound_stage(
        &self,
        target: &Target<'_>,
        samples: &Samples<'_>,
        active: &[usize],
        open: &mut [Open],
        relaxation: Relaxation,
    ) -> Result<(), VerifyError> {
        let gathered = Gathered::new(samples, active, target.network.input_len());
        let region = self.threat.region::<f32>(&gathered.inputs, target.network.input_len());
        let region = region.map_err(|e| gathered.samples().locate(e))?;
        let spec = Spec::Margins { labels: gathered.labels };
        let request = BoundRequest::lower(relaxation);
        let bounds = target.engine.bound(target.network, target.theta, &region, &spec, request)?;
        for (&i, lower) in active.iter().zip(bounds.lower.chunks(bounds.rows)) {
            let sample = &mut open[i];
            // Each row's bound is a proof of its own, so the best of the stages counts row by row; NaN proves nothing.
            sample.margins.iter_mut().zip(lower).for_each(|(best, &new)| *best = best.max(new));
            let label = sample.record.label;
            let rivals = sample.margins.iter().enumerate().filter(|(j, _)| *j != label).map(|(_, &m)| m);
            let worst = rivals.fold(f32::INFINITY, f32::min);
            sample.record.margin_lower = finite(worst);
            if worst > 0.0 {
                sample.record.decide(Verdict::Verified, relaxation.name());
            }
        }
        Ok(())
    }
}

/// A sample on its way through the stages.
struct Open {
    record: SampleRecord,
    /// Best lower bound of each margin, −∞ before the first.
    margins: Vec<f32>,
}

impl Open {
    fn new(index: u64, label: usize, logits: &[f32]) -> Self {
        // The first largest logit; a network whose logits are NaN predicts class 0 and is wrong everywhere.
        let prediction = (1..logits.len()).fold(0, |best, j| if logits[j] > logits[best] { j } else { best });
        let correct = margin(logits, label).0 > 0.0 && logits.iter().all(|z| z.is_finite());
        let mut record = SampleRecord::open(index, label, prediction, correct);
        if !correct {
            record.decide(Verdict::Falsified, "natural");
        }
        Open { record, margins: vec![f32::NEG_INFINITY; logits.len()] }
    }

    fn goes_on(&self, timeout: Option<Duration>) -> bool {
        self.record.verdict == Verdict::Unknown && timeout.is_none_or(|limit| self.record.seconds < limit.as_secs_f64())
    }
}

/// Some rows of a batch.
struct Gathered {
    indices: Vec<u64>,
    inputs: Vec<f32>,
    labels: Vec<usize>,
}

impl Gathered {
    fn new(samples: &Samples<'_>, chosen: &[usize], d: usize) -> Self {
        Gathered {
            indices: chosen.iter().map(|&i| samples.indices[i]).collect(),
            inputs: chosen.iter().flat_map(|&i| &samples.inputs[i * d..(i + 1) * d]).copied().collect(),
            labels: chosen.iter().map(|&i| samples.labels[i]).collect(),
        }
    }

    fn samples(&self) -> Samples<'_> {
        Samples { indices: &self.indices, inputs: &self.inputs, labels: &self.labels }
    }
}

fn finite(value: f32) -> Option<f64> {
    value.is_finite().then_some(f64::from(value))
}
