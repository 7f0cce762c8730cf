//! Adversarial attacks: what an adversary may do to an input, and the searches for what breaks a network.
//!
//! A [`ThreatModel`] says which perturbations are allowed, a [`Target`] is the network with its engines, and an
//! [`AttackPlan`] runs attacks on [`Samples`] until each is broken or nothing is left to try. A counterexample counts only
//! after it was replayed through the concrete network in f32 and f64.
//!
//! The descents themselves, [`pgd`] and [`apgd`], know neither networks nor precisions: whoever has another property to
//! break writes a [`search::Search`] of its own.

pub mod apgd;
mod attack;
mod error;
mod input_box;
mod kind;
mod objective;
pub mod pgd;
mod projection;
mod radius;
pub mod search;
mod state;
mod target;
mod threat;
mod worst;

pub use attack::{Attack, AttackPlan};
pub use error::AttackError;
pub use input_box::InputBox;
pub use kind::AttackKind;
pub use projection::Feasible;
pub use radius::Radius;
pub use state::AttackOutcome;
pub use target::{Samples, Target, margin};
pub use threat::ThreatModel;
pub use worst::{Worst, WorstPoints};
