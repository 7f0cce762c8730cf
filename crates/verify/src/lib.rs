//! The certification cascade with its crash-safe log, and complete verification.
//!
//! A [`Cascade`] decides samples one [`Stage`] after the other: an [attack](tightrope_attack::Attack) looks for a
//! counterexample, bounds of rising cost look for a proof. Every counterexample is replayed through
//! the concrete network in f32 and f64 before it counts, and a sample is verified only by lower
//! bounds of all its margins above 0.

mod cascade;
pub mod complete;
mod error;
mod replay;

pub use cascade::log::{CertifyLog, Difference, LOG_FILE, LogSettings, SampleRecord, Verdict};
pub use cascade::parts::{MergedLogs, Part, merge_logs};
pub use cascade::stage::Stage;
pub use cascade::summary::{StageTotals, Summary};
pub use cascade::{AlphaBudget, Cascade};
pub use error::VerifyError;
pub use replay::{Replay, replay_counterexample};
