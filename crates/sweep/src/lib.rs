//! Sweeps: many training configurations, each trained and certified in processes of its own, and what came out.
//!
//! A *configuration* is a choice of values for the [axes](Axis) of a [`Plan`]; a *trial* is a configuration with one seed.
//! [`Sweep`] is a folder with a journal, which one process at a time works on. [`Sweep::run`] runs the trials,
//! [`Sweep::ask`] and [`Sweep::tell`] leave that to somebody else. [`Summary`] has the fronts and their hypervolumes.

mod ask;
mod child;
mod error;
mod folder;
mod journal;
mod lock;
mod plan;
mod results;
mod run;
mod sampler;
mod space;
mod summary;

pub use error::SweepError;
pub use folder::{Shard, Sweep};
pub use journal::{Measured, Outcome, TrialRecord};
pub use plan::{Listed, Objective, Plan, Strategy, Trial};
pub use run::{Commands, Event, Run};
pub use space::{Axis, Domain, Parameters, setting};
pub use summary::{ConfigurationSummary, Summary};
