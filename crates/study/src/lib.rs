//! Studies: tables of training configurations over seeds, and what they say of claims.
//!
//! A [`Study`] is a data file: *blocks* (a data set, a radius, a network) with *rows* (estimators, say) and *columns*
//! (relaxations, say) of settings; a *cell* is a row of a column, trained and certified with several seeds. Cells of a
//! block are the trials of one [sweep](tightrope_sweep). [`Results`] reads what came out, and [`Results::verdicts`] holds
//! the study's claims against it.

mod claim;
mod definition;
mod error;
mod figures;
mod latex;
mod mark;
mod markdown;
mod merge;
mod results;
mod spread;
mod study;
mod write;

pub use claim::{Claim, Verdict, VerdictKind};
pub use error::StudyError;
pub use merge::merge;
pub use results::{BlockResults, CellResults, Data, Results, TrialResults};
pub use study::{Block, Cell, Certify, Study, builtin, builtins};
pub use write::write;
