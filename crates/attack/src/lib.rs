//! Adversarial attacks: what an adversary may do to an input, and the searches for what breaks a network.
//!
//! A [`ThreatModel`] says which perturbations are allowed, a [`Target`] is the network with its engines, and an
//! [`AttackPlan`] runs attacks on [`Samples`] until each is broken or nothing is left to try. A counterexample counts only
//! after it was replayed through the concrete network in f32 and f64.

mod apgd;
mod attack;
mod error;
mod kind;
mod objective;
mod pgd;
mod projection;
mod state;
mod target;
mod threat;

pub use attack::{Attack, AttackPlan};
pub use error::AttackError;
pub use kind::AttackKind;
pub use state::AttackOutcome;
pub use target::{Samples, Target, margin};
pub use threat::ThreatModel;
