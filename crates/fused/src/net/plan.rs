//! The networks the kernels cover: a sequence of convolutions and linear layers with ReLUs between them.
//!
//! A linear layer is a convolution whose window is the whole input, so every kernel sees one kind of
//! layer: a [`Stage`]. Per-channel affine layers are folded into the stage before them, input
//! normalisation into the region, and a batch norm belongs to the stage before it ([`crate::normed`]).
//! Everything else is left to the reference engine.

use tightrope_network::{Activation, Affine, BatchNorm, Layer, Network, NodeId, ParameterId};

use crate::net::fold::Fold;

/// Channels, height and width of a feature map, stored `[position][channel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub c: usize,
    pub h: usize,
    pub w: usize,
}

impl Grid {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.c * self.h * self.w
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.h * self.w
    }
}

/// A rectangle of positions of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub y: usize,
    pub x: usize,
    pub h: usize,
    pub w: usize,
}

impl Window {
    /// The whole map.
    pub fn all(grid: Grid) -> Self {
        Window { y: 0, x: 0, h: grid.h, w: grid.w }
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.h * self.w
    }
}

/// One convolution (or linear layer) with the affine layers folded into it; a ReLU follows all but the last.
#[derive(Clone, Debug)]
pub struct Stage {
    pub input: Grid,
    pub output: Grid,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Zero padding at the top and left; what lies beyond the bottom and right is implied by the output's size.
    pub pad: [usize; 2],
    pub dilation: [usize; 2],
    /// First stages read the input in padded coordinates: no window ever leaves the map.
    pub first: bool,
    pub weight: ParameterId,
    pub bias: Option<ParameterId>,
    pub folds: Vec<Fold>,
    /// True if a normalisation follows the convolution, whose own values nobody asks for then.
    pub normed: bool,
    /// The batch norm behind the convolution, which [`crate::normed`] alone knows of: everywhere else a plan has none, or is
    /// taken as if it had none.
    pub norm: Option<BatchNorm>,
    /// The node that the ReLU after this stage reads (the output for the last stage).
    pub node: NodeId,
}

impl Stage {
    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Height and width of the input in the coordinates of the kernels: padded for the first stage.
    pub fn input_side(&self) -> [usize; 2] {
        if !self.first {
            return [self.input.h, self.input.w];
        }
        let side =
            |n: usize, axis: usize| (n - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1;
        [side(self.output.h, 0), side(self.output.w, 1)]
    }

    /// The whole input in the coordinates of the kernels.
    pub fn input_map(&self) -> Window {
        let [h, w] = self.input_side();
        Window { y: 0, x: 0, h, w }
    }

    /// Padding in the coordinates of the kernels.
    pub fn offset(&self) -> [usize; 2] {
        if self.first { [0, 0] } else { self.pad }
    }

    /// The part of the input that the outputs in `window` read.
    pub fn input_window(&self, window: Window) -> Window {
        let side = self.input_side();
        let offset = self.offset();
        let span = |start: usize, count: usize, axis: usize| {
            if count == 0 {
                // What lies in the padding reads nothing.
                return (0, 0);
            }
            let low = start * self.stride[axis];
            let high = low + (count - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            let low = low.saturating_sub(offset[axis]).min(side[axis]);
            let high = high.saturating_sub(offset[axis]).min(side[axis]);
            (low, high.max(low) - low)
        };
        let (y, h) = span(window.y, window.h, 0);
        let (x, w) = span(window.x, window.w, 1);
        Window { y, x, h, w }
    }
}

/// A network as the kernels see it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub stages: Vec<Stage>,
    /// Factor and summand per input element of the input normalisation.
    pub normalisation: Option<(Vec<f32>, Vec<f32>)>,
    /// Input elements of the network.
    pub dimension: usize,
    /// Logits.
    pub classes: usize,
}

impl Plan {
    /// The plan of `network`.
    ///
    /// # Errors
    /// What the kernels do not cover: a layer, or an order of layers.
    pub fn new(network: &Network) -> Result<Plan, String> {
        let mut plan = Plan {
            stages: Vec::new(),
            normalisation: None,
            dimension: network.input_len(),
            classes: network.output_len(),
        };
        // True after a ReLU: the next layer must be a convolution or linear.
        let mut rectified = true;
        let mut grid = match *network.input_shape() {
            [c, h, w] => Grid { c, h, w },
            _ => Grid { c: network.input_len(), h: 1, w: 1 },
        };
        for (id, node) in network.nodes().iter().enumerate().skip(1) {
            let refuse = |why: &str| Err(format!("layer `{}` ({}), {why}", node.name, node.layer.kind()));
            if node.inputs != [id - 1] {
                return refuse("which does not read the layer before it alone");
            }
            match &node.layer {
                Layer::Input
                | Layer::Add
                | Layer::Product
                | Layer::AvgPool2d(_)
                | Layer::Gather(_)
                | Layer::MaxPool2d(_)
                | Layer::Activation(
                    Activation::LeakyRelu { .. }
                    | Activation::Sigmoid
                    | Activation::Tanh
                    | Activation::Clip { .. }
                    | Activation::Exp
                    | Activation::Softplus
                    | Activation::Reciprocal
                    | Activation::Power { .. },
                ) => return refuse("which has no kernel"),
                Layer::BatchNorm(norm) => {
                    let Some(stage) = plan.stages.last_mut() else {
                        return refuse("which stands before the first convolution or linear layer");
                    };
                    if rectified || norm.channels != grid.c || node.len() != grid.len() {
                        return refuse("which cannot be folded into the layer before it");
                    }
                    if stage.norm.is_some() || !stage.folds.is_empty() {
                        return refuse("which follows another normalisation");
                    }
                    (stage.normed, stage.norm) = (true, Some(norm.clone()));
                    stage.node = id;
                }
                Layer::Flatten => {}
                Layer::Activation(Activation::Relu) => {
                    if rectified || plan.stages.is_empty() {
                        return refuse("which does not follow a convolution or linear layer");
                    }
                    rectified = true;
                }
                Layer::Affine(affine) => {
                    let Some(stage) = plan.stages.last_mut() else {
                        if !plan.normalise(affine) {
                            return refuse(
                                "which has parameters and stands before the first convolution or linear layer",
                            );
                        }
                        continue;
                    };
                    if rectified || affine.scale.len() != grid.c || affine.inner != grid.positions() {
                        return refuse("which cannot be folded into the layer before it");
                    }
                    if stage.norm.is_some() {
                        return refuse("which follows a batch norm");
                    }
                    stage.normed = true;
                    stage.folds.push(Fold::new(affine));
                    stage.node = id;
                }
                Layer::Conv2d(conv) => {
                    if !rectified {
                        return refuse("which follows another one without an activation between them");
                    }
                    if conv.groups != 1 {
                        return refuse("whose channels are in groups");
                    }
                    // Dilated inner stages would leave holes in the windows; the walks assume none.
                    if !plan.stages.is_empty() && conv.dilation != [1, 1] {
                        return refuse("which is dilated");
                    }
                    let &[c, h, w] = node.shape.as_slice() else { return refuse("whose output is no image") };
                    let output = Grid { c, h, w };
                    plan.stages.push(Stage {
                        input: grid,
                        output,
                        kernel: conv.kernel,
                        stride: conv.stride,
                        pad: [conv.padding[0], conv.padding[1]],
                        dilation: conv.dilation,
                        first: plan.stages.is_empty(),
                        weight: conv.weight,
                        bias: conv.bias,
                        folds: Vec::new(),
                        normed: false,
                        norm: None,
                        node: id,
                    });
                    grid = output;
                    rectified = false;
                }
                Layer::Linear(linear) => {
                    if !rectified {
                        return refuse("which follows another one without an activation between them");
                    }
                    let first = plan.stages.is_empty();
                    // A linear first layer sees one position of d channels: no spatial structure to gain from.
                    let input = if first { Grid { c: linear.in_features, h: 1, w: 1 } } else { grid };
                    let output = Grid { c: linear.out_features, h: 1, w: 1 };
                    plan.stages.push(Stage {
                        input,
                        output,
                        kernel: [input.h, input.w],
                        stride: [1, 1],
                        pad: [0, 0],
                        dilation: [1, 1],
                        first,
                        weight: linear.weight,
                        bias: linear.bias,
                        folds: Vec::new(),
                        normed: false,
                        norm: None,
                        node: id,
                    });
                    grid = output;
                    rectified = false;
                }
            }
        }
        let Some(last) = plan.stages.last() else {
            return Err("a network without convolutions or linear layers".into());
        };
        let dense_end =
            last.output.positions() == 1 && last.kernel == [last.input.h, last.input.w] && last.pad == [0, 0];
        let small_lists = plan.stages.iter().all(|s| {
            let row = s.input.c * if s.first { s.taps() } else { s.kernel[1] };
            s.output.c.max(row) <= usize::from(u16::MAX)
        });
        if rectified || !dense_end {
            return Err("a network that does not end in a linear layer".into());
        }
        if plan.stages.len() < 2 {
            return Err("a network without hidden layers".into());
        }
        if !small_lists {
            return Err(format!("a layer of more than {} channels", u16::MAX));
        }
        Ok(plan)
    }

    /// Takes a layer before the first stage for input normalisation; false if it has parameters.
    fn normalise(&mut self, affine: &Affine) -> bool {
        if affine.weight.is_some() || affine.bias.is_some() {
            return false;
        }
        let n = self.dimension;
        let (scale, shift) = self.normalisation.get_or_insert_with(|| (vec![1.0; n], vec![0.0; n]));
        for e in 0..n {
            let channel = e / affine.inner;
            scale[e] *= affine.scale[channel] as f32;
            shift[e] = shift[e] * affine.scale[channel] as f32 + affine.shift[channel] as f32;
        }
        true
    }

    /// True if some stage has a batch norm.
    pub fn has_norms(&self) -> bool {
        self.stages.iter().any(|stage| stage.norm.is_some())
    }

    /// Stages with a ReLU after them.
    pub fn hidden(&self) -> usize {
        self.stages.len() - 1
    }
}
