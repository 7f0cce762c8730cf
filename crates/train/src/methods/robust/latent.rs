//! The latent part of TAPS: worst points in the box that the layers before a cut are bounded by, pushed through those
//! behind it.

use serde::{Deserialize, Serialize};
use tightrope_attack::pgd::StepSizes;
use tightrope_attack::{InputBox, Worst, WorstPoints};
use tightrope_engine::{Cotangents, Gradients, LayerBounds, LayerCotangent, Loaded, Tape, Wants};
use tightrope_network::{Activation, Layer, Network, NodeId};
use tightrope_noise::{Purpose, Stream};

use super::attack::LARGEST_STEP;
use crate::TrainError;
use crate::config::{Setting, Values};
use crate::methods::{Minibatch, theta_of};

/// The keys of the latent part.
pub(in crate::methods) const LATENT: &[Setting] = &[
    Setting::new(
        "method.latent_layers",
        Values::Whole(0, 1000),
        "activations behind the cut, in the part that is attacked; 0 for none, which is the bounds alone",
        "2",
    ),
    Setting::new("method.latent_steps", Values::Whole(0, 10_000), "gradient steps of the latent attack", "20"),
    Setting::new("method.latent_restarts", Values::Whole(1, 1000), "random starts of the latent attack", "2"),
    Setting::new(
        "method.latent_step",
        Values::POSITIVE,
        "first step of the latent attack as a part of the box's widths; it falls to a tenth",
        "0.25",
    ),
    Setting::new(
        "method.latent_link",
        Values::FACTOR,
        "part c of a latent width next to a bound, at whose end the bound's gradient vanishes",
        "1",
    ),
    Setting::new("method.latent_share", Values::WEIGHT, "share of the gradient through the latent part", "0.5"),
];

/// How latent worst points are found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::methods) struct Latent {
    /// Activations behind the cut.
    pub(in crate::methods) latent_layers: usize,
    latent_steps: usize,
    latent_restarts: usize,
    latent_step: f64,
    latent_link: f64,
    /// Share of the gradient through the latent part.
    pub(in crate::methods) latent_share: f64,
}

impl Default for Latent {
    fn default() -> Self {
        Latent {
            latent_layers: 1,
            latent_steps: 20,
            latent_restarts: 1,
            latent_step: 0.5,
            latent_link: 0.5,
            // 5 : 1 against the bounds.
            latent_share: 5.0 / 6.0,
        }
    }
}

/// Margins at latent worst points with what their gradient needs.
pub(super) struct LatentMargins {
    /// m̂, `[N, K]`, 0 at the label.
    pub(super) margins: Vec<f32>,
    /// The pre-activation whose bounds are the box.
    node: NodeId,
    /// Box `[N, n]` before the activation.
    lower: Vec<f32>,
    upper: Vec<f32>,
    /// The network behind the cut.
    behind: Box<dyn Loaded<f32>>,
    /// Worst points `[N·(K−1), n]` behind the activation.
    points: Vec<f32>,
    tape: Option<Tape>,
    link: f64,
}

/// How far a worst point moves with an end of the box from which it has the `distance`: wholly at the end, not at all from
/// `width` on; where the box is a point, both ends move it by half.
fn rectified_link(distance: f32, width: f32) -> f32 {
    if width > 0.0 { (1.0 - distance / width).clamp(0.0, 1.0) } else { 0.5 }
}

/// The rivals of each label in turn: `[N·(K−1)]`.
fn rivals(labels: &[usize], classes: usize) -> Vec<usize> {
    labels.iter().flat_map(|&label| (0..classes).filter(move |&j| j != label)).collect()
}

impl Latent {
    /// The last node before the part that is attacked: the ReLU before which so many activations are left.
    fn cut(&self, network: &Network) -> Result<NodeId, TrainError> {
        let activations: Vec<NodeId> =
            (0..network.nodes().len()).filter(|&id| matches!(network.node(id).layer, Layer::Activation(_))).collect();
        let refuse = |problem: String| TrainError::value("method.latent_layers", self.latent_layers, problem);
        if self.latent_layers >= activations.len() {
            let most = activations.len().saturating_sub(1);
            return Err(refuse(format!("must leave an activation before the cut: at most {most} for this network")));
        }
        let node = activations[activations.len() - 1 - self.latent_layers];
        match &network.node(node).layer {
            Layer::Activation(Activation::Relu) => Ok(node),
            other => Err(refuse(format!(
                "cuts the network behind `{}` ({}); only a ReLU can stand there",
                network.node(node).name,
                other.kind()
            ))),
        }
    }

    /// Margins at the worst points of each rival in the box of `layers`.
    pub(super) fn margins(
        &self,
        batch: &Minibatch<'_>,
        at: &dyn Loaded<f32>,
        layers: &[LayerBounds<f32>],
        taped: bool,
    ) -> Result<LatentMargins, TrainError> {
        let network = at.network();
        let cut = self.cut(network)?;
        let node = network.node(cut).inputs[0];
        let bounds = layers.iter().find(|layer| layer.node == node).ok_or_else(|| {
            TrainError::value("method.latent_layers", self.latent_layers, "cuts at a layer that has no bounds")
        })?;
        let (_, behind) = network.split_at(cut)?;
        let first = network.parameters().total() - behind.parameters().total();
        let statistics = at.buffers().len() - behind.buffers().total();
        let behind = at.load(&behind, &at.theta()[first..], &at.buffers()[statistics..])?;
        let classes = network.output_len();
        let size = network.node(cut).shape.iter().product::<usize>();
        let relu = |values: &[f32]| values.iter().map(|&v| f64::from(v.max(0.0))).collect::<Vec<f64>>();
        let (low, high) = (relu(&bounds.lower), relu(&bounds.upper));
        let sides = |row: usize| {
            let range = row * size..(row + 1) * size;
            InputBox::<f32>::inside(low[range.clone()].iter().copied().zip(high[range].iter().copied()))
        };
        let boxes: Vec<InputBox<f32>> = (0..batch.labels.len()).map(sides).collect();
        let others = classes - 1;
        let sets: Vec<&InputBox<f32>> = boxes.iter().flat_map(|set| std::iter::repeat_n(set, others)).collect();
        let labels: Vec<usize> = batch.labels.iter().flat_map(|&label| std::iter::repeat_n(label, others)).collect();
        let rivals = rivals(batch.labels, classes);
        let starts = |restart: usize| {
            let mut shares = vec![0.0; size];
            let start = |(i, set): (usize, &&InputBox<f32>)| {
                let address = (1 << 31) + restart * LARGEST_STEP + batch.first * others + i;
                Stream::new(batch.seed, Purpose::Attack, batch.step, address as u64).uniform(0, &mut shares);
                set.point_at(&shares)
            };
            sets.iter().enumerate().flat_map(start).collect()
        };
        let steps = self.latent_steps;
        let sizes = StepSizes { first: self.latent_step, last: 0.1 * self.latent_step, steps: steps.saturating_sub(1) };
        let search = WorstPoints { at: &*behind, labels: &labels, worst: Worst::Rivals(&rivals), steps, sizes };
        let points = search.find(&sets, self.latent_restarts, starts)?;
        let (logits, tape) = match taped {
            true => {
                let (logits, tape) = behind.forward_taped(&points)?;
                (logits, Some(tape))
            }
            false => (behind.forward(&points)?, None),
        };
        let mut margins = vec![0.0; batch.labels.len() * classes];
        for (start, (&rival, z)) in rivals.iter().zip(logits.chunks(classes)).enumerate() {
            margins[start / others * classes + rival] = z[labels[start]] - z[rival];
        }
        let (lower, upper) = (bounds.lower.clone(), bounds.upper.clone());
        Ok(LatentMargins { margins, node, lower, upper, behind, points, tape, link: self.latent_link })
    }
}

impl LatentMargins {
    /// The gradient of the cotangents `on_margins [N, K]`: that of the layers behind the cut, as one of the whole network,
    /// and the cotangent on the box.
    ///
    /// A worst point x' in [l, u] moves with the ends by the rectified linear link: ∂x'/∂u = clip((x' − (u − w))/w, 0, 1)
    /// with w = c·(u − l), and alike for l; the gradient is not that of a function.
    pub(super) fn pull(
        &self,
        at: &dyn Loaded<f32>,
        labels: &[usize],
        on_margins: &[f32],
        buffers: bool,
    ) -> Result<(Gradients<f32>, LayerCotangent<f32>), TrainError> {
        let mut layer =
            LayerCotangent { node: self.node, lower: vec![0.0; self.lower.len()], upper: vec![0.0; self.upper.len()] };
        let Some(tape) = &self.tape else { return Ok((Gradients::default(), layer)) };
        let classes = at.network().output_len();
        let rivals = rivals(labels, classes);
        let mut on_logits = vec![0.0; rivals.len() * classes];
        for (start, (&rival, on)) in rivals.iter().zip(on_logits.chunks_mut(classes)).enumerate() {
            let sample = start / (classes - 1);
            let cotangent = on_margins[sample * classes + rival];
            on[labels[sample]] = cotangent;
            on[rival] = -cotangent;
        }
        let wants = Wants { theta: true, input: true, buffers };
        let behind = self.behind.vjp(tape, &Cotangents::on_lower(on_logits), wants)?;
        let on_points = behind.input.unwrap_or_default();
        let size = self.behind.network().input_len();
        for (start, (on, points)) in on_points.chunks(size).zip(self.points.chunks(size)).enumerate() {
            let sample = start / (classes - 1);
            let range = sample * size..(sample + 1) * size;
            let ends = self.lower[range.clone()].iter().zip(&self.upper[range.clone()]);
            let cotangents = layer.lower[range.clone()].iter_mut().zip(&mut layer.upper[range]);
            for (((&on, &point), (&lower, &upper)), (on_lower, on_upper)) in
                on.iter().zip(points).zip(ends).zip(cotangents)
            {
                let (low, high) = (lower.max(0.0), upper.max(0.0));
                let width = self.link as f32 * (high - low);
                if lower > 0.0 {
                    *on_lower += on * rectified_link(point - low, width);
                }
                if upper > 0.0 {
                    *on_upper += on * rectified_link(high - point, width);
                }
            }
        }
        let whole = |part: Option<Vec<f32>>, total: usize| {
            part.map(|part| {
                let mut all = vec![0.0; total - part.len()];
                all.extend(part);
                all
            })
        };
        let theta = whole(Some(theta_of(behind.theta, &*self.behind)), at.theta().len());
        let buffers = whole(behind.buffers, at.buffers().len());
        Ok((Gradients { theta, buffers, ..Gradients::default() }, layer))
    }
}

#[cfg(test)]
mod tests {
    use super::{Latent, rectified_link};

    /// ∂x'/∂u = clip((x' − (u − w))/w, 0, 1), w = c(u − l), on the box [0, 2] with the default c.
    #[test]
    fn worst_points_move_with_the_end_that_they_are_near() {
        let link = Latent::default().latent_link;
        assert_eq!(link, 0.5);
        let width = (link * 2.0) as f32;
        for (point, on_upper, on_lower) in
            [(2.0, 1.0, 0.0), (1.5, 0.5, 0.0), (1.0, 0.0, 0.0), (0.25, 0.0, 0.75), (0.0, 0.0, 1.0)]
        {
            assert_eq!(
                (rectified_link(2.0 - point, width), rectified_link(point, width)),
                (on_upper, on_lower),
                "{point}"
            );
        }
        assert_eq!(rectified_link(0.0, 0.0), 0.5);
    }
}
