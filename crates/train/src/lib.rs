//! Training of certifiably robust networks: losses, smoothed gradients, optimiser, schedules and the run itself.
//!
//! A run is a pure function of its [`Config`], the network, the data and the engine: the same bits
//! for any number of threads, and after any interruption and resumption.
//!
//! ```
//! use std::sync::Arc;
//!
//! use tightrope_data::{Split, load};
//! use tightrope_engine::Reference;
//! use tightrope_train::{Config, Job, Silent, train};
//!
//! let overrides = ["dataset=digits", "model=mlp", "limit_train=64", "train.epochs=1", "train.eval_limit=32"];
//! let config = Config::parse("", "(inline)", &overrides.map(String::from))?;
//! let split = |split| load("digits", split, None).map(Arc::new);
//! let job = Job::new(&config, Arc::new(Reference), split(Split::Train)?, Some(split(Split::Test)?))?;
//! let outcome = train(&job, None, &mut Silent)?;
//! assert_eq!(outcome.metrics.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accumulate;
mod augment;
mod average;
mod batches;
mod collapse;
mod config;
mod divergence;
mod error;
mod estimate;
mod evaluate;
mod loss;
pub mod methods;
pub mod optimiser;
mod population;
mod progress;
pub mod recipe;
mod run;
pub mod schedule;
pub mod smoothing;
mod splits;
mod state;
mod statistics;
mod trainer;

pub use augment::CropPadding;
pub use average::{Average, AverageKind};
pub use config::{
    Clip, Config, DataSection, Difference, Init, Key, MethodSection, NormName, Range, Scheduled, Setting,
    SmoothingSection, TrainSection, Values, WarmupSection,
};
pub use error::TrainError;
pub use estimate::{Estimator, StepEstimate, estimate};
pub use evaluate::{Evaluation, evaluate};
pub use loss::{CertifiedLoss, NaturalLoss, certified_cross_entropy, cross_entropy};
pub use optimiser::{Optimiser, OptimiserKind};
pub use progress::{EpochMetrics, Flow, Plan, Progress, Silent, StepReport, TestMetrics};
pub use run::{CHECKPOINT_FILE, CONFIG_FILE, EVENTS_FILE, MANIFEST_FILE, METRICS_FILE, RunFolder};
pub use schedule::LrSchedule;
pub use smoothing::SmoothingKind;
pub use state::{State, Tally};
pub use trainer::{Initial, Job, Outcome, train};
