//! The functions: a step, |x|, the DeepPoly loss of a small trained network, and that loss along a line.

use std::error::Error;
use std::sync::Arc;

use tightrope_data::{Dataset, Split, load};
use tightrope_engine::{Engine, Norm};
use tightrope_fused::Fused;
use tightrope_landscape::{Line, MethodLoss, Objective};
use tightrope_network::Network;
use tightrope_train::methods::{Method, Minibatch, StepThreat, method};
use tightrope_train::{Config, Job, MethodSection, Silent, train};

use crate::estimators::Function;

/// 0 below 0, else 1: a jump.
pub struct Step;

impl Function for Step {
    fn name(&self) -> &'static str {
        "step"
    }

    fn value(&mut self, theta: &[f32]) -> Result<f64, Box<dyn Error>> {
        Ok(if theta[0] < 0.0 { 0.0 } else { 1.0 })
    }

    fn gradient(&mut self, theta: &[f32]) -> Result<(f64, Vec<f32>), Box<dyn Error>> {
        Ok((self.value(theta)?, vec![0.0]))
    }
}

/// |x|: a kink.
pub struct AbsoluteValue;

impl Function for AbsoluteValue {
    fn name(&self) -> &'static str {
        "|x|"
    }

    fn value(&mut self, theta: &[f32]) -> Result<f64, Box<dyn Error>> {
        Ok(f64::from(theta[0].abs()))
    }

    fn gradient(&mut self, theta: &[f32]) -> Result<(f64, Vec<f32>), Box<dyn Error>> {
        Ok((self.value(theta)?, vec![theta[0].signum()]))
    }
}

/// A network trained on the embedded digits, and the batch its DeepPoly loss is looked at on.
pub struct Trained {
    /// What was trained, and how well it does.
    pub title: String,
    pub network: Network,
    pub theta: Vec<f32>,
    images: Vec<f32>,
    labels: Vec<usize>,
    method: Box<dyn Method>,
}

/// Images of the batch.
const IMAGES: usize = 16;
const EPSILON: f32 = 0.1;

impl Trained {
    /// cnn3-tiny after two epochs of standard training, seed 0: where DeepPoly has much to bound.
    pub fn standard() -> Result<Self, Box<dyn Error>> {
        let keys = ["dataset=digits", "model=cnn3-tiny", "eps=0.1", "method.name=standard", "train.epochs=2"];
        let config = Config::parse("", "(example)", &keys.map(String::from))?;
        let split = |split| load("digits", split, None).map(Arc::new);
        let (training, test): (_, Arc<Dataset>) = (split(Split::Train)?, split(Split::Test)?);
        let outcome =
            train(&Job::new(&config, Arc::new(Fused::new()?), training, Some(test.clone()))?, None, &mut Silent)?;
        let last = outcome.metrics.last().and_then(|metrics| metrics.test.as_ref()).ok_or("no evaluation")?;
        let title = format!(
            "cnn3-tiny on the digits, two epochs of standard training, natural accuracy {:.1} %; the loss is over ε = {EPSILON} on {IMAGES} \
             test images",
            100.0 * last.natural_accuracy
        );
        let (images, labels) = (test.range(0..IMAGES).into_owned(), test.labels[..IMAGES].to_vec());
        let method = method(&MethodSection { name: "deeppoly".into(), ..MethodSection::default() })?;
        let (network, theta) = (outcome.model.network, outcome.model.theta);
        Ok(Trained { title, network, theta, images, labels, method })
    }
}

impl Trained {
    /// The images with their perturbations.
    pub fn batch(&self) -> Minibatch<'_> {
        let threat = StepThreat { epsilon: EPSILON, norm: Norm::Inf, clip: Some((0.0, 1.0)) };
        Minibatch::new(&self.images, &self.labels, threat, 1.0, 0, 0)
    }
}

/// The DeepPoly loss of a network as a function of its parameters.
pub struct Loss<'a> {
    loss: MethodLoss<'a>,
}

impl<'a> Loss<'a> {
    /// Of `trained` on its `batch`.
    pub fn new(trained: &'a Trained, batch: &'a Minibatch<'a>) -> Result<Self, Box<dyn Error>> {
        let at = Fused::new()?.load(&trained.network, &trained.theta, &[])?;
        Ok(Loss { loss: MethodLoss::new(&*trained.method, batch, at) })
    }
}

impl Function for Loss<'_> {
    fn name(&self) -> &'static str {
        "DeepPoly"
    }

    fn value(&mut self, theta: &[f32]) -> Result<f64, Box<dyn Error>> {
        Ok(self.loss.value(theta)?)
    }

    fn gradient(&mut self, theta: &[f32]) -> Result<(f64, Vec<f32>), Box<dyn Error>> {
        Ok(self.loss.gradient(theta)?)
    }
}

/// A loss along a line, a function of t alone.
pub struct OnLine<'a, 'l> {
    pub loss: &'a mut Loss<'l>,
    pub line: Line<'a>,
}

impl Function for OnLine<'_, '_> {
    fn name(&self) -> &'static str {
        self.loss.name()
    }

    fn value(&mut self, theta: &[f32]) -> Result<f64, Box<dyn Error>> {
        self.loss.value(&self.line.at(f64::from(theta[0])))
    }

    fn gradient(&mut self, theta: &[f32]) -> Result<(f64, Vec<f32>), Box<dyn Error>> {
        let (value, gradient) = self.loss.gradient(&self.line.at(f64::from(theta[0])))?;
        let along: f64 = gradient.iter().zip(self.line.direction()).map(|(&g, &d)| f64::from(g) * f64::from(d)).sum();
        Ok((value, vec![along as f32]))
    }
}
