//! The state of a run as one safetensors file, and the check that it belongs to the job at hand.
//!
//! The tensors are those of [`TENSORS`]; all else is JSON under one metadata key, since several keys would be written in
//! random order and the same state must give the same bytes. No wall-clock time is in it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tightrope_network::{Description, quoted_text, screen_text, write_atomically};

use crate::average::Average;
use crate::config::SmoothingSection;
use crate::smoothing::{Adaptation, Signal};
use crate::state::{State, Tally};
use crate::trainer::Job;
use crate::{Config, TrainError};

/// The metadata key that holds the [`Header`].
const METADATA: &str = "tightrope";
/// Version of the format.
const VERSION: u32 = 1;

/// Every tensor that may be there, f32 but for `tally.loss` and `adaptation` (f64), in the order in which the checksum takes them: those
/// with `adam.` are of all optimisers that have moments, `sgd.velocity` of SGD with momentum, `buffers` of networks with
/// batch norms, those with `average.` of runs whose average has begun, `adaptation` (f64) of runs that adapt population or σ.
const TENSORS: [&str; 9] = [
    "theta",
    "adam.first",
    "adam.second",
    "sgd.velocity",
    "tally.loss",
    "buffers",
    "average.theta",
    "average.buffers",
    "adaptation",
];

/// What a checkpoint says besides its tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    program: String,
    epoch: usize,
    position: usize,
    step: u64,
    /// Steps of the optimiser, whichever it is.
    #[serde(rename = "adam_step")]
    optimiser_step: u64,
    seed: u64,
    samples: u64,
    natural_seen: u64,
    natural_correct: u64,
    certified_seen: u64,
    certified: u64,
    /// How many θ the average is of; left out where there is none, as in checkpoints of programs that had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    averaged: Option<u64>,
    /// The resolved configuration as TOML, and its SHA-256.
    config: String,
    config_hash: String,
    /// SHA-256 of the network's description.
    network: String,
    /// Name, split, size and checksum of the training set.
    data: String,
    /// Name of the engine, since engines round differently.
    engine: String,
    /// SHA-256 of the rest of this header and of the tensors; empty in checkpoints of programs that wrote none, which
    /// are read without this check.
    #[serde(default)]
    checksum: String,
}

impl Header {
    /// The checksum of this header with `tensors`.
    fn checksum(&self, tensors: &[&[u8]]) -> Result<String, serde_json::Error> {
        let mut hash = Sha256::new();
        hash.update(serde_json::to_vec(&Header { checksum: String::new(), ..self.clone() })?);
        tensors.iter().for_each(|bytes| hash.update(bytes));
        Ok(hexadecimal(&hash.finalize()))
    }
}

/// More of anything than a run counts, and few enough to be added to.
const MOST: u64 = 1 << 53;

impl Header {
    /// Fails for counts that no run with so many steps in an epoch arrives at; the steps to come rely on them.
    fn check_counts(&self, steps: usize) -> Result<(), String> {
        let done =
            (self.epoch as u64).checked_mul(steps as u64).and_then(|done| done.checked_add(self.position as u64));
        if self.position > steps || done != Some(self.step) || self.step > MOST {
            let Header { epoch, position, step, .. } = self;
            return Err(format!("step {step} is not step {position} after {epoch} epochs of {steps} steps"));
        }
        let pairs = [
            ("optimiser steps", self.optimiser_step, "steps", self.step),
            ("averaged parameters", self.averaged.unwrap_or(0), "steps", self.step),
            ("correct samples", self.natural_correct, "samples seen", self.natural_seen),
            ("certified samples", self.certified, "samples seen", self.certified_seen),
        ];
        if let Some((part, few, whole, all)) = pairs.into_iter().find(|(_, few, _, all)| few > all) {
            return Err(format!("{few} {part} of {all} {whole}"));
        }
        match [self.samples, self.natural_seen, self.certified_seen].into_iter().find(|&count| count > MOST) {
            Some(count) => Err(format!("{count} samples in an epoch")),
            None => Ok(()),
        }
    }
}

/// Hexadecimal SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn network_hash(job: &Job) -> String {
    sha256(serde_json::to_string(&Description::of(&job.network)).unwrap_or_default().as_bytes())
}

fn data_identity(job: &Job) -> String {
    format!("{} {} {} {}", job.train.name, job.train.split, job.train.len(), job.train.checksum)
}

/// Writes `state` to `path`, whole or not at all.
pub(super) fn write(path: &Path, job: &Job, state: &State) -> Result<(), TrainError> {
    let config = job.config.to_toml();
    let mut header = Header {
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").into(),
        epoch: state.epoch,
        position: state.position,
        step: state.step,
        optimiser_step: state.optimiser.steps(),
        seed: job.config.seed,
        samples: state.tally.samples,
        natural_seen: state.tally.natural_seen,
        natural_correct: state.tally.natural_correct,
        certified_seen: state.tally.certified_seen,
        certified: state.tally.certified,
        averaged: state.average.as_ref().map(|average| average.count),
        config_hash: sha256(config.as_bytes()),
        config,
        network: network_hash(job),
        data: data_identity(job),
        engine: job.engine.name().into(),
        checksum: String::new(),
    };
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let mut floats = vec![("theta", &state.theta[..])];
    floats.extend(state.optimiser.tensors());
    if !state.buffers.is_empty() {
        floats.push(("buffers", &state.buffers));
    }
    if let Some(average) = &state.average {
        floats.push(("average.theta", &average.theta));
        if !average.buffers.is_empty() {
            floats.push(("average.buffers", &average.buffers));
        }
    }
    let mut tensors: Vec<_> =
        floats.into_iter().map(|(name, values)| (name, Dtype::F32, values.len(), bytes(values))).collect();
    tensors.push(("tally.loss", Dtype::F64, 1, state.tally.loss.to_le_bytes().to_vec()));
    if let Some(adaptation) = &state.adaptation {
        let numbers = numbers_of(adaptation);
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        tensors.push(("adaptation", Dtype::F64, numbers.len(), bytes));
    }
    tensors.sort_by_key(|(name, ..)| TENSORS.iter().position(|known| known == name));
    let contents: Vec<&[u8]> = tensors.iter().map(|(_, _, _, data)| &data[..]).collect();
    header.checksum = header.checksum(&contents).map_err(|e| TrainError::file(path, e))?;
    let header = serde_json::to_string(&header).map_err(|e| TrainError::file(path, e))?;
    let mut views = Vec::new();
    for (name, dtype, length, data) in &tensors {
        let view = TensorView::new(*dtype, vec![*length], data).map_err(|e| TrainError::file(path, e))?;
        views.push((*name, view));
    }
    let metadata = HashMap::from([(METADATA.to_string(), header)]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|e| TrainError::file(path, e))?;
    write_atomically(path, &file).map_err(|e| cannot_write(path, &e))
}

/// The tensor `adaptation`; the counts are far below what f64 holds exactly.
fn numbers_of(adaptation: &Adaptation) -> [f64; 6] {
    let &Adaptation { members, sigma, steps, mean, ratio } = adaptation;
    [members as f64, sigma, steps as f64, mean.square, mean.variance, ratio]
}

/// The adaptation that `bytes` of the tensor hold, checked against a run of `steps` steps with these settings.
fn adaptation_of(bytes: &[u8], steps: u64, smoothing: &SmoothingSection) -> Result<Adaptation, String> {
    let numbers: Vec<f64> = bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
    let [members, sigma, since, square, variance, ratio] = numbers[..] else {
        return Err(format!("`adaptation` has {} numbers, not 6", numbers.len()));
    };
    let whole =
        |number: f64| (number >= 0.0 && number <= MOST as f64 && number.fract() == 0.0).then_some(number as u64);
    match (whole(members), whole(since).filter(|since| *since <= steps)) {
        (Some(members), Some(since)) => {
            let read = Adaptation { members, sigma, steps: since, mean: Signal { square, variance }, ratio };
            read.check(smoothing).map(|()| read)
        }
        _ => Err(format!("`adaptation` has {members} members and {since} of {steps} steps")),
    }
}

pub(super) fn cannot_write(path: &Path, error: &std::io::Error) -> TrainError {
    TrainError::file(
        path,
        format!("cannot be written ({error}); choose a folder with write permission and free space by --out"),
    )
}

fn damaged(path: &Path, problem: impl std::fmt::Display) -> TrainError {
    // What it quotes of the file may be long.
    let problem = screen_text(&problem.to_string());
    TrainError::file(
        path,
        format!("the checkpoint is damaged ({problem}); begin the run anew with --overwrite, or with another --out"),
    )
}

/// The header of the checkpoint file `bytes`.
fn header(path: &Path, bytes: &[u8]) -> Result<Header, TrainError> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(path, e))?;
    let header = metadata.metadata().as_ref().and_then(|map| map.get(METADATA));
    let header = header.ok_or_else(|| damaged(path, "no header"))?;
    let header: Header = serde_json::from_str(header).map_err(|e| damaged(path, e))?;
    if header.version != VERSION {
        let problem = format!("checkpoint version {} cannot be read by this program ({VERSION})", header.version);
        return Err(TrainError::file(path, problem));
    }
    Ok(header)
}

/// The resolved configuration, as TOML, of the run whose checkpoint lies at `path`.
pub(super) fn stored_config(path: &Path) -> Result<String, TrainError> {
    Ok(header(path, &std::fs::read(path).map_err(|e| TrainError::file(path, e))?)?.config)
}

/// Reads the state at `path` and checks that it is whole and belongs to `job`.
pub(super) fn read(path: &Path, job: &Job) -> Result<State, TrainError> {
    let damaged = |problem: &dyn std::fmt::Display| damaged(path, problem);
    let bytes = std::fs::read(path).map_err(|e| TrainError::file(path, e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(&e))?;
    let header = header(path, &bytes)?;
    if !header.checksum.is_empty() {
        let tensor = |name| file.tensor(name).map(|tensor| tensor.data()).map_err(|e| damaged(&e));
        let present = TENSORS.into_iter().filter(|name| file.tensor(name).is_ok());
        let tensors = present.map(tensor).collect::<Result<Vec<_>, _>>()?;
        if header.checksum(&tensors).map_err(|e| damaged(&e))? != header.checksum {
            return Err(damaged(&"its content does not have the checksum that it was written with"));
        }
    }
    check_identity(path, job, &header)?;
    let (parameters, buffers) = (job.network.parameters().total(), job.network.buffers().total());
    let floats = |name: &str, length: usize| -> Result<Vec<f32>, TrainError> {
        let tensor = file.tensor(name).map_err(|e| damaged(&e))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != [length] {
            return Err(damaged(&format!("`{name}` is {:?} {:?}", tensor.dtype(), tensor.shape())));
        }
        let values: Vec<f32> = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(damaged(&format!("`{name}` holds NaN")))
        }
    };
    let loss = file.tensor("tally.loss").map_err(|e| damaged(&e))?;
    let loss: [u8; 8] = loss.data().try_into().map_err(|_| damaged(&"`tally.loss` is no f64"))?;
    let loss = f64::from_le_bytes(loss);
    if !loss.is_finite() {
        return Err(damaged(&"`tally.loss` holds NaN"));
    }
    header.check_counts(job.steps_per_epoch()).map_err(|problem| damaged(&problem))?;
    let buffers_of = |name: &str| if buffers == 0 { Ok(Vec::new()) } else { floats(name, buffers) };
    let mut state = job.initial_state()?;
    state.optimiser.restore(header.optimiser_step, |name| floats(name, parameters))?;
    let adaptation = |_| {
        let tensor = file.tensor("adaptation").map_err(|e| damaged(&e))?;
        adaptation_of(tensor.data(), header.step, &job.config.smoothing).map_err(|problem| damaged(&problem))
    };
    let average = |count| {
        let (theta, buffers) = (floats("average.theta", parameters)?, buffers_of("average.buffers")?);
        Ok::<_, TrainError>(Average { theta, buffers, count })
    };
    Ok(State {
        theta: Arc::new(floats("theta", parameters)?),
        buffers: buffers_of("buffers")?,
        optimiser: state.optimiser,
        average: header.averaged.map(average).transpose()?,
        adaptation: state.adaptation.map(adaptation).transpose()?,
        epoch: header.epoch,
        position: header.position,
        step: header.step,
        tally: Tally {
            samples: header.samples,
            loss,
            natural_seen: header.natural_seen,
            natural_correct: header.natural_correct,
            certified_seen: header.certified_seen,
            certified: header.certified,
        },
    })
}

/// Keys that may change at a resumption, because steps already done do not depend on them.
const FREE: [&str; 2] = ["train.checkpoint_steps", "train.checkpoint_seconds"];

fn check_identity(path: &Path, job: &Job, header: &Header) -> Result<(), TrainError> {
    let mismatch = |key: &str, was: String, now: String| {
        let path = path.parent().unwrap_or(path).into();
        let [was, now] = [was, now].map(|value| quoted_text(&value).into_owned());
        Err(TrainError::Mismatch { path, key: key.into(), was, now })
    };
    let old = Config::parse(&header.config, &path.display().to_string(), &[])
        .map_err(|e| damaged(path, format!("its configuration cannot be read: {e}")))?;
    let whole = old.smoothing.sigma_end != Some(old.smoothing.sigma) || old.train.schedule.spans_the_run();
    for difference in old.differences(&job.config) {
        let free = match difference.key.as_str() {
            // A run may be made longer (or shorter, down to where it is) unless a schedule spans all of it.
            "train.epochs" => !whole && job.config.train.epochs >= header.epoch + header.position.min(1),
            key => FREE.contains(&key),
        };
        if !free {
            return mismatch(&difference.key, difference.first, difference.second);
        }
    }
    let network = network_hash(job);
    if network != header.network {
        return mismatch("network description (sha256)", header.network.clone(), network);
    }
    let data = data_identity(job);
    if data != header.data {
        return mismatch("training data", header.data.clone(), data);
    }
    if job.engine.name() != header.engine {
        return mismatch("engine", header.engine.clone(), job.engine.name().into());
    }
    Ok(())
}
