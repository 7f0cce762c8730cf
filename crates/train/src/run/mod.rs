//! The run folder: configuration, metrics, checkpoint, model and manifest of one run.

mod checkpoint;
mod folder;
mod manifest;
mod metrics;
mod tensorboard;

pub use folder::RunFolder;
pub(crate) use manifest::seconds_since_1970;

/// The resolved configuration.
pub const CONFIG_FILE: &str = "config.toml";
/// One JSON line per epoch.
pub const METRICS_FILE: &str = "metrics.jsonl";
/// The same metrics for TensorBoard.
pub const EVENTS_FILE: &str = "events.out.tfevents.tightrope";
/// State from which the run resumes.
pub const CHECKPOINT_FILE: &str = "checkpoint.safetensors";
/// Versions, machine, data and times.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Held locked while a process trains in the folder.
const LOCK_FILE: &str = ".lock";
/// Files that belong to a run but are written by others: the network as ONNX, what `certify` finds, what a landscape is
/// known by, and the page about all of it.
const RESULT_FILES: [&str; 4] = ["model.onnx", "certify.jsonl", "landscape/landscape.json", "report.html"];
