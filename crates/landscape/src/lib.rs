//! Loss landscapes: a training loss along lines and over planes through θ, original and Gaussian-smoothed, and metrics of it.
//!
//! A [`Probe`] evaluates an [`Objective`], such as the loss of a training method, at θ + t·d; with [`Smoothing`] it estimates
//! E L(θ + t·d + δ), δ ~ N(0, σ²I), from antithetic pairs that are the same at every t and, up to their scale, for every σ
//! (common random numbers), so that differences along the line are not drowned in noise. [`Curve`] is a sampled line with its
//! [`Metrics`].
//!
//! ```
//! use tightrope_landscape::{Analytic, Curve, Line, Plan, Probe};
//!
//! // |x| along the line from −1 to 1: one kink, at 0, where the slope changes by 2; no jump.
//! let mut loss = Analytic(|theta: &[f32]| f64::from(theta[0]).abs());
//! let line = Line::new(&[0.0], &[1.0])?;
//! let curve = Curve::take(&mut Probe::new(&mut loss), &line, None, &Plan { range: (-1.0, 1.0), ..Plan::default() })?;
//! assert!(curve.metrics.jumps.is_empty());
//! assert!((curve.metrics.kinks[0].size - 2.0).abs() < 1e-3);
//! # Ok::<(), tightrope_landscape::LandscapeError>(())
//! ```

mod curve;
pub mod direction;
mod draw;
mod error;
pub mod metrics;
mod objective;
mod plane;
mod probe;
mod slice;

pub use curve::{Curve, Plan};
pub use draw::{curve_chart, plane_chart};
pub use error::LandscapeError;
pub use metrics::Metrics;
pub use objective::{Analytic, MethodLoss, Objective};
pub use plane::{Plane, PlanePlan};
pub use probe::{Line, Probe, Smoothing, Value};
pub use slice::Slice;
