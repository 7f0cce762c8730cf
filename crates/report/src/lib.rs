//! Training and certification runs as one self-contained HTML page: curves, stages, Pareto front, samples, configuration.

mod certification;
mod error;
mod image;
mod page;
mod problem;
mod run;
mod samples;
pub mod svg;
mod text;

pub use certification::{Certification, Record, StageTotals, Verdict};
pub use error::ReportError;
pub use page::Report;
pub use problem::{Front, Outcome, fronts};
pub use run::{Epoch, Evaluation, Landscape, LandscapeCurve, Manifest, Run, Session, read_runs};
pub use samples::{Sample, Samples};
