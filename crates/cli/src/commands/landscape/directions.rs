//! `--direction`: along the gradient, at random, or towards another run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use tightrope_landscape::{MethodLoss, direction};
use tightrope_network::Model;
use tightrope_train::methods::Method;

/// What the option names.
#[derive(Debug)]
pub enum Choice {
    Gradient,
    Random,
    Towards { run: PathBuf, theta: Vec<f32> },
}

/// A direction in the space of θ.
#[derive(Debug)]
pub struct Direction {
    /// The kind, as files tell it.
    pub kind: &'static str,
    /// The run that it leads to.
    pub towards: Option<PathBuf>,
    /// In words.
    pub title: String,
    /// Name of an axis along it.
    pub axis: String,
    /// The direction, `[|θ|]`.
    pub vector: Vec<f32>,
}

impl Choice {
    /// Reads the option; another run must have the network of `model`.
    pub fn read(text: &str, model: &Model) -> anyhow::Result<Self> {
        match text {
            "gradient" => return Ok(Choice::Gradient),
            "random" => return Ok(Choice::Random),
            _ => {}
        }
        let run = Path::new(text);
        ensure!(run.exists(), "direction {text}: is neither `gradient` nor `random`, and there is no such run folder");
        let other = tightrope::load_trainable(run).with_context(|| format!("direction {text}"))?;
        if other.network != model.network {
            bail!(
                "direction {text}: its network has another architecture ({} parameters, {} layers) than this one ({} and {}); \
                 give a run of the same",
                other.network.parameters().total(),
                other.network.nodes().len(),
                model.network.parameters().total(),
                model.network.nodes().len()
            );
        }
        Ok(Choice::Towards { run: run.into(), theta: other.theta })
    }

    /// The range that is drawn unless told.
    pub fn default_range(&self) -> (f64, f64) {
        match self {
            Choice::Gradient => (-0.1, 0.1),
            Choice::Random => (-1.0, 1.0),
            Choice::Towards { .. } => (-0.5, 1.5),
        }
    }

    /// The direction at the θ of `model`; the gradient is that of `loss`, the loss of `method`, and `index` is the number of
    /// random directions before.
    pub fn direction(
        &self,
        model: &Model,
        method: &dyn Method,
        loss: &mut MethodLoss<'_>,
        seed: u64,
        index: u64,
    ) -> anyhow::Result<Direction> {
        let theta = &model.theta;
        Ok(match self {
            Choice::Gradient => {
                ensure!(
                    method.differentiable(),
                    "the loss of the run's method has no gradient of use; give --direction random or a run"
                );
                let (_, gradient) = loss.gradient(theta)?;
                let vector = direction::along_gradient(&gradient, theta).context("the gradient of the run's method")?;
                let title = format!("the gradient of {}, as long as θ", method.name());
                Direction {
                    kind: "gradient",
                    towards: None,
                    title,
                    axis: "t along the gradient (lengths of θ)".into(),
                    vector,
                }
            }
            Choice::Random => {
                let vector = direction::random(&model.network, theta, seed, index);
                let title = "a random direction with the norms of the filters".into();
                Direction {
                    kind: "random",
                    towards: None,
                    title,
                    axis: format!("t along random direction {}", index + 1),
                    vector,
                }
            }
            Choice::Towards { run, theta: other } => {
                let vector =
                    direction::towards(theta, other).with_context(|| format!("direction {}", run.display()))?;
                let title = format!("the way to {}, which lies at 1", run.display());
                let axis = "t from this run (0) to the other (1)".into();
                Direction { kind: "run", towards: Some(run.clone()), title, axis, vector }
            }
        })
    }
}
