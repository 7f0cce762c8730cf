//! A plan with its packed weights and the small tables that all passes share.

pub mod accumulate;
pub mod dense;
pub mod exchange;
pub mod fold;
pub mod geometry;
pub mod gradients;
pub mod images;
pub mod plan;
pub mod spec;
pub mod split;
pub mod sweep;
pub mod taps;
pub mod weights;

use std::mem::MaybeUninit;
use std::ops::Range;

use tightrope_network::ParameterLayout;

use crate::net::plan::Plan;
use crate::net::taps::Taps;
use crate::net::weights::Weights;

/// Marks an input element that no window reads.
const UNREAD: u32 = u32::MAX;

/// Tables that depend on the plan alone.
pub struct Tables {
    /// Connections of each stage.
    pub taps: Vec<Taps>,
    /// 0, 1, 2, …: the list of all channels.
    pub identity: Vec<u16>,
    /// Place of every input element in padded `[position][channel]` order, or [`UNREAD`].
    pub pixels: Vec<u32>,
}

impl Tables {
    /// Tables for `plan`.
    pub fn new(plan: &Plan) -> Self {
        let longest = plan.stages.iter().map(|s| s.output.c.max(s.input.c * s.kernel[1])).max().unwrap_or(0);
        let first = &plan.stages[0];
        let longest = longest.max(first.input.c * first.taps());
        let [height, width] = first.input_side();
        let mut pixels = Vec::with_capacity(plan.dimension);
        for c in 0..first.input.c {
            for y in 0..first.input.h {
                for x in 0..first.input.w {
                    let (y, x) = (y + first.pad[0], x + first.pad[1]);
                    let inside = y < height && x < width;
                    pixels.push(if inside { ((y * width + x) * first.input.c + c) as u32 } else { UNREAD });
                }
            }
        }
        let taps = plan.stages.iter().map(Taps::new).collect();
        Tables { taps, identity: (0..longest).map(|c| c as u16).collect(), pixels }
    }
}

/// Everything about a network that does not change from image to image.
pub struct Net<'a> {
    pub plan: &'a Plan,
    pub weights: &'a Weights,
    /// Weights of the stages that are read in θ's own order, and where they are in θ; see [`crate::net::dense`].
    pub dense: Vec<Option<(&'a [f32], Range<usize>)>>,
    /// Bands of rows that a map is divided into for parallel work; fixed by the batch, not the threads.
    pub bands: usize,
    pub taps: &'a [Taps],
    pub identity: &'a [u16],
    pub pixels: &'a [u32],
}

impl<'a> Net<'a> {
    /// A plan with its tables and packed weights; `theta` if large dense stages are read in θ's own order.
    pub fn new(
        plan: &'a Plan,
        tables: &'a Tables,
        weights: &'a Weights,
        theta: Option<(&ParameterLayout, &'a [f32])>,
    ) -> Self {
        let dense = plan.stages.iter().enumerate().map(|(index, stage)| {
            let (layout, theta) = theta.filter(|_| dense::covers(plan, index))?;
            let range = layout.get(stage.weight).range();
            Some((&theta[range.clone()], range))
        });
        let Tables { taps, identity, pixels } = tables;
        Net { plan, weights, dense: dense.collect(), bands: 1, taps, identity, pixels }
    }

    /// Memory for the gradient of so many parameters: zeros, but nothing yet where [`dense::gradient`] writes all there is.
    pub fn gradient(&self, parameters: usize) -> Vec<MaybeUninit<f32>> {
        let mut gradient = Vec::with_capacity(parameters);
        for (_, range) in self.dense.iter().flatten() {
            gradient.resize(range.start, MaybeUninit::new(0.0));
            // SAFETY: stages are in θ's order, θ has the range, and nothing is as good as anything.
            unsafe { gradient.set_len(range.end) };
        }
        gradient.resize(parameters, MaybeUninit::new(0.0));
        gradient
    }

    /// Elements of the input of stage `index` in the kernels' coordinates.
    pub fn input_len(&self, index: usize) -> usize {
        let [h, w] = self.plan.stages[index].input_side();
        h * w * self.plan.stages[index].input.c
    }

    /// Place of input element `e` in padded coordinates, if any window reads it.
    pub fn pixel(&self, e: usize) -> Option<usize> {
        (self.pixels[e] != UNREAD).then_some(self.pixels[e] as usize)
    }
}
