//! Certified accuracy in one call.

use tightrope_attack::{Attack, Samples, Target, ThreatModel};
use tightrope_data::Dataset;
use tightrope_engine::Reference;
use tightrope_network::Model;
use tightrope_verify::{AlphaBudget, Cascade, SampleRecord, Stage, Summary};

use crate::{Error, default_engine};

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
/// let threat = ThreatModel { norm: Norm::Inf, epsilon: 0.001, clip: Some((0.0, 1.0)) };
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
