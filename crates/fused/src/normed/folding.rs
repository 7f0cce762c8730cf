//! Batch norms at given statistics folded into the stages before them, and gradients carried back.
//!
//! With s = 1/√(v + ε) and the factor f = w·s of a channel, w·s·(Wx + b − m) + β is W'x + b' for W' = f·W and
//! b' = f·(b − m) + β. W' takes W's place in θ and b' that of β, so that the folded network has the layout of the given one.

use rayon::prelude::*;
use tightrope_network::{BatchNorm, Network};

use crate::net::plan::{Plan, Stage};
use crate::net::weights::LARGE;

/// The plan of the folded network, from that of the given one.
pub fn folded_plan(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for stage in &mut plan.stages {
        if let Some(norm) = stage.norm.take() {
            stage.bias = Some(norm.bias);
        }
    }
    plan
}

/// A batch norm's numbers for one channel.
#[derive(Clone, Copy)]
pub struct Channel {
    /// w.
    pub weight: f64,
    /// β.
    pub summand: f64,
    /// m.
    pub mean: f64,
    /// s = 1/√(v + ε).
    pub inverse: f64,
}

impl Channel {
    /// f = w·s.
    pub fn factor(&self) -> f64 {
        self.weight * self.inverse
    }
}

/// The numbers of all channels of a batch norm at θ and `buffers`.
pub fn channels(network: &Network, norm: &BatchNorm, theta: &[f32], buffers: &[f32]) -> Vec<Channel> {
    let (parameters, layout) = (network.parameters(), network.buffers());
    let [weight, summand] = [norm.weight, norm.bias].map(|id| parameters.slice(theta, id));
    let [mean, variance] = [norm.mean, norm.variance].map(|id| layout.slice(buffers, id));
    let of = |c: usize| Channel {
        weight: weight[c].into(),
        summand: summand[c].into(),
        mean: mean[c].into(),
        inverse: 1.0 / (f64::from(variance[c]) + norm.epsilon).sqrt(),
    };
    (0..norm.channels).map(of).collect()
}

/// A network at θ and statistics, to be folded.
pub struct Folding<'a> {
    pub network: &'a Network,
    /// The network's own plan.
    pub plan: &'a Plan,
    pub theta: &'a [f32],
    pub buffers: &'a [f32],
}

impl Folding<'_> {
    fn norms(&self) -> impl Iterator<Item = (&Stage, &BatchNorm, Vec<Channel>)> {
        self.plan.stages.iter().filter_map(|stage| {
            let norm = stage.norm.as_ref()?;
            Some((stage, norm, channels(self.network, norm, self.theta, self.buffers)))
        })
    }

    /// The bias of the stage itself.
    fn bias(&self, stage: &Stage, channel: usize) -> f64 {
        stage.bias.map_or(0.0, |id| self.network.parameters().slice(self.theta, id)[channel].into())
    }

    /// θ of the folded network.
    pub fn theta(&self) -> Vec<f32> {
        let layout = self.network.parameters();
        let mut folded = self.theta.to_vec();
        for (stage, norm, channels) in self.norms() {
            let weights = layout.slice_mut(&mut folded, stage.weight);
            let row = weights.len() / channels.len();
            let scale = |(row, channel): (&mut [f32], &Channel)| {
                let factor = channel.factor() as f32;
                row.iter_mut().for_each(|w| *w *= factor);
            };
            let rows = weights.par_chunks_mut(row).zip(&channels).with_min_len(LARGE.div_ceil(row));
            rows.for_each(scale);
            let summands = layout.slice_mut(&mut folded, norm.bias).iter_mut().zip(&channels).enumerate();
            for (c, (summand, channel)) in summands {
                *summand = (channel.factor() * (self.bias(stage, c) - channel.mean) + channel.summand) as f32;
            }
        }
        folded
    }

    /// Turns the gradient with respect to the folded θ into that with respect to θ, and returns that with respect to the
    /// buffers.
    ///
    /// With gradients G on W' and g on b', the factor f has ⟨G, W⟩ + g·(b − m), W has f·G, b has f·g, β has g, m has −f·g,
    /// and f's goes on to w times s and to v times −½·w·s³.
    pub fn carry_back(&self, gradient: &mut [f32]) -> Vec<f32> {
        let (layout, buffers) = (self.network.parameters(), self.network.buffers());
        let mut on_buffers = vec![0.0; buffers.total()];
        for (stage, norm, channels) in self.norms() {
            let weights = layout.slice(self.theta, stage.weight);
            let row = weights.len() / channels.len();
            let through = |((gradient, weights), channel): ((&mut [f32], &[f32]), &Channel)| {
                let product = product(gradient, weights);
                let factor = channel.factor() as f32;
                gradient.iter_mut().for_each(|g| *g *= factor);
                product
            };
            let rows = layout.slice_mut(gradient, stage.weight).par_chunks_mut(row).zip(weights.par_chunks(row));
            let rows = rows.zip(&channels).with_min_len(LARGE.div_ceil(row));
            let products: Vec<f64> = rows.map(through).collect();
            for (c, (channel, product)) in channels.iter().zip(products).enumerate() {
                let g = f64::from(layout.slice(gradient, norm.bias)[c]);
                let on_factor = product + g * (self.bias(stage, c) - channel.mean);
                // The same bits for bias and mean: what a shift of both leaves as it is has no gradient along it.
                let on_bias = (channel.factor() * g) as f32;
                if let Some(id) = stage.bias {
                    layout.slice_mut(gradient, id)[c] = on_bias;
                }
                layout.slice_mut(gradient, norm.weight)[c] = (channel.inverse * on_factor) as f32;
                buffers.slice_mut(&mut on_buffers, norm.mean)[c] = -on_bias;
                buffers.slice_mut(&mut on_buffers, norm.variance)[c] =
                    (-0.5 * channel.weight * channel.inverse.powi(3) * on_factor) as f32;
            }
        }
        on_buffers
    }
}

/// Σ a·b in a fixed order, of few roundings.
fn product(a: &[f32], b: &[f32]) -> f64 {
    const PARTS: usize = 16;
    const BLOCK: usize = 64 * PARTS;
    let block = |(a, b): (&[f32], &[f32])| {
        let mut sums = [0.0_f32; PARTS];
        let (a, b) = (a.chunks(PARTS), b.chunks(PARTS));
        for (a, b) in a.zip(b) {
            sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
        }
        sums.iter().map(|&sum| f64::from(sum)).sum::<f64>()
    };
    a.chunks(BLOCK).zip(b.chunks(BLOCK)).map(block).sum()
}
