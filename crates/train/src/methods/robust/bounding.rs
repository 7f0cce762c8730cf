//! The bounded part of a loss: margins over the perturbations, or over a small box in them.

use std::borrow::Cow;

use tightrope_engine::{
    BoundRequest, Bounds, Cotangents, Gradients, LayerBounds, LayerCotangent, Loaded, Norm, Region, Relaxation,
    SlopeAscent, Spec, Tape, Wants,
};

use crate::TrainError;
use crate::methods::{Minibatch, scaled};

/// How margins are bounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::methods) struct Bounding {
    /// The relaxation.
    pub(in crate::methods) relaxation: Relaxation,
    /// λ in (0, 1]: the part of ε that boxes around worst points have as radius (SABR); 1 for all perturbations.
    pub(in crate::methods) box_share: f64,
    /// ReLU shrinkage c in (0, 1] of interval bounds; 1 for bounds that hold.
    pub(in crate::methods) shrinkage: f64,
    /// How lower slopes are optimised at every evaluation, through which no gradient goes.
    pub(in crate::methods) ascent: Option<SlopeAscent>,
    /// Bound the cross-entropy by one linear form in place of margins, by CROWN-IBP.
    pub(in crate::methods) fused: bool,
    /// Weight β of the relaxation's margins beside IBP's at the start and at the end of the warm-up.
    pub(in crate::methods) beta: [f64; 2],
}

/// Margins with what their gradient needs.
pub(super) struct Bounded {
    /// m̲, `[N, K]`, 0 at the label.
    pub(super) margins: Vec<f32>,
    /// Passes of which the margins are the weighted sum.
    passes: Vec<Pass>,
}

struct Pass {
    weight: f64,
    bounds: Bounds<f32>,
    tape: Option<Tape>,
}

impl Bounding {
    /// All perturbations by `relaxation` alone.
    pub(in crate::methods) fn by(relaxation: Relaxation) -> Self {
        Bounding { relaxation, box_share: 1.0, shrinkage: 1.0, ascent: None, fused: false, beta: [1.0; 2] }
    }

    /// True if the boxes are those around worst points.
    pub(super) fn takes_points(&self) -> bool {
        self.box_share < 1.0
    }

    /// True if the margins hold for all perturbations.
    pub(super) fn sound(&self) -> bool {
        !self.takes_points() && self.shrinkage == 1.0
    }

    /// The one request whose bounds are the margins, if there is one.
    pub(super) fn request(&self) -> Option<BoundRequest> {
        (self.beta == [1.0; 2] && !self.takes_points() && !self.fused).then(|| self.lower(self.relaxation))
    }

    fn lower(&self, relaxation: Relaxation) -> BoundRequest {
        let ascent = self.ascent.filter(|_| relaxation == self.relaxation);
        BoundRequest { shrinkage: self.shrinkage, ascent, ..BoundRequest::lower(relaxation) }
    }

    /// The sets that margins are bounded over; small boxes are those of radius λε around `points [N, d]`, which are moved
    /// until the boxes lie in the balls of radius ε, and cut at the data range.
    pub(super) fn region<'r>(
        &self,
        batch: &'r Minibatch<'_>,
        points: Option<&[f32]>,
    ) -> Result<Cow<'r, Region<f32>>, TrainError> {
        let Some(points) = points.filter(|_| self.takes_points()) else { return Ok(Cow::Borrowed(batch.region()?)) };
        let threat = &batch.threat;
        if threat.norm != Norm::Inf {
            return Err(TrainError::value(
                "norm",
                format!("{:?}", threat.norm),
                "small boxes around worst points lie in ℓ∞ balls alone; set norm = \"inf\", or the method's share to 1",
            ));
        }
        let reach = ((1.0 - self.box_share) * f64::from(threat.epsilon)) as f32;
        let moved = batch.inputs.iter().zip(points).map(|(&x, &point)| point.max(x - reach).min(x + reach));
        // Points are in the data range already; only rounding can take one out of it again.
        let moved: Vec<f32> = match threat.clip {
            Some((low, high)) => moved.map(|value| value.max(low).min(high)).collect(),
            None => moved.collect(),
        };
        let dimension = batch.inputs.len() / batch.labels.len().max(1);
        let radius = (self.box_share * f64::from(threat.epsilon)) as f32;
        Ok(Cow::Owned(Region::ball(&moved, dimension, radius, threat.norm, threat.clip)?))
    }

    /// Margins over `region`, with bounds of the layers if wanted, and with tapes if `taped`.
    pub(super) fn bound(
        &self,
        batch: &Minibatch<'_>,
        at: &dyn Loaded<f32>,
        region: &Region<f32>,
        layers: bool,
        taped: bool,
    ) -> Result<Bounded, TrainError> {
        let spec = Spec::Margins { labels: batch.labels.to_vec() };
        let beta = self.beta[0] + (self.beta[1] - self.beta[0]) * batch.warmup.time;
        let parts = [(beta, self.relaxation), (1.0 - beta, Relaxation::Ibp)];
        let mut passes: Vec<Pass> = Vec::new();
        for (weight, relaxation) in parts.into_iter().filter(|(weight, _)| *weight > 0.0) {
            let request = BoundRequest { layers: layers && passes.is_empty(), ..self.lower(relaxation) };
            let (bounds, tape) = match taped {
                true => {
                    let (bounds, tape) = at.bound_taped(region, &spec, request)?;
                    (bounds, Some(tape))
                }
                false => (at.bound(region, &spec, request)?, None),
            };
            passes.push(Pass { weight, bounds, tape });
        }
        let margins = match &mut passes[..] {
            [only] => std::mem::take(&mut only.bounds.lower),
            _ => {
                let mut sum = vec![0.0; batch.labels.len() * at.network().output_len()];
                for pass in &passes {
                    let weight = pass.weight as f32;
                    sum.iter_mut().zip(&pass.bounds.lower).for_each(|(s, &m)| *s += weight * m);
                }
                sum
            }
        };
        Ok(Bounded { margins, passes })
    }
}

impl Bounded {
    /// The bounds of the layers, if they were wanted.
    pub(super) fn layers(&self) -> &[LayerBounds<f32>] {
        self.passes.first().map_or(&[], |pass| &pass.bounds.layers)
    }

    /// Gradients of cotangents on the margins and on the bounds of layers; one per pass.
    pub(super) fn pull(
        &self,
        at: &dyn Loaded<f32>,
        margins: &[f32],
        mut layers: Vec<LayerCotangent<f32>>,
        wants: Wants,
    ) -> Result<Vec<Gradients<f32>>, TrainError> {
        let mut gradients = Vec::with_capacity(self.passes.len());
        for pass in &self.passes {
            let Some(tape) = &pass.tape else { continue };
            let lower = match self.passes.len() {
                1 => margins.to_vec(),
                _ => scaled(margins.to_vec(), pass.weight),
            };
            // Layers were bounded by the first pass.
            let cotangents = Cotangents { layers: std::mem::take(&mut layers), ..Cotangents::on_lower(lower) };
            gradients.push(at.vjp(tape, &cotangents, wants)?);
        }
        Ok(gradients)
    }
}
