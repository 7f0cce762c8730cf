//! Attacks on a data set.

use pyo3::prelude::*;
use serde_json::json;
use tightrope::attack::{Attack, AttackKind, AttackPlan, Samples, Target};
use tightrope::engine::Reference;
use tightrope::training::cross_entropy;
use tightrope::verification::Cascade;

use crate::certifying::{Perturbation, threat};
use crate::data::Given;
use crate::errors::{named, raise};
use crate::network::Network;
use crate::number;
use crate::running;
use crate::training::Listener;

/// A summary as JSON, the worst inputs met, their margins, and which of them were broken; nothing if the callback ended it.
type Attacked = Option<(String, Py<PyAny>, Py<PyAny>, Vec<bool>)>;

/// Attacks every sample with `kind`, or with all kinds.
#[pyfunction]
pub fn attack(
    py: Python<'_>,
    network: &Bound<'_, Network>,
    data: Given<'_>,
    perturbation: Perturbation,
    kind: &str,
    settings: (usize, usize, u64),
    targets: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Attacked> {
    let threat = threat(py, perturbation)?;
    let shared = &network.get().0;
    let kinds = match kind {
        "all" => AttackKind::sequence(shared.model.network.output_len()),
        _ => vec![kind.parse().map_err(|_| {
            let known: Vec<&str> = AttackKind::ALL.iter().map(|kind| kind.name()).collect();
            named(py, "ConfigError", format!("attack `{kind}`: use one of {}, all", known.join(", ")))
        })?],
    };
    let (steps, restarts, seed) = settings;
    let plan = AttackPlan { kinds, attack: Attack { steps, restarts, seed, ..Attack::default() }, targets };
    let set = data.of(py, &shared.model.network)?;
    let model = shared.model.frozen().map_err(|error| raise(py, error))?.into_owned();
    let (outcome, failure) = running::job(py, move |stop| {
        let mut listener = Listener::new(progress, stop);
        let mut run = || -> Result<_, tightrope::Error> {
            let engine = tightrope::default_engine()?;
            let target = Target::new(&model, &*engine, &Reference)?;
            let (mut correct, mut worst, mut margins, mut broken) = (0, Vec::new(), Vec::new(), Vec::new());
            for (part, labels) in set.labels.chunks(Cascade::BATCH).enumerate() {
                let first = part * Cascade::BATCH;
                let indices: Vec<u64> = (first as u64..(first + labels.len()) as u64).collect();
                let x = &*set.range(first..first + labels.len());
                let outcome = plan.run(&target, &threat, &Samples { indices: &indices, inputs: x, labels })?;
                correct += cross_entropy(&target.logits(x)?, labels).correct;
                worst.extend(outcome.adversarial);
                margins.extend(outcome.margins);
                broken.extend(outcome.broken);
                listener.tell("samples", &json!({ "decided": broken.len(), "samples": set.len() }));
                if listener.stopped() {
                    return Ok(None);
                }
            }
            let robust = broken.iter().filter(|&&broken| !broken).count();
            let summary = json!({
                "samples": set.len(), "correct": correct, "robust": robust,
                "attacks": plan.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
            });
            Ok(Some((summary.to_string(), worst, margins, broken)))
        };
        let outcome = run();
        (outcome, listener.failure())
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    let outcome = outcome.map_err(|error| raise(py, error))?;
    Ok(outcome.map(|(summary, worst, margins, broken)| {
        (summary, number::array(py, worst), number::array(py, margins), broken)
    }))
}
