//! What every attack on samples shares: the best point of each so far, its replay, and gradients of a loss.

use std::time::Instant;

use tightrope_engine::{Cotangents, EngineError, Wants};

use crate::AttackKind;
use crate::objective::Objective;
use crate::projection::Feasible;
use crate::search::{Evaluated, Search};
use crate::target::margin;
use crate::{AttackError, Samples, Target, ThreatModel};

/// What an attack found, per sample.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackOutcome {
    /// Smallest margin met; of the replay for broken samples.
    pub margins: Vec<f32>,
    /// The inputs `[N, d]` of those margins.
    pub adversarial: Vec<f32>,
    /// True where the input was confirmed by a concrete replay in f32 and f64.
    pub broken: Vec<bool>,
    /// The attack that broke the sample; none for unbroken and for misclassified ones.
    pub broken_by: Vec<Option<AttackKind>>,
}

/// An attack in progress.
pub(crate) struct State<'a, 'b> {
    pub(crate) threat: &'a ThreatModel,
    pub(crate) samples: &'a Samples<'a>,
    /// Values per input.
    pub(crate) d: usize,
    pub(crate) outcome: AttackOutcome,
    /// The attack that gets the credit; none while the clean inputs are tried.
    pub(crate) kind: Option<AttackKind>,
    /// Where the points of each sample may lie.
    feasible: Vec<Feasible<'a>>,
    target: &'a Target<'b>,
    deadline: Option<Instant>,
}

impl<'a, 'b> State<'a, 'b> {
    pub(crate) fn new(
        target: &'a Target<'b>,
        threat: &'a ThreatModel,
        samples: &'a Samples<'a>,
        deadline: Option<Instant>,
    ) -> Self {
        let count = samples.labels.len();
        let outcome = AttackOutcome {
            margins: vec![f32::INFINITY; count],
            adversarial: samples.inputs.to_vec(),
            broken: vec![false; count],
            broken_by: vec![None; count],
        };
        let d = target.network.input_len();
        let feasible = samples.inputs.chunks(d).map(|x| Feasible::new(threat, x)).collect();
        State { threat, samples, d, outcome, kind: None, feasible, target, deadline }
    }

    /// True once the attack's time is over.
    pub(crate) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The samples still unbroken.
    pub(crate) fn unbroken(&self) -> Vec<usize> {
        (0..self.outcome.broken.len()).filter(|&i| !self.outcome.broken[i]).collect()
    }

    /// Where the points of sample `i` may lie.
    pub(crate) fn feasible(&self, i: usize) -> &Feasible<'a> {
        &self.feasible[i]
    }

    fn sample(&self, i: usize) -> &'a [f32] {
        &self.samples.inputs[i * self.d..(i + 1) * self.d]
    }

    /// Records `points [active, d]` with their `logits [active, K]`.
    pub(crate) fn observe(&mut self, active: &[usize], points: &[f32], logits: &[f32]) -> Result<(), AttackError> {
        let classes = self.target.network.output_len();
        for (row, &i) in active.iter().enumerate() {
            let label = self.samples.labels[i];
            let point = &points[row * self.d..(row + 1) * self.d];
            let mut found = margin(&logits[row * classes..(row + 1) * classes], label).0;
            if found <= 0.0
                && let Some(replayed) = self.target.replay(self.threat, self.sample(i), point, label)?
            {
                self.outcome.broken[i] = true;
                self.outcome.broken_by[i] = self.kind;
                found = replayed;
            }
            if found < self.outcome.margins[i] || self.outcome.broken[i] {
                self.outcome.margins[i] = found;
                self.outcome.adversarial[i * self.d..(i + 1) * self.d].copy_from_slice(point);
            }
        }
        Ok(())
    }
}

/// The search for points that break samples, along one loss.
pub(crate) struct LossSearch<'s, 'a, 'b> {
    pub(crate) state: &'s mut State<'a, 'b>,
    pub(crate) objective: &'s Objective,
}

impl<'a> Search<f32> for LossSearch<'_, 'a, '_> {
    type Set<'s>
        = &'s Feasible<'a>
    where
        Self: 's;
    type Error = AttackError;

    fn set(&self, start: usize) -> &Feasible<'a> {
        self.state.feasible(start)
    }

    /// Records the points; the samples that they do not break go on while there is time.
    fn evaluate(&mut self, active: &[usize], points: &[f32]) -> Result<Evaluated<f32>, AttackError> {
        let target = self.state.target;
        let state = &mut *self.state;
        let (logits, tape) = target.single.forward_taped(points)?;
        state.observe(active, points, &logits)?;
        if active.iter().all(|&i| state.outcome.broken[i]) {
            return Ok(Evaluated::ended());
        }
        let rows = active.iter().zip(logits.chunks(target.network.output_len()));
        let (losses, cotangents): (Vec<f64>, Vec<Vec<f32>>) =
            rows.map(|(&i, z)| self.objective.evaluate(i, z, state.samples.labels[i])).unzip();
        let cotangents = Cotangents::on_lower(cotangents.concat());
        let gradients = target.single.vjp(&tape, &cotangents, Wants::INPUT)?;
        let gradients =
            gradients.input.ok_or_else(|| EngineError::Usage("the engine returned no input gradient".into()))?;
        if state.is_late() {
            return Ok(Evaluated::ended());
        }
        let going_on = (0..active.len()).filter(|&row| !state.outcome.broken[active[row]]).collect();
        Ok(Evaluated { going_on, losses, gradients })
    }

    fn finish(&mut self, active: &[usize], points: &[f32]) -> Result<(), AttackError> {
        let logits = self.state.target.logits(points)?;
        self.state.observe(active, points, &logits)
    }
}
