//! Projected gradient descent on the margin, with random restarts (Madry et al. 2018).

use tightrope_engine::{Cotangents, EngineError, Wants};
use tightrope_noise::{Purpose, Stream};

use crate::projection::Feasible;
use crate::target::margin;
use crate::{Samples, Target, ThreatModel, VerifyError};

/// Settings of a projected-gradient attack on min_j z_y − z_j.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attack {
    /// Gradient steps per restart; 0 only tries the random starts.
    pub steps: usize,
    /// Random starts, at least 1.
    pub restarts: usize,
    /// Length of the first step as a fraction of ε.
    pub first_step: f64,
    /// Length of the last step as a fraction of ε; in between it falls geometrically.
    pub last_step: f64,
    /// Seed of the random starts.
    pub seed: u64,
}

impl Default for Attack {
    fn default() -> Self {
        Attack { steps: 40, restarts: 3, first_step: 0.5, last_step: 0.02, seed: 0 }
    }
}

/// What an attack found, per sample.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackOutcome {
    /// Smallest margin met; of the replay for broken samples.
    pub margins: Vec<f32>,
    /// The inputs `[N, d]` of those margins.
    pub adversarial: Vec<f32>,
    /// True where the input was confirmed by a concrete replay in f32 and f64.
    pub broken: Vec<bool>,
}

impl Attack {
    /// Attacks `samples`, dropping each as soon as it is broken.
    ///
    /// Random starts are addressed by (seed, sample index, restart), so that they depend neither on
    /// batches nor on threads. The clean input is tried first: a misclassified sample is broken by itself.
    pub fn run(
        &self,
        target: &Target<'_>,
        threat: &ThreatModel,
        samples: &Samples<'_>,
    ) -> Result<AttackOutcome, VerifyError> {
        self.check()?;
        target.check(samples)?;
        // An empty or senseless region has no points to try, which must not look like robustness.
        threat.region::<f32>(samples.inputs, target.network.input_len()).map_err(|e| samples.locate(e))?;
        let mut state = State::new(target, threat, samples);
        let everyone: Vec<usize> = (0..samples.labels.len()).collect();
        let logits = target.logits(samples.inputs)?;
        let mut active = state.observe(&everyone, samples.inputs, &logits)?;
        for restart in 0..self.restarts {
            if active.is_empty() {
                break;
            }
            let mut points = Vec::with_capacity(active.len() * state.d);
            for &i in &active {
                let stream = Stream::new(self.seed, Purpose::Attack, samples.indices[i], restart as u64);
                points.extend(Feasible::new(threat, state.sample(i)).random(stream));
            }
            active = self.descend(&mut state, active, points)?;
        }
        Ok(state.outcome)
    }

    /// One restart from `points`; returns the samples still unbroken.
    fn descend(
        &self,
        state: &mut State<'_, '_>,
        mut active: Vec<usize>,
        mut points: Vec<f32>,
    ) -> Result<Vec<usize>, VerifyError> {
        let target = state.target;
        for step in 0..self.steps {
            let (logits, tape) = target.engine.forward_taped(target.network, target.theta, &points)?;
            let left = state.observe(&active, &points, &logits)?;
            if left.is_empty() {
                return Ok(left);
            }
            let cotangents = Cotangents::on_lower(state.margin_cotangent(&active, &logits));
            let gradients = target.engine.vjp(target.network, target.theta, &tape, &cotangents, Wants::INPUT)?;
            let gradient = gradients.input.ok_or_else(|| {
                EngineError::Usage(format!("the {} engine returned no input gradient", target.engine.name()))
            })?;
            let size = state.threat.epsilon * self.step_size(step);
            let d = state.d;
            let mut next = Vec::with_capacity(left.len() * d);
            for (row, &i) in active.iter().enumerate().filter(|(_, i)| left.contains(i)) {
                let range = row * d..(row + 1) * d;
                let feasible = Feasible::new(state.threat, state.sample(i));
                next.extend(feasible.step(&points[range.clone()], &gradient[range], size));
            }
            (active, points) = (left, next);
        }
        let logits = target.logits(&points)?;
        state.observe(&active, &points, &logits)
    }

    /// Length of step `step` as a fraction of ε.
    fn step_size(&self, step: usize) -> f64 {
        let progress = step as f64 / (self.steps - 1).max(1) as f64;
        self.first_step * (self.last_step / self.first_step).powf(progress)
    }

    fn check(&self) -> Result<(), VerifyError> {
        if self.restarts == 0 {
            return Err(VerifyError::Usage("an attack needs at least one restart; use --restarts 1 or more".into()));
        }
        if ![self.first_step, self.last_step].iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err(VerifyError::Usage("attack step sizes must be positive numbers (fractions of ε)".into()));
        }
        Ok(())
    }
}

/// The best point of every sample so far.
struct State<'a, 'b> {
    target: &'a Target<'b>,
    threat: &'a ThreatModel,
    samples: &'a Samples<'a>,
    d: usize,
    outcome: AttackOutcome,
}

impl<'a, 'b> State<'a, 'b> {
    fn new(target: &'a Target<'b>, threat: &'a ThreatModel, samples: &'a Samples<'a>) -> Self {
        let count = samples.labels.len();
        let outcome = AttackOutcome {
            margins: vec![f32::INFINITY; count],
            adversarial: samples.inputs.to_vec(),
            broken: vec![false; count],
        };
        State { target, threat, samples, d: target.network.input_len(), outcome }
    }

    fn sample(&self, i: usize) -> &'a [f32] {
        &self.samples.inputs[i * self.d..(i + 1) * self.d]
    }

    /// Records `points` of the samples `active` and returns those that remain unbroken.
    fn observe(&mut self, active: &[usize], points: &[f32], logits: &[f32]) -> Result<Vec<usize>, VerifyError> {
        let classes = self.target.network.output_len();
        let mut left = Vec::with_capacity(active.len());
        for (row, &i) in active.iter().enumerate() {
            let label = self.samples.labels[i];
            let point = &points[row * self.d..(row + 1) * self.d];
            let mut found = margin(&logits[row * classes..(row + 1) * classes], label).0;
            if found <= 0.0
                && let Some(replayed) = self.target.replay(self.threat, self.sample(i), point, label)?
            {
                self.outcome.broken[i] = true;
                found = replayed;
            }
            if found < self.outcome.margins[i] || self.outcome.broken[i] {
                self.outcome.margins[i] = found;
                self.outcome.adversarial[i * self.d..(i + 1) * self.d].copy_from_slice(point);
            }
            if !self.outcome.broken[i] {
                left.push(i);
            }
        }
        Ok(left)
    }

    /// d(z_y − z_j*)/dz per sample, j* the strongest rival.
    fn margin_cotangent(&self, active: &[usize], logits: &[f32]) -> Vec<f32> {
        let classes = self.target.network.output_len();
        let mut cotangent = vec![0.0; logits.len()];
        for (row, &i) in active.iter().enumerate() {
            let label = self.samples.labels[i];
            let rival = margin(&logits[row * classes..(row + 1) * classes], label).1;
            cotangent[row * classes + label] += 1.0;
            cotangent[row * classes + rival] -= 1.0;
        }
        cotangent
    }
}

#[cfg(test)]
mod tests {
    use super::Attack;

    #[test]
    fn steps_fall_geometrically() {
        let attack = Attack { steps: 3, first_step: 0.4, last_step: 0.1, ..Attack::default() };
        let sizes: Vec<f64> = (0..3).map(|s| attack.step_size(s)).collect();
        for (size, expected) in sizes.iter().zip([0.4, 0.2, 0.1]) {
            assert!((size - expected).abs() < 1e-12);
        }
        assert_eq!(Attack { steps: 1, ..attack }.step_size(0), 0.4);
    }
}
