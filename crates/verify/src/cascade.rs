//! The cascade: stages of rising cost until each sample is verified or falsified.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use tightrope_engine::{BoundRequest, Norm, Relaxation, Spec};

use crate::complete::AlphaCrown;
use crate::individual::{Lone, in_order};
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
    /// Time per sample: no further stage is begun after it, and α-CROWN and branch and bound stop at it.
    pub timeout: Option<Duration>,
}

impl Cascade {
    /// Most samples one engine call gets, fixed so that a resumed run meets the same batches.
    pub const BATCH: usize = 128;

    /// Samples that wait for stages which take them one by one before these begin; fixed for the same reason, and
    /// enough that threads seldom stand idle at the end of a round.
    pub const ROUND: usize = 64;

    /// Certifies a whole data set, skipping what the log holds already.
    ///
    /// `done` are the log's records ([`CertifyLog::resume`]); `observe` hears of every new record. The log gets samples
    /// batch by batch as the batched stages decide them, and the others, in order, after a round of the later stages,
    /// each as soon as it and those before it are done. A batch that is only partly done is computed whole, so that
    /// resumed results equal uninterrupted ones, and only the missing lines are appended, in the order that they have
    /// in an uninterrupted log. Returns one record per sample in order.
    pub fn run(
        &self,
        target: &Target<'_>,
        inputs: &[f32],
        labels: &[usize],
        log: &mut CertifyLog,
        done: &[SampleRecord],
        mut observe: impl FnMut(&[SampleRecord]),
    ) -> Result<Vec<SampleRecord>, VerifyError> {
        let indices: Vec<u64> = (0..labels.len() as u64).collect();
        let samples = Samples { indices: &indices, inputs, labels };
        self.check(target, &samples)?;
        let done: HashMap<u64, &SampleRecord> = done.iter().map(|record| (record.index, record)).collect();
        let mut all: Vec<SampleRecord> = indices.iter().filter_map(|i| done.get(i).copied().cloned()).collect();
        let mut waiting = Vec::new();
        // Members of the round, done ones included, so that rounds are the same after a kill.
        let mut members = 0;
        for first in (0..labels.len()).step_by(Self::BATCH) {
            let batch = first..(first + Self::BATCH).min(labels.len());
            if indices[batch.clone()].iter().all(|index| done.contains_key(index)) {
                members += indices[batch.clone()].iter().filter(|i| self.was_taken_alone(done[i])).count();
            } else {
                let (open, decided): (Vec<Open>, Vec<Open>) = self
                    .batched_stages(target, &samples, batch.clone())?
                    .into_iter()
                    .partition(|sample| self.goes_on_alone(sample));
                let is_new = |sample: &Open| !done.contains_key(&sample.record.index);
                let new: Vec<SampleRecord> = decided.into_iter().filter(is_new).map(|sample| sample.record).collect();
                log.append(&new)?;
                observe(&new);
                all.extend(new);
                members += open.len();
                waiting.extend(open.into_iter().filter(is_new));
            }
            if members >= Self::ROUND || batch.end == labels.len() {
                self.individual_stages(target, &samples, std::mem::take(&mut waiting), |record| {
                    log.append(std::slice::from_ref(&record))?;
                    observe(std::slice::from_ref(&record));
                    all.push(record);
                    Ok(())
                })?;
                members = 0;
            }
        }
        all.sort_by_key(|record| record.index);
        Ok(all)
    }

    /// Decides some samples, batched in one piece; one record per sample in order.
    pub fn certify(&self, target: &Target<'_>, samples: &Samples<'_>) -> Result<Vec<SampleRecord>, VerifyError> {
        self.check(target, samples)?;
        let mut records = vec![None; samples.labels.len()];
        let mut waiting = Vec::new();
        for sample in self.batched_stages(target, samples, 0..samples.labels.len())? {
            if self.goes_on_alone(&sample) {
                waiting.push(sample);
            } else {
                records[sample.row] = Some(sample.record);
            }
        }
        let rows: Vec<usize> = waiting.iter().map(|sample| sample.row).collect();
        let mut rows = rows.into_iter();
        self.individual_stages(target, samples, waiting, |record| {
            if let Some(row) = rows.next() {
                records[row] = Some(record);
            }
            Ok(())
        })?;
        Ok(records.into_iter().flatten().collect())
    }

    /// Fails if a stage stands twice or cannot bound the perturbations.
    pub fn check_stages(&self) -> Result<(), VerifyError> {
        if let Some((position, stage)) = self.stages.iter().enumerate().find(|(i, s)| self.stages[..*i].contains(s)) {
            return Err(VerifyError::Usage(format!("stage `{stage}` stands twice (again as number {})", position + 1)));
        }
        if let Some(stage) = self.stages.iter().find(|stage| stage.needs_box() && self.threat.norm != Norm::Inf) {
            return Err(VerifyError::Usage(format!(
                "stage `{stage}` bounds boxes only, that is ℓ∞ perturbations; leave it out for other norms"
            )));
        }
        Ok(())
    }

    fn check(&self, target: &Target<'_>, samples: &Samples<'_>) -> Result<(), VerifyError> {
        self.check_stages()?;
        Ok(target.check(samples)?)
    }

    /// The stages up to the first that takes samples one by one, and the others.
    fn parts(&self) -> (&[Stage], &[Stage]) {
        let first = self.stages.iter().position(|stage| stage.needs_box());
        self.stages.split_at(first.unwrap_or(self.stages.len()))
    }

    fn goes_on_alone(&self, sample: &Open) -> bool {
        !self.parts().1.is_empty() && sample.goes_on(self.timeout)
    }

    fn was_taken_alone(&self, record: &SampleRecord) -> bool {
        self.parts().1.first().is_some_and(|stage| record.stage_seconds.contains_key(stage.name()))
    }

    /// Runs the samples `rows` through the stages that take whole batches.
    fn batched_stages(
        &self,
        target: &Target<'_>,
        samples: &Samples<'_>,
        rows: Range<usize>,
    ) -> Result<Vec<Open>, VerifyError> {
        let (d, classes) = (target.network.input_len(), target.network.output_len());
        let logits = target.logits(&samples.inputs[rows.start * d..rows.end * d])?;
        let mut open: Vec<Open> =
            rows.zip(logits.chunks(classes)).map(|(row, logits)| Open::new(samples, row, logits)).collect();
        for &stage in self.parts().0 {
            let mut active: Vec<&mut Open> = open.iter_mut().filter(|sample| sample.goes_on(self.timeout)).collect();
            if !active.is_empty() {
                self.batched_stage(target, samples, &mut active, stage)?;
            }
        }
        Ok(open)
    }

    fn batched_stage(
        &self,
        target: &Target<'_>,
        samples: &Samples<'_>,
        active: &mut [&mut Open],
        stage: Stage,
    ) -> Result<(), VerifyError> {
        let start = Instant::now();
        let rows: Vec<usize> = active.iter().map(|sample| sample.row).collect();
        let gathered = Gathered::new(samples, &rows, target.network.input_len());
        match stage {
            Stage::Bound(relaxation) => self.bound_stage(target, gathered, active, relaxation)?,
            _ => self.attack_stage(target, &gathered, active)?,
        }
        // The batch shares its time evenly.
        let seconds = start.elapsed().as_secs_f64() / active.len() as f64;
        active.iter_mut().for_each(|sample| sample.record.spend(stage.name(), seconds));
        Ok(())
    }

    /// Runs samples through the other stages, several at a time, and hands their records over in order.
    fn individual_stages(
        &self,
        target: &Target<'_>,
        samples: &Samples<'_>,
        waiting: Vec<Open>,
        mut finished: impl FnMut(SampleRecord) -> Result<(), VerifyError>,
    ) -> Result<(), VerifyError> {
        if waiting.is_empty() {
            return Ok(());
        }
        let alpha = AlphaCrown::new(target.network, &target.weights)?;
        let work = |item: usize| {
            let mut sample = waiting[item].clone();
            for &stage in self.parts().1 {
                if sample.goes_on(self.timeout) {
                    self.individual_stage(target, samples, &alpha, &mut sample, stage)?;
                }
            }
            Ok(sample.record)
        };
        in_order(waiting.len(), work, |_, record| finished(record))
    }

    fn individual_stage(
        &self,
        target: &Target<'_>,
        samples: &Samples<'_>,
        alpha: &AlphaCrown<'_>,
        sample: &mut Open,
        stage: Stage,
    ) -> Result<(), VerifyError> {
        if !stage.needs_box() {
            return self.batched_stage(target, samples, &mut [sample], stage);
        }
        let start = Instant::now();
        let d = target.network.input_len();
        let gathered = Gathered::new(samples, &[sample.row], d);
        // Refuses inputs without a region as the other stages do.
        self.threat.region::<f64>(&gathered.inputs, d).map_err(|e| gathered.samples().locate(e))?;
        let mut left = self.timeout.map(|limit| limit.saturating_sub(Duration::from_secs_f64(sample.record.seconds)));
        if stage == Stage::AlphaCrown && self.stages.ends_with(&[Stage::AlphaCrown, Stage::Bab]) {
            // Branch and bound optimises its root itself; most of the time is to be its own.
            left = left.map(|left| left / 3);
        }
        let lone = Lone { target, threat: &self.threat, x: &gathered.inputs, left };
        match stage {
            Stage::AlphaCrown => lone.alpha_crown(alpha, sample)?,
            _ => lone.bab(self.attack.seed, sample)?,
        }
        sample.record.spend(stage.name(), start.elapsed().as_secs_f64());
        Ok(())
    }

    fn attack_stage(
        &self,
        target: &Target<'_>,
        gathered: &Gathered,
        active: &mut [&mut Open],
    ) -> Result<(), VerifyError> {
        let outcome = self.attack.run(target, &self.threat, &gathered.samples())?;
        for (row, sample) in active.iter_mut().enumerate() {
            let record = &mut sample.record;
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
        gathered: Gathered,
        active: &mut [&mut Open],
        relaxation: Relaxation,
    ) -> Result<(), VerifyError> {
        let region = self.threat.region::<f32>(&gathered.inputs, target.network.input_len());
        let region = region.map_err(|e| gathered.samples().locate(e))?;
        let spec = Spec::Margins { labels: gathered.labels };
        let request = BoundRequest::lower(relaxation);
        let bounds = target.engine.bound(target.network, target.theta, &region, &spec, request)?;
        for (sample, lower) in active.iter_mut().zip(bounds.lower.chunks(bounds.rows)) {
            let label = sample.record.label;
            let rivals = lower.iter().map(|&bound| f64::from(bound)).enumerate().filter(|(rival, _)| *rival != label);
            sample.improve(rivals, Stage::Bound(relaxation));
        }
        Ok(())
    }
}

/// A sample on its way through the stages.
#[derive(Clone)]
pub(crate) struct Open {
    /// Its place among the samples.
    row: usize,
    /// What is known.
    pub(crate) record: SampleRecord,
    /// Best lower bound of the margin to each class, −∞ before the first.
    pub(crate) margins: Vec<f64>,
}

impl Open {
    fn new(samples: &Samples<'_>, row: usize, logits: &[f32]) -> Self {
        let label = samples.labels[row];
        // The first largest logit; a network whose logits are NaN predicts class 0 and is wrong everywhere.
        let prediction = (1..logits.len()).fold(0, |best, j| if logits[j] > logits[best] { j } else { best });
        let correct = margin(logits, label).0 > 0.0 && logits.iter().all(|z| z.is_finite());
        let mut record = SampleRecord::open(samples.indices[row], label, prediction, correct);
        if !correct {
            record.decide(Verdict::Falsified, "natural");
        }
        Open { row, record, margins: vec![f64::NEG_INFINITY; logits.len()] }
    }

    fn goes_on(&self, timeout: Option<Duration>) -> bool {
        self.record.verdict == Verdict::Unknown && timeout.is_none_or(|limit| self.record.seconds < limit.as_secs_f64())
    }

    /// The classes whose margin is not proved yet.
    pub(crate) fn open_rivals(&self) -> Vec<usize> {
        (0..self.margins.len()).filter(|&j| j != self.record.label && self.margins[j] <= 0.0).collect()
    }

    /// Takes lower bounds (rival, bound) of margins that `stage` found; the sample is verified once all are above 0.
    pub(crate) fn improve(&mut self, bounds: impl Iterator<Item = (usize, f64)>, stage: Stage) {
        // Each bound is a proof of its own, so the best of the stages counts rival by rival; NaN proves nothing.
        bounds.for_each(|(rival, bound)| self.margins[rival] = self.margins[rival].max(bound));
        let rivals = self.margins.iter().enumerate().filter(|(j, _)| *j != self.record.label);
        let worst = rivals.fold(f64::INFINITY, |worst, (_, &bound)| worst.min(bound));
        self.record.margin_lower = worst.is_finite().then_some(worst);
        if worst > 0.0 {
            self.record.decide(Verdict::Verified, stage.name());
        }
    }
}

/// Some of the samples.
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
