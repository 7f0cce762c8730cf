//! Attacks, the certification cascade and its crash-safe log.
//!
//! A [`Cascade`] decides samples one [`Stage`] after the other: an [`Attack`] looks for a
//! counterexample, bounds of rising cost look for a proof. Every counterexample is replayed through
//! the concrete network in f32 and f64 before it counts, and a sample is verified only by lower
//! bounds of all its margins above 0.

mod attack;
mod cascade;
pub mod complete;
mod error;
mod individual;
mod log;
mod pace;
mod projection;
mod replay;
mod stage;
mod summary;
mod target;
mod threat;

pub use attack::{Attack, AttackKind, AttackOutcome, AttackPlan};
pub use cascade::{AlphaBudget, Cascade};
pub use error::VerifyError;
pub use log::{CertifyLog, Difference, LOG_FILE, SampleRecord, Settings, Verdict};
pub use replay::{Replay, replay_counterexample};
pub use stage::Stage;
pub use summary::{Proportion, StageTotals, Summary};
pub use target::{Samples, Target};
pub use threat::ThreatModel;
