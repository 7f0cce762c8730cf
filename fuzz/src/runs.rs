//! The entries for files that a run, a certification or a sweep has left: continued, and read for a report.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tightrope_attack::{Attack, Samples, Target, ThreatModel};
use tightrope_data::{Dataset, Split};
use tightrope_engine::{Norm, Reference, Relaxation};
use tightrope_network::{Description, Model};
use tightrope_report::{Report, Run};
use tightrope_study::Study;
use tightrope_sweep::{Axis, Objective, Plan, Strategy, Sweep};
use tightrope_train::{Config, Job, RunFolder, Silent, train};
use tightrope_verify::{AlphaBudget, Cascade, CertifyLog, LogSettings, Stage};

use super::folders::Folder;
use super::refused;

/// Files by their names.
type Files = BTreeMap<String, Vec<u8>>;

/// Twelve images of 2×2 pixels of two classes.
fn images(split: Split) -> Arc<Dataset> {
    let pixels = (0..48).map(|i| if i / 4 % 2 == i % 2 { 0.9 } else { 0.1 }).collect();
    Arc::new(Dataset::own("fuzz", split, [1, 2, 2], 2, pixels, (0..12).map(|i| i % 2).collect()))
}

/// A run of two epochs, of two steps each.
fn job() -> Job {
    let text = "dataset = \"fuzz\"\nmodel = \"mlp:3\"\neps = 0.01\n[train]\nepochs = 2\nbatch = 6\n";
    let config = Config::parse(text, "fuzz", &[]).expect("a configuration");
    Job::new(&config, Arc::new(Reference), images(Split::Train), Some(images(Split::Test))).expect("a run")
}

/// The files of the run when it has ended.
fn ended() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = Folder::default();
        let mut run = RunFolder::create(&folder.path("run"), &["fuzz".into()]).expect("a folder");
        train(&job(), Some(&mut run), &mut Silent).expect("a run");
        drop(run);
        let entries = std::fs::read_dir(folder.path("run")).expect("a folder").map(|entry| entry.expect("a file"));
        let read = |path: &Path| std::fs::read(path).expect("a file");
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), read(&entry.path()))).collect()
    })
}

/// A whole file of the run.
pub fn file(name: &str) -> Vec<u8> {
    ended()[name].clone()
}

/// Goes on with the run, whose file `name` holds `data`.
fn resumed(name: &str, data: &[u8]) -> bool {
    let folder = Folder::default();
    for (other, bytes) in ended() {
        folder.write(&format!("run/{other}"), if other == name { data } else { bytes });
    }
    let outcome = RunFolder::resume(&folder.path("run"), &["fuzz".into()]).and_then(|mut run| {
        let outcome = train(&job(), Some(&mut run), &mut Silent)?;
        assert!(outcome.finished && outcome.model.theta.iter().all(|value| value.is_finite()));
        Ok(())
    });
    outcome.map_or_else(refused, |()| true)
}

/// A checkpoint.
pub fn checkpoint(data: &[u8]) -> bool {
    resumed("checkpoint.safetensors", data)
}

/// A checkpoint whose checksum is mended where it can still be read, so that what it says is met.
pub fn resealed_checkpoint(data: &[u8]) -> bool {
    let header = |text: &str| text.to_string();
    checkpoint(&resealed(data, header).unwrap_or_else(|| data.to_vec()))
}

/// What the header of a checkpoint says, in a checkpoint that is whole but for it.
pub fn checkpoint_header(data: &[u8]) -> bool {
    let header = |_: &str| String::from_utf8_lossy(data).into_owned();
    checkpoint(&resealed(&file("checkpoint.safetensors"), header).expect("a checkpoint"))
}

/// The header of a whole checkpoint.
pub fn whole_header() -> Vec<u8> {
    let bytes = file("checkpoint.safetensors");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a checkpoint");
    metadata.metadata().as_ref().expect("a header")["tightrope"].clone().into_bytes()
}

/// The checkpoint `data` with its header changed by `header` and the checksum over that and the tensors, where `data` is a
/// safetensors file; a header that is no JSON object stays as it is.
fn resealed(data: &[u8], header: impl Fn(&str) -> String) -> Option<Vec<u8>> {
    let (_, metadata) = SafeTensors::read_metadata(data).ok()?;
    let text = header(metadata.metadata().as_ref()?.get("tightrope")?);
    let tensors = SafeTensors::deserialize(data).ok()?;
    let mut sealed = text.clone();
    if let Ok(Value::Object(mut fields)) = serde_json::from_str(&text) {
        fields.insert("checksum".into(), "".into());
        let mut hash = Sha256::new();
        hash.update(serde_json::to_vec(&fields).expect("JSON"));
        // In the order of the format.
        let known = ["theta", "adam.first", "adam.second", "sgd.velocity", "tally.loss"];
        known.iter().filter_map(|name| tensors.tensor(name).ok()).for_each(|tensor| hash.update(tensor.data()));
        let checksum: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        fields.insert("checksum".into(), checksum.into());
        sealed = serde_json::to_string(&fields).expect("JSON");
    }
    let metadata = HashMap::from([("tightrope".to_string(), sealed)]);
    Some(safetensors::serialize(tensors.tensors(), Some(metadata)).expect("tensors that were read"))
}

/// The metrics of a run that goes on, and that is reported.
pub fn metrics(data: &[u8]) -> bool {
    reported("metrics.jsonl", data);
    resumed("metrics.jsonl", data)
}

/// The manifest of a run that goes on, and that is reported.
pub fn manifest(data: &[u8]) -> bool {
    reported("manifest.json", data);
    resumed("manifest.json", data)
}

/// The event file of a run that goes on.
pub fn events(data: &[u8]) -> bool {
    resumed("events.out.tfevents.tightrope", data)
}

/// The configuration of a run that is reported; whether all of it was read.
pub fn reported_config(data: &[u8]) -> bool {
    reported("config.toml", data)
}

/// A landscape that is reported; whether it was read.
pub fn landscape(data: &[u8]) -> bool {
    reported("landscape/landscape.json", data)
}

/// Makes a report of the run, whose file `name` holds `data`; whether it has nothing to remark.
fn reported(name: &str, data: &[u8]) -> bool {
    let folder = Folder::default();
    ended().iter().for_each(|(other, bytes)| folder.write(&format!("run/{other}"), bytes));
    folder.write(&format!("run/{name}"), data);
    // The drawing that a landscape of IBP names.
    folder.write("run/landscape/ibp.svg", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>");
    let run = Run::read(&folder.path("run"));
    assert!(run.remarks.iter().all(|remark| remark.len() < 4000));
    let report = Report { runs: vec![run], ..Report::default() };
    assert!(report.html().ends_with("</html>\n"));
    report.all_remarks().is_empty()
}

/// The network of the certification.
fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let text =
            "input = [1, 2, 2]\n[[layers]]\nkind = \"flatten\"\n[[layers]]\nkind = \"linear\"\nout_features = 2\n";
        let network = Description::from_toml(text, "fuzz").and_then(|text| text.build()).expect("a network");
        Model::new(network, vec![1.0, -1.0, 1.0, -1.0, -1.0, 1.0, -1.0, 1.0, 0.0, 0.0])
    })
}

fn settings() -> LogSettings {
    LogSettings::from([("eps".to_string(), 0.01.into()), ("norm".to_string(), "inf".into())])
}

/// Certifies into the log at `path`, which exists if `done`.
fn certify(path: &Path, done: bool) -> Result<(), tightrope_verify::VerifyError> {
    let cascade = Cascade {
        stages: vec![Stage::Bound(Relaxation::Ibp)],
        attack: Attack::default(),
        threat: ThreatModel::new(Norm::Inf, 0.01, None),
        timeout: None,
        alpha: AlphaBudget::default(),
    };
    let (mut log, records) = match done {
        true => CertifyLog::resume(path, &settings())?,
        false => (CertifyLog::create(path, &settings())?, Vec::new()),
    };
    let (set, target) = (images(Split::Test), Target::new(model(), &Reference, &Reference)?);
    let (indices, images): (Vec<u64>, _) = ((0..set.len() as u64).collect(), set.images());
    let samples = Samples { indices: &indices, inputs: &images, labels: &set.labels };
    cascade
        .run(&target, &samples, &mut log, &records, |_| ControlFlow::Continue(()))
        .map(|records| assert!(records.len() >= set.len()))
}

/// A whole log of a certification.
pub fn whole_log() -> Vec<u8> {
    let folder = Folder::default();
    certify(&folder.path("certify.jsonl"), false).expect("a certification");
    std::fs::read(folder.path("certify.jsonl")).expect("a log")
}

/// A log of a certification that goes on, and that is reported.
pub fn certify_log(data: &[u8]) -> bool {
    reported("certify.jsonl", data);
    let folder = Folder::default();
    folder.write("certify.jsonl", data);
    certify(&folder.path("certify.jsonl"), true).map_or_else(refused, |()| true)
}

/// A sweep of four trials in `folder`.
fn sweep(folder: &Folder) -> Sweep {
    let plan = Plan {
        axes: vec![Axis::values("train.lr=1e-3,2e-3").expect("an axis")],
        listed: Vec::new(),
        strategy: Strategy::Grid,
        seeds: 2,
        seed: 0,
        objectives: vec![Objective::Natural, Objective::Certified],
        setting: BTreeMap::new(),
    };
    Sweep::begin(&folder.path("sweep"), plan, None, false).expect("a sweep")
}

/// What is told of a trial.
pub const TOLD: &str = r#"{"trial": 0, "natural": 0.9, "adversarial": 0.8, "certified": 0.75, "samples": 100}"#;

/// The journal of a sweep, three of whose trials were asked for and one told.
pub fn whole_journal() -> Vec<u8> {
    let folder = Folder::default();
    let mut sweep = sweep(&folder);
    (0..3).for_each(|_| drop(sweep.ask(false).expect("a trial")));
    sweep.tell(TOLD).expect("a trial");
    std::fs::read(folder.path("sweep/journal.jsonl")).expect("a journal")
}

/// The journal of a sweep, which goes on by being asked and told.
pub fn journal(data: &[u8]) -> bool {
    let folder = Folder::default();
    folder.write("sweep/journal.jsonl", data);
    let outcome = Sweep::open(&folder.path("sweep")).and_then(|mut sweep| {
        if let Some(trial) = sweep.ask(false)? {
            sweep.tell(&format!("{{\"trial\": {}, \"failed\": \"fuzz\"}}", trial.number))?;
        }
        sweep.write_results()?;
        sweep.summary()
    });
    outcome.map_or_else(refused, |_| true)
}

/// The same with the checksums of its lines mended, so that what they say is met.
pub fn resealed_journal(data: &[u8]) -> bool {
    const KEY: &[u8] = b",\"crc32c\":\"";
    let mut whole = Vec::new();
    for line in data.split_inclusive(|&byte| byte == b'\n') {
        match line.windows(KEY.len()).rposition(|window| window == KEY) {
            Some(at) => {
                let checksum = crc32c::crc32c(&[&line[..at], b"}"].concat());
                whole.extend([&line[..at + KEY.len()], format!("{checksum:08x}\"}}\n").as_bytes()].concat());
            }
            None => whole.extend(line),
        }
    }
    journal(&whole)
}

/// A line that tells a sweep of a trial.
pub fn told(data: &[u8]) -> bool {
    let folder = Folder::default();
    let mut sweep = sweep(&folder);
    drop(sweep.ask(false).expect("a trial"));
    sweep.tell(&String::from_utf8_lossy(data)).is_ok()
}

/// What says which study a folder holds.
pub const MARK: &str = r#"{"study":"rate","profile":"smoke"}"#;

/// The mark of a folder of a study, which may be this study's or another's; whether it is this one's.
pub fn study_mark(data: &[u8]) -> bool {
    static STUDY: OnceLock<Study> = OnceLock::new();
    let study = STUDY.get_or_init(|| Study::load("rate", "smoke").expect("a study"));
    let folder = Folder::default();
    folder.write("study.json", data);
    match study.is_in(&folder.path("")) {
        Ok(there) => {
            assert!(there, "the mark was not seen");
            true
        }
        Err(error) => refused(error),
    }
}
