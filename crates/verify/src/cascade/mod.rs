//! The cascade: stages of rising cost until each sample is verified or falsified.

pub(crate) mod individual;
pub(crate) mod log;
pub(crate) mod pace;
pub(crate) mod parts;
pub(crate) mod stage;
pub(crate) mod summary;

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tightrope_attack::{Attack, Samples, Target, ThreatModel, margin};
use tightrope_engine::{BoundRequest, Relaxation, Spec};

use self::individual::{SampleQuery, in_order};
use self::log::{CertifyLog, SampleRecord, Verdict};
use self::pace::{Overruns, Pace};
use crate::complete::{AlphaCrown, AlphaSettings, Learned};
use crate::{Stage, VerifyError};

/// What α-CROWN may spend on each sample; it optimises until the first of them is used up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlphaBudget {
    /// Steps on the slopes of each bound.
    pub iterations: usize,
    /// Time; where branch and bound follows, never more than a third of what is left.
    pub time: Option<Duration>,
}

impl Default for AlphaBudget {
    fn default() -> Self {
        AlphaBudget { iterations: AlphaSettings::default().iterations, time: None }
    }
}

/// Which stages run in which order, and against what.
#[derive(Clone, Debug, PartialEq)]
pub struct Cascade {
    /// Stages in order, each at most once.
    pub stages: Vec<Stage>,
    /// Settings of [`Stage::Pgd`].
    pub attack: Attack,
    /// The perturbations.
    pub threat: ThreatModel,
    /// Time per sample: no further stage is begun after it, nor one that is known to take longer than what is left of
    /// it (the first samples find that out); attacks, α-CROWN and branch and bound stop at it.
    pub timeout: Option<Duration>,
    /// What α-CROWN may spend.
    pub alpha: AlphaBudget,
}

impl Cascade {
    /// Most samples one engine call gets, fixed so that a resumed run meets the same batches.
    pub const BATCH: usize = 128;

    /// Samples that wait for stages which take them one by one before these begin; fixed for the same reason, and
    /// enough that threads seldom stand idle at the end of a round.
    pub const ROUND: usize = 64;

    /// Certifies `samples`, a whole data set or a part of one, skipping what the log holds already.
    ///
    /// `done` are the log's records ([`CertifyLog::resume`]), which must agree with the data and the model; `observe`
    /// hears of every new record and may stop the cascade. The log gets samples
    /// batch by batch as the batched stages decide them, and the others, in order, after a round of the later stages,
    /// each as soon as it and those before it are done. A batch that is only partly done is computed whole, so that
    /// resumed results equal uninterrupted ones, and only the missing lines are appended, in the order that they have
    /// in an uninterrupted log. Returns one record per sample in order.
    ///
    /// # Errors
    /// If a record contradicts the data, an engine refuses, the log cannot be written, or `observe` says stop
    /// ([`VerifyError::Interrupted`]).
    pub fn run(
        &self,
        target: &Target<'_>,
        samples: &Samples<'_>,
        log: &mut CertifyLog,
        done: &[SampleRecord],
        mut observe: impl FnMut(&[SampleRecord]) -> ControlFlow<()>,
    ) -> Result<Vec<SampleRecord>, VerifyError> {
        let &Samples { indices, labels, .. } = samples;
        self.check(target, samples)?;
        let done: HashMap<u64, &SampleRecord> = done.iter().map(|record| (record.index, record)).collect();
        let mut all: Vec<SampleRecord> = indices.iter().filter_map(|i| done.get(i).copied().cloned()).collect();
        check_records(target, samples, &done, log.path())?;
        let mut observe = |new: &[SampleRecord]| match observe(new) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(VerifyError::Interrupted),
        };
        let (mut pace, overruns) = (Pace::default(), Overruns::default());
        let mut waiting = Vec::new();
        // Members of the round, done ones included, so that rounds are the same after a kill.
        let mut members = 0;
        for first in (0..labels.len()).step_by(Self::BATCH) {
            let batch = first..(first + Self::BATCH).min(labels.len());
            if indices[batch.clone()].iter().all(|index| done.contains_key(index)) {
                members += indices[batch.clone()].iter().filter(|i| self.was_taken_alone(done[i])).count();
            } else {
                let (open, decided): (Vec<Open>, Vec<Open>) = self
                    .batched_stages(target, samples, batch.clone(), &mut pace)?
                    .into_iter()
                    .partition(|sample| self.goes_on_alone(sample));
                let is_new = |sample: &Open| !done.contains_key(&sample.record.index);
                let new: Vec<SampleRecord> = decided.into_iter().filter(is_new).map(|sample| sample.record).collect();
                log.append(&new)?;
                observe(&new)?;
                all.extend(new);
                members += open.len();
                waiting.extend(open.into_iter().filter(is_new));
            }
            if members >= Self::ROUND || batch.end == labels.len() {
                self.individual_stages(target, samples, std::mem::take(&mut waiting), &overruns, |record| {
                    log.append(std::slice::from_ref(&record))?;
                    observe(std::slice::from_ref(&record))?;
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
    ///
    /// # Errors
    /// If the samples do not fit the network, a stage cannot bound the perturbations, or an engine refuses.
    pub fn certify(&self, target: &Target<'_>, samples: &Samples<'_>) -> Result<Vec<SampleRecord>, VerifyError> {
        self.check(target, samples)?;
        let mut records = vec![None; samples.labels.len()];
        let mut waiting = Vec::new();
        for sample in self.batched_stages(target, samples, 0..samples.labels.len(), &mut Pace::default())? {
            if self.goes_on_alone(&sample) {
                waiting.push(sample);
            } else {
                records[sample.row] = Some(sample.record);
            }
        }
        let rows: Vec<usize> = waiting.iter().map(|sample| sample.row).collect();
        let mut rows = rows.into_iter();
        self.individual_stages(target, samples, waiting, &Overruns::default(), |record| {
            if let Some(row) = rows.next() {
                records[row] = Some(record);
            }
            Ok(())
        })?;
        Ok(records.into_iter().flatten().collect())
    }

    /// Fails if a stage stands twice.
    ///
    /// # Errors
    /// Which stage.
    pub fn check_stages(&self) -> Result<(), VerifyError> {
        if let Some((position, stage)) = self.stages.iter().enumerate().find(|(i, s)| self.stages[..*i].contains(s)) {
            return Err(VerifyError::Usage(format!("stage `{stage}` stands twice (again as number {})", position + 1)));
        }
        Ok(())
    }

    fn check(&self, target: &Target<'_>, samples: &Samples<'_>) -> Result<(), VerifyError> {
        self.check_stages()?;
        self.threat.epsilon.check(self.threat.norm, target.network.input_shape())?;
        Ok(target.check(samples)?)
    }

    /// The stages up to the first that takes samples one by one, and the others.
    fn parts(&self) -> (&[Stage], &[Stage]) {
        let first = self.stages.iter().position(|stage| stage.is_individual());
        self.stages.split_at(first.unwrap_or(self.stages.len()))
    }

    fn goes_on_alone(&self, sample: &Open) -> bool {
        !self.parts().1.is_empty() && sample.goes_on(self.timeout)
    }

    fn was_taken_alone(&self, record: &SampleRecord) -> bool {
        self.parts().1.iter().any(|stage| record.stage_seconds.contains_key(stage.name()))
    }

    /// Runs the samples `rows` through the stages that take whole batches.
    fn batched_stages(
        &self,
        target: &Target<'_>,
        samples: &Samples<'_>,
        rows: Range<usize>,
        pace: &mut Pace,
    ) -> Result<Vec<Open>, VerifyError> {
        let (d, classes) = (target.network.input_len(), target.network.output_len());
        let logits = target.logits(&samples.inputs[rows.start * d..rows.end * d])?;
        let mut open: Vec<Open> =
            rows.zip(logits.chunks(classes)).map(|(row, logits)| Open::new(samples, row, logits)).collect();
        for &stage in self.parts().0 {
            let mut active: Vec<&mut Open> = open.iter_mut().filter(|sample| sample.goes_on(self.timeout)).collect();
            if !active.is_empty() {
                self.paced_stage(target, samples, &mut active, stage, pace)?;
            }
        }
        Ok(open)
    }

    /// Runs samples through a stage as far as their time goes. An engine call cannot be stopped, so a bound that goes
    /// backward through the network is first tried on one sample, and those for which it would take too long do
    /// without it. The others get it in one piece unless it is close.
    fn paced_stage(
        &self,
        target: &Target<'_>,
        samples: &Samples<'_>,
        active: &mut [&mut Open],
        stage: Stage,
        pace: &mut Pace,
    ) -> Result<(), VerifyError> {
        let (Some(limit), true) = (self.timeout, pace::costs_time(stage)) else {
            return self.batched_stage(target, samples, active, stage);
        };
        let mut rest = active;
        if !pace.knows(stage) {
            let mut trial = rest[0].clone();
            let start = Instant::now();
            self.batched_stage(target, samples, &mut [&mut trial], stage)?;
            pace.took(stage, 1, start.elapsed());
            // Otherwise it is bounded again among the others, so that the pieces, and with them the last bits of the
            // bounds, are the same after a kill.
            if pace.next_piece(stage, rest.iter().map(|sample| sample.left(limit))).is_none() {
                *rest[0] = trial;
                return Ok(());
            }
        }
        while let Some(next) = pace.next_piece(stage, rest.iter().map(|sample| sample.left(limit))) {
            let (piece, others) = rest.split_at_mut(next);
            let start = Instant::now();
            self.batched_stage(target, samples, piece, stage)?;
            pace.took(stage, piece.len(), start.elapsed());
            rest = others;
        }
        Ok(())
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
        overruns: &Overruns,
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
                    self.individual_stage(target, samples, &alpha, &mut sample, stage, overruns)?;
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
        overruns: &Overruns,
    ) -> Result<(), VerifyError> {
        if !stage.is_individual() {
            return self.batched_stage(target, samples, &mut [sample], stage);
        }
        let start = Instant::now();
        let d = target.network.input_len();
        let gathered = Gathered::new(samples, &[sample.row], d);
        // Refuses inputs without a region as the other stages do.
        self.threat.region::<f64>(&gathered.inputs, d).map_err(|e| gathered.samples().locate(e))?;
        let mut left = self.timeout.map(|limit| sample.left(limit));
        if stage == Stage::AlphaCrown && self.stages.ends_with(&[Stage::AlphaCrown, Stage::Bab]) {
            // Branch and bound optimises its root itself; most of the time is to be its own.
            left = left.map(|left| left / 3);
        }
        if let (Stage::AlphaCrown, Some(budget)) = (stage, self.alpha.time) {
            left = Some(left.map_or(budget, |left| left.min(budget)));
        }
        if overruns.forbid(stage, left) {
            return Ok(());
        }
        let query = SampleQuery { target, threat: &self.threat, x: &gathered.inputs, left };
        match stage {
            Stage::AlphaCrown => query.alpha_crown(alpha, self.alpha.iterations, sample)?,
            _ => query.bab(alpha, self.attack.seed, sample)?,
        }
        overruns.took(stage, left, start.elapsed());
        sample.record.spend(stage.name(), start.elapsed().as_secs_f64());
        Ok(())
    }

    fn attack_stage(
        &self,
        target: &Target<'_>,
        gathered: &Gathered,
        active: &mut [&mut Open],
    ) -> Result<(), VerifyError> {
        // The batch shares its time evenly, so it has that of all its samples together.
        let left = self.timeout.map(|limit| active.iter().map(|sample| sample.left(limit)).sum::<Duration>());
        // No deadline where the sum is beyond what the clock can tell.
        let deadline = left.and_then(|left| Instant::now().checked_add(left));
        let outcome = self.attack.run_until(target, &self.threat, &gathered.samples(), deadline)?;
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
        let bounds = target.single.bound(&region, &spec, request)?;
        for (sample, lower) in active.iter_mut().zip(bounds.lower.chunks(bounds.rows)) {
            let label = sample.record.label;
            let rivals = lower.iter().map(|&bound| f64::from(bound)).enumerate().filter(|(rival, _)| *rival != label);
            sample.improve(rivals, Stage::Bound(relaxation));
        }
        Ok(())
    }
}

/// Fails unless every record is about its sample: the same label, and the class that the model predicts.
fn check_records(
    target: &Target<'_>,
    samples: &Samples<'_>,
    done: &HashMap<u64, &SampleRecord>,
    log: &Path,
) -> Result<(), VerifyError> {
    let (d, classes) = (target.network.input_len(), target.network.output_len());
    let rows: Vec<usize> = (0..samples.labels.len()).filter(|&i| done.contains_key(&samples.indices[i])).collect();
    for rows in rows.chunks(Cascade::BATCH) {
        let logits = target.logits(&Gathered::new(samples, rows, d).inputs)?;
        for (&row, logits) in rows.iter().zip(logits.chunks(classes)) {
            let (record, now) = (done[&samples.indices[row]], Open::new(samples, row, logits).record);
            // Logits that differ by rounding only may be in another order on another machine.
            let close = logits.get(record.prediction).is_some_and(|&logged| {
                let largest = logits[now.prediction];
                largest - logged <= 1e-4 * (1.0 + largest.abs())
            });
            let whole = !record.natural_correct || record.label == record.prediction;
            let right = record.verdict != Verdict::Verified || record.natural_correct;
            if record.label != now.label || !(close || now.prediction == record.prediction) || !whole || !right {
                let words = |record: &SampleRecord| {
                    let natural = if record.natural_correct { "right" } else { "wrong" };
                    format!("label {}, prediction {} ({natural})", record.label, record.prediction)
                };
                return Err(VerifyError::Record {
                    path: log.into(),
                    index: record.index,
                    logged: words(record),
                    now: words(&now),
                });
            }
        }
    }
    Ok(())
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
    /// What α-CROWN has learned about its box, for branch and bound.
    pub(crate) learned: Option<Arc<Learned>>,
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
        Open { row, record, margins: vec![f64::NEG_INFINITY; logits.len()], learned: None }
    }

    /// What is left of the time `limit`.
    fn left(&self, limit: Duration) -> Duration {
        limit.saturating_sub(Duration::try_from_secs_f64(self.record.seconds).unwrap_or(Duration::MAX))
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
