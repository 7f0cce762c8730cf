//! Why there is no report.

use std::path::PathBuf;

/// A place that no run can be read from; what is damaged within a run is a remark on the page instead.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Nothing was named.
    #[error("no run is named; give a run folder, or a folder that holds some")]
    Nothing,
    /// A path that is no folder.
    #[error("{}: {problem}; give a run folder, or a folder that holds some", path.display())]
    NoFolder {
        /// The path.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A folder without a run.
    #[error(
        "{}: there is no run in it, nor up to {depth} folders deeper; a run folder holds config.toml, metrics.jsonl, \
         manifest.json or certify.jsonl, as `tightrope train --out FOLDER` writes them",
        path.display()
    )]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// Folders below it that were searched.
        depth: usize,
    },
}
