//! Trains neural networks that are provably robust to input perturbations, and proves it.
//!
//! Five verbs, a few lines each: [`load`] a model, [`bound`] its margins (or search [`certified_radii`]), [`train`] a
//! network, [`certify`] a data set, [`verify`] a property. What they work on comes from the crates below, which are
//! re-exported: [`network`], [`engine`], [`onnx`], [`data`], [`training`], [`attack`], [`verification`], [`vnnlib`],
//! [`certificate`].
//!
//! A network trained by interval bounds on the embedded digits, and the share of test images that is certified:
//!
//! ```
//! use tightrope::{Config, Relaxation, Split, Stage, ThreatModel, certify, dataset, train};
//!
//! let overrides = ["dataset=digits", "model=mlp", "limit_train=256", "train.epochs=2", "eps=0.02"];
//! let config = Config::parse("", "(inline)", &overrides.map(String::from))?;
//! let outcome = train(&config)?;
//!
//! let threat = ThreatModel::new(config.norm(), config.eps, Some((0.0, 1.0)));
//! let test = dataset("digits", Split::Test)?.limit(50);
//! let certified = certify(&outcome.model, &test, threat, &[Stage::Pgd, Stage::Bound(Relaxation::Crown)])?;
//! assert!(certified.summary.certified.value <= certified.summary.adversarial.value);
//! # Ok::<(), tightrope::Error>(())
//! ```

mod bounding;
mod certifying;
mod error;
mod model;
mod optimised;
mod outputs;
mod radius;
mod threads;
mod training_run;
mod verifying;

pub use tightrope_attack as attack;
pub use tightrope_certificate as certificate;
pub use tightrope_data as data;
pub use tightrope_engine as engine;
pub use tightrope_network as network;
pub use tightrope_onnx as onnx;
pub use tightrope_train as training;
pub use tightrope_verify as verification;
pub use tightrope_vnnlib as vnnlib;

pub use bounding::{bound, default_engine};
pub use certifying::{Certified, certify, log_settings, norm_name, radius_value};
pub use error::Error;
pub use model::{checksum, load, load_exact, load_trainable};
pub use optimised::{Optimised, lower_to, raise_to};
pub use outputs::{check_outputs, check_outside, check_records};
pub use radius::{CertifiedRadius, certified_radii};
pub use threads::check_threads;
pub use training_run::{dataset, train, train_on};
pub use verifying::{Counterexample, Verified, verify, verify_watched};

pub use tightrope_attack::{Radius, ThreatModel};
pub use tightrope_data::{Dataset, Split};
pub use tightrope_engine::{Bounds, Norm, Relaxation};
pub use tightrope_network::{Model, Network};
pub use tightrope_train::{Config, Outcome};
pub use tightrope_verify::Stage;
pub use tightrope_verify::complete::Settings;
pub use tightrope_vnnlib::Property;
