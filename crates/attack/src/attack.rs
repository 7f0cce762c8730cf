//! Gradient attacks on the margin: what is tried, in which order and with which settings.

use std::time::Instant;

use tightrope_noise::{Purpose, Stream};

use crate::kind::Descent;
use crate::objective::Objective;
use crate::pgd::StepSizes;
use crate::state::{LossSearch, State};
use crate::{AttackError, AttackKind, AttackOutcome, Samples, Target, ThreatModel, apgd, pgd};

/// How far and how often an attack searches; by itself the attack [`AttackKind::Pgd`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attack {
    /// Gradient steps per restart; 0 only tries the random starts.
    pub steps: usize,
    /// Random starts (of each target class), at least 1.
    pub restarts: usize,
    /// Length of the first step of projected gradient descent as a fraction of ε.
    pub first_step: f64,
    /// Length of its last step as a fraction of ε; in between it falls geometrically.
    pub last_step: f64,
    /// Seed of the random starts.
    pub seed: u64,
}

impl Default for Attack {
    fn default() -> Self {
        Attack { steps: 40, restarts: 3, first_step: 0.5, last_step: 0.02, seed: 0 }
    }
}

impl Attack {
    /// [`AttackPlan::run`] with [`AttackKind::Pgd`] alone.
    ///
    /// # Errors
    /// If the samples do not fit the network or its regions, or the engine refuses.
    pub fn run(
        &self,
        target: &Target<'_>,
        threat: &ThreatModel,
        samples: &Samples<'_>,
    ) -> Result<AttackOutcome, AttackError> {
        self.run_until(target, threat, samples, None)
    }

    /// [`Attack::run`] that ends after the gradient step in which `deadline` passes.
    ///
    /// # Errors
    /// As [`Attack::run`].
    pub fn run_until(
        &self,
        target: &Target<'_>,
        threat: &ThreatModel,
        samples: &Samples<'_>,
        deadline: Option<Instant>,
    ) -> Result<AttackOutcome, AttackError> {
        let plan = AttackPlan { kinds: vec![AttackKind::Pgd], attack: *self, targets: 0 };
        plan.run_until(target, threat, samples, deadline)
    }

    /// The step sizes: the last step is the last to be taken.
    fn sizes(&self) -> StepSizes {
        StepSizes { first: self.first_step, last: self.last_step, steps: self.steps.saturating_sub(1) }
    }

    fn check(&self) -> Result<(), AttackError> {
        if self.restarts == 0 {
            return Err(AttackError::Usage("an attack needs at least one restart; use --restarts 1 or more".into()));
        }
        if ![self.first_step, self.last_step].iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err(AttackError::Usage("attack step sizes must be positive numbers (fractions of ε)".into()));
        }
        Ok(())
    }
}

/// Attacks one after the other, each on the samples that those before it left unbroken.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackPlan {
    /// The attacks in order.
    pub kinds: Vec<AttackKind>,
    /// Settings of each.
    pub attack: Attack,
    /// Target classes of the targeted attacks, at least 1 where there is one: the strongest rivals at the clean
    /// input, at most all of them.
    pub targets: usize,
}

impl AttackPlan {
    /// Attacks `samples`, dropping each as soon as it is broken.
    ///
    /// Random starts are addressed by (seed, sample index, attack, target, restart), so that they depend neither on
    /// batches nor on threads. The clean input is tried first: a misclassified sample is broken by itself.
    ///
    /// # Errors
    /// If a setting makes no sense, an attack needs more classes than there are, or the samples do not fit the
    /// network or the region.
    pub fn run(
        &self,
        target: &Target<'_>,
        threat: &ThreatModel,
        samples: &Samples<'_>,
    ) -> Result<AttackOutcome, AttackError> {
        self.run_until(target, threat, samples, None)
    }

    fn run_until(
        &self,
        target: &Target<'_>,
        threat: &ThreatModel,
        samples: &Samples<'_>,
        deadline: Option<Instant>,
    ) -> Result<AttackOutcome, AttackError> {
        self.check(target.network.output_len())?;
        target.check(samples)?;
        threat.epsilon.check(threat.norm, target.network.input_shape())?;
        // An empty or senseless region has no points to try, which must not look like robustness.
        threat.region::<f32>(samples.inputs, target.network.input_len()).map_err(|e| samples.locate(e))?;
        let everyone: Vec<usize> = (0..samples.labels.len()).collect();
        let logits = target.logits(samples.inputs)?;
        let mut state = State::new(target, threat, samples, deadline);
        state.observe(&everyone, samples.inputs, &logits)?;
        for &kind in &self.kinds {
            state.kind = Some(kind);
            let rounds = if kind.targeted() { self.targets.min(target.network.output_len() - 1) } else { 1 };
            for round in 0..rounds {
                let objective = Objective::new(kind, round, &logits, samples.labels);
                for restart in 0..self.attack.restarts {
                    let active = state.unbroken();
                    if active.is_empty() || state.is_late() {
                        return Ok(state.outcome);
                    }
                    let points = self.starts(&state, &active, kind, round, restart);
                    let (steps, mut search) =
                        (self.attack.steps, LossSearch { state: &mut state, objective: &objective });
                    match kind.descent() {
                        Descent::Scheduled => pgd::descend(&mut search, steps, self.attack.sizes(), active, points)?,
                        Descent::Adaptive => apgd::descend(&mut search, steps, active, points)?,
                    }
                }
            }
        }
        Ok(state.outcome)
    }

    /// Random points `[active, d]`.
    fn starts(
        &self,
        state: &State<'_, '_>,
        active: &[usize],
        kind: AttackKind,
        round: usize,
        restart: usize,
    ) -> Vec<f32> {
        let member = ((kind as u64) << 24) + ((round as u64) << 16) + restart as u64;
        let start = |&i: &usize| {
            let stream = Stream::new(self.attack.seed, Purpose::Attack, state.samples.indices[i], member);
            state.feasible(i).random(stream)
        };
        active.iter().flat_map(start).collect()
    }

    fn check(&self, classes: usize) -> Result<(), AttackError> {
        self.attack.check()?;
        for &kind in &self.kinds {
            if classes < kind.classes() {
                return Err(AttackError::Usage(format!(
                    "attack `{kind}` needs at least {} classes and the network has {classes}; use `{}`",
                    kind.classes(),
                    AttackKind::Pgd
                )));
            }
            if kind.targeted() && self.targets == 0 {
                return Err(AttackError::Usage(format!(
                    "attack `{kind}` needs a target class; use --targets 1 or more"
                )));
            }
        }
        Ok(())
    }
}
