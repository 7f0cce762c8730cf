//! The attack inside a training step: the point of the highest cross-entropy that projected gradient descent meets.

use serde::{Deserialize, Serialize};
use tightrope_attack::pgd::StepSizes;
use tightrope_attack::{Feasible, ThreatModel, Worst, WorstPoints};
use tightrope_engine::Loaded;
use tightrope_noise::{Purpose, Stream};

use crate::TrainError;
use crate::config::{Setting, Values};
use crate::methods::Minibatch;

/// The keys of a training attack.
pub(in crate::methods) const ATTACK: &[Setting] = &[
    Setting::new("method.attack_steps", Values::Whole(0, 10_000), "gradient steps of the attack", "10"),
    Setting::new("method.attack_restarts", Values::Whole(1, 1000), "random starts of the attack", "3"),
    Setting::new(
        "method.attack_first_step",
        Values::POSITIVE,
        "first step of the attack in units of its radius",
        "0.25",
    ),
    Setting::new(
        "method.attack_last_step",
        Values::POSITIVE,
        "last step of the attack, to which steps fall geometrically, in units of its radius",
        "0.05",
    ),
    Setting::new("method.attack_eps_factor", Values::NOT_NEGATIVE, "radius of the attack as a multiple of ε", "2"),
    Setting::new(
        "method.attack_at",
        Values::Name(|| AttackAt::ALL.map(|at| at.name().to_string()).to_vec()),
        "under smoothing: attack each perturbed network, or once at θ itself",
        "\"mean\"",
    ),
];

/// Samples of a step whose random starts have addresses of their own.
pub(super) const LARGEST_STEP: usize = 1 << 22;

/// Whose worst points are trained on under smoothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::methods) enum AttackAt {
    /// Those of each perturbed network θ + δ, from the same random starts.
    #[default]
    Member,
    /// Those of θ, for all members.
    Mean,
}

impl AttackAt {
    const ALL: [AttackAt; 2] = [AttackAt::Member, AttackAt::Mean];

    fn name(self) -> &'static str {
        match self {
            AttackAt::Member => "member",
            AttackAt::Mean => "mean",
        }
    }
}

/// The attack that adversarial points of the minibatch come from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::methods) struct TrainingAttack {
    attack_steps: usize,
    attack_restarts: usize,
    attack_first_step: f64,
    attack_last_step: f64,
    attack_eps_factor: f64,
    attack_at: AttackAt,
}

impl Default for TrainingAttack {
    fn default() -> Self {
        TrainingAttack {
            attack_steps: 8,
            attack_restarts: 1,
            attack_first_step: 0.5,
            attack_last_step: 0.1,
            attack_eps_factor: 1.0,
            attack_at: AttackAt::Member,
        }
    }
}

impl TrainingAttack {
    /// True if one attack at θ serves all members of a smoothing estimator.
    pub(super) fn at_mean(&self) -> bool {
        self.attack_at == AttackAt::Mean
    }

    /// The worst points `[N, d]` met at the numbers of `at`.
    ///
    /// Random starts are addressed by (seed, step, restart, position in the step): all members of a smoothing estimator
    /// start alike, so that their losses differ by their parameters alone.
    pub(super) fn points(&self, batch: &Minibatch<'_>, at: &dyn Loaded<f32>) -> Result<Vec<f32>, TrainError> {
        let epsilon = f64::from(batch.threat.epsilon) * self.attack_eps_factor;
        let clip = batch.threat.clip.map(|(low, high)| (f64::from(low), f64::from(high)));
        let threat = ThreatModel::new(batch.threat.norm, epsilon, clip);
        if epsilon == 0.0 {
            return Ok(batch.inputs.to_vec());
        }
        let samples = batch.labels.len();
        let dimension = batch.inputs.len() / samples.max(1);
        let sets: Vec<Feasible<'_>> = batch.inputs.chunks(dimension).map(|x| Feasible::new(&threat, x)).collect();
        let starts = |restart: usize| {
            let start = |(i, set): (usize, &Feasible<'_>)| {
                let address = restart * LARGEST_STEP + batch.first + i;
                set.random(Stream::new(batch.seed, Purpose::Attack, batch.step, address as u64))
            };
            sets.iter().enumerate().flat_map(start).collect()
        };
        let search = WorstPoints {
            at,
            labels: batch.labels,
            worst: Worst::CrossEntropy,
            steps: self.attack_steps,
            sizes: StepSizes {
                first: self.attack_first_step,
                last: self.attack_last_step,
                steps: self.attack_steps.saturating_sub(1),
            },
        };
        Ok(search.find(&sets, self.attack_restarts, starts)?)
    }
}
