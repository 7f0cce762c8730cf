//! Certified accuracy in one call.

use serde_json::{Value, json};
use tightrope_attack::{Attack, Radius, Samples, Target, ThreatModel};
use tightrope_data::Dataset;
use tightrope_engine::{Norm, Reference};
use tightrope_network::Model;
use tightrope_verify::{AlphaBudget, Cascade, LogSettings, SampleRecord, Stage, Summary};

use crate::{Error, checksum, default_engine};

/// What a certification found.
#[derive(Clone, Debug)]
pub struct Certified {
    /// One record per sample, in order.
    pub records: Vec<SampleRecord>,
    /// Natural, adversarial and certified accuracy, and what each stage did.
    pub summary: Summary,
}

/// Takes every sample of `data` through `stages` until it is decided, without a log and without a time limit.
///
/// # Errors
/// If the data do not fit the model, or a stage cannot bound the perturbations.
///
/// ```
/// use tightrope::network::{Initialisation, Model, Preset};
/// use tightrope::{Norm, Relaxation, Split, Stage, ThreatModel, certify, dataset};
///
/// let network = Preset::Mlp.build(&[1, 28, 28], 10, None)?;
/// let theta = Initialisation::Ibp.theta(&network, 7);
/// let threat = ThreatModel::new(Norm::Inf, 0.001, Some((0.0, 1.0)));
/// let data = dataset("digits", Split::Test)?.limit(20);
/// let certified = certify(&Model::new(network, theta), &data, threat, &[Stage::Bound(Relaxation::Crown)])?;
/// assert_eq!(certified.records.len(), 20);
/// # Ok::<(), tightrope::Error>(())
/// ```
pub fn certify(model: &Model, data: &Dataset, threat: ThreatModel, stages: &[Stage]) -> Result<Certified, Error> {
    let engine = default_engine()?;
    let model = model.frozen()?;
    let target = Target::new(&model, &*engine, &Reference)?;
    let cascade = Cascade {
        stages: stages.to_vec(),
        attack: Attack::default(),
        threat,
        timeout: None,
        alpha: AlphaBudget::default(),
    };
    let indices: Vec<u64> = (0..data.len() as u64).collect();
    let images = data.images();
    let samples = Samples { indices: &indices, inputs: &images, labels: &data.labels };
    let records = cascade.certify(&target, &samples)?;
    let summary = Summary::new(&records, stages);
    Ok(Certified { records, summary })
}

/// The name of a norm on the command line and in files: `inf`, `2` or `1`.
pub fn norm_name(norm: Norm) -> &'static str {
    match norm {
        Norm::Inf => "inf",
        Norm::L2 => "2",
        Norm::L1 => "1",
    }
}

/// A radius as JSON: a number, or a list of one for each channel.
pub fn radius_value(radius: &Radius) -> Value {
    match radius {
        Radius::Same(epsilon) => json!(epsilon),
        Radius::Channels(radii) => json!(radii),
    }
}

/// Everything that must agree for the log of a certification to be continued: model, data, perturbations and stages.
pub fn log_settings(cascade: &Cascade, model: &Model, set: &Dataset, engine: &str) -> LogSettings {
    let mut settings = LogSettings::from(
        [
            ("model", json!(checksum(model))),
            ("dataset", json!(set.name)),
            ("split", json!(set.split.name())),
            ("data", json!(set.checksum)),
            ("eps", radius_value(&cascade.threat.epsilon)),
            ("norm", json!(norm_name(cascade.threat.norm))),
            ("clip", json!(cascade.threat.clip.map(|(low, high)| [low, high]))),
            ("stages", json!(cascade.stages.iter().map(|stage| stage.name()).collect::<Vec<_>>().join(","))),
            ("timeout", json!(cascade.timeout.map(|limit| limit.as_secs_f64()))),
            ("engine", json!(engine)),
        ]
        .map(|(name, value)| (name.to_string(), value)),
    );
    if cascade.stages.contains(&Stage::Pgd) {
        let attack = &cascade.attack;
        settings.insert("steps".into(), json!(attack.steps));
        settings.insert("restarts".into(), json!(attack.restarts));
        settings.insert("first_step".into(), json!(attack.first_step));
        settings.insert("last_step".into(), json!(attack.last_step));
    }
    if cascade.stages.iter().any(|stage| matches!(stage, Stage::Pgd | Stage::Bab)) {
        settings.insert("seed".into(), json!(cascade.attack.seed));
    }
    if cascade.stages.contains(&Stage::AlphaCrown) {
        // Only what is not as usual, so that logs from before there was a choice are continued.
        let (alpha, usual) = (&cascade.alpha, AlphaBudget::default());
        if alpha.iterations != usual.iterations {
            settings.insert("alpha_steps".into(), json!(alpha.iterations));
        }
        if let Some(time) = alpha.time {
            settings.insert("alpha_seconds".into(), json!(time.as_secs_f64()));
        }
    }
    settings
}
