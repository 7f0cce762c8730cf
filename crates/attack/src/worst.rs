//! The worst points of a batch, for training: the highest loss that each sample's descents meet, broken or not.

use tightrope_engine::{Cotangents, EngineError, Loaded, Wants};

use crate::kind::Loss;
use crate::objective::Objective;
use crate::pgd::{self, StepSizes};
use crate::search::{Evaluated, FeasibleSet, Search};

/// Which point is the worst.
#[derive(Clone, Copy, Debug)]
pub enum Worst<'a> {
    /// The one of the highest cross-entropy against the label.
    CrossEntropy,
    /// The one where the class `rivals[i]` comes closest to, or furthest above, the label of start i.
    Rivals(&'a [usize]),
}

/// Projected gradient descents towards the worst points.
#[derive(Clone, Copy)]
pub struct WorstPoints<'a> {
    /// The network.
    pub at: &'a dyn Loaded<f32>,
    /// One label per start.
    pub labels: &'a [usize],
    /// What is sought.
    pub worst: Worst<'a>,
    /// Gradient steps of each descent; 0 leaves the starts themselves.
    pub steps: usize,
    /// Their sizes in units of the sets.
    pub sizes: StepSizes,
}

impl WorstPoints<'_> {
    /// The worst point `[starts, d]` met by a descent from each restart's points, where start i stays in `sets[i]`;
    /// `starts` gives the first points `[starts, d]` of a restart. Where losses are no numbers, it is a first point.
    ///
    /// # Errors
    /// If points, labels and network do not fit each other.
    pub fn find<S: FeasibleSet<f32>>(
        &self,
        sets: &[S],
        restarts: usize,
        starts: impl Fn(usize) -> Vec<f32>,
    ) -> Result<Vec<f32>, EngineError> {
        EngineError::check_length("labels", self.labels.len(), sets.len())?;
        let objective = match self.worst {
            Worst::CrossEntropy => Objective { loss: Loss::CrossEntropy, targets: None },
            Worst::Rivals(rivals) => {
                EngineError::check_length("rivals", rivals.len(), sets.len())?;
                Objective { loss: Loss::Margin, targets: Some(rivals.to_vec()) }
            }
        };
        let mut search = WorstSearch {
            at: self.at,
            labels: self.labels,
            objective,
            sets,
            least: vec![f64::INFINITY; sets.len()],
            points: Vec::new(),
        };
        for restart in 0..restarts {
            let (active, first) = ((0..sets.len()).collect(), starts(restart));
            if restart == 0 {
                search.points.clone_from(&first);
            }
            pgd::descend(&mut search, self.steps, self.sizes, active, first)?;
        }
        Ok(search.points)
    }
}

struct WorstSearch<'a, S> {
    at: &'a dyn Loaded<f32>,
    labels: &'a [usize],
    objective: Objective,
    sets: &'a [S],
    /// The least value of the objective so far.
    least: Vec<f64>,
    /// Where it was met.
    points: Vec<f32>,
}

impl<S> WorstSearch<'_, S> {
    /// Keeps what is worse than all before; returns the objective's values and derivatives.
    fn observe(&mut self, active: &[usize], points: &[f32], logits: &[f32]) -> (Vec<f64>, Vec<f32>) {
        let (d, classes) = (self.at.network().input_len(), self.at.network().output_len());
        let mut losses = Vec::with_capacity(active.len());
        let mut cotangents = Vec::with_capacity(logits.len());
        for ((&i, logits), point) in active.iter().zip(logits.chunks(classes)).zip(points.chunks(d)) {
            let (loss, cotangent) = self.objective.evaluate(i, logits, self.labels[i]);
            if loss < self.least[i] {
                self.least[i] = loss;
                self.points[i * d..(i + 1) * d].copy_from_slice(point);
            }
            losses.push(loss);
            cotangents.extend(cotangent);
        }
        (losses, cotangents)
    }
}

impl<S: FeasibleSet<f32>> Search<f32> for WorstSearch<'_, S> {
    type Set<'s>
        = &'s S
    where
        Self: 's;
    type Error = EngineError;

    fn set(&self, start: usize) -> &S {
        &self.sets[start]
    }

    fn evaluate(&mut self, active: &[usize], points: &[f32]) -> Result<Evaluated<f32>, EngineError> {
        let (logits, tape) = self.at.forward_taped(points)?;
        let (losses, cotangents) = self.observe(active, points, &logits);
        let gradients = self.at.vjp(&tape, &Cotangents::on_lower(cotangents), Wants::INPUT)?;
        let gradients =
            gradients.input.ok_or_else(|| EngineError::Usage("the engine returned no input gradient".into()))?;
        Ok(Evaluated { going_on: (0..active.len()).collect(), losses, gradients })
    }

    fn finish(&mut self, active: &[usize], points: &[f32]) -> Result<(), EngineError> {
        let logits = self.at.forward(points)?;
        self.observe(active, points, &logits);
        Ok(())
    }
}
