//! The graph of layers and the builder that checks it.

use crate::layers::{Affine, AvgPool2d, BatchNorm, Conv2d, Layer, Linear, MaxPool2d, Needs};
use crate::layout::{BufferId, BufferLayout, Layout, ParameterId, ParameterLayout, TensorId};
use crate::{NetworkError, Weights};

/// Index of a node in its network; inputs always have smaller ids.
pub type NodeId = usize;

/// One layer in the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique name.
    pub name: String,
    /// Operation.
    pub layer: Layer,
    /// Nodes whose outputs it reads.
    pub inputs: Vec<NodeId>,
    /// Output shape without the batch.
    pub shape: Vec<usize>,
}

impl Node {
    /// Number of output elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if the node has no output elements (never in a built network).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A directed acyclic graph of layers in topological order; node 0 is the input, the last node the output (logits).
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    nodes: Vec<Node>,
    parameters: ParameterLayout,
    buffers: BufferLayout,
}

impl Network {
    /// All nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// The layout of θ.
    pub fn parameters(&self) -> &ParameterLayout {
        &self.parameters
    }

    /// The layout of the buffers: numbers beside θ that are not trained, the statistics of batch norms. Most networks have
    /// none.
    pub fn buffers(&self) -> &BufferLayout {
        &self.buffers
    }

    /// The buffers before anything is known of the data: means 0 and variances 1.
    pub fn initial_buffers(&self) -> Vec<f32> {
        let mut buffers = vec![0.0; self.buffers.total()];
        for (_, norm) in self.batch_norms() {
            self.buffers.slice_mut(&mut buffers, norm.variance).fill(1.0);
        }
        buffers
    }

    /// The batch norms, with their nodes, in network order.
    pub fn batch_norms(&self) -> impl DoubleEndedIterator<Item = (NodeId, &BatchNorm)> {
        self.nodes.iter().enumerate().filter_map(|(id, node)| match &node.layer {
            Layer::BatchNorm(norm) => Some((id, norm)),
            Layer::Input
            | Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::MaxPool2d(_)
            | Layer::Activation(_)
            | Layer::Flatten
            | Layer::Add
            | Layer::Product => None,
        })
    }

    /// Id of the output node.
    pub fn output(&self) -> NodeId {
        self.nodes.len() - 1
    }

    /// Shape of one input.
    pub fn input_shape(&self) -> &[usize] {
        &self.nodes[0].shape
    }

    /// Elements of one input.
    pub fn input_len(&self) -> usize {
        self.nodes[0].len()
    }

    /// Number of logits.
    pub fn output_len(&self) -> usize {
        self.nodes[self.output()].len()
    }

    /// A builder that goes on behind the output of this network.
    pub(crate) fn reopened(&self) -> NetworkBuilder {
        NetworkBuilder { nodes: self.nodes.clone(), parameters: self.parameters.clone(), buffers: self.buffers.clone() }
    }

    /// A network of nodes that another network's builder has checked, and of the parameters and buffers they use.
    pub(crate) fn from_parts(nodes: Vec<Node>, parameters: ParameterLayout, buffers: BufferLayout) -> Network {
        Network { nodes, parameters, buffers }
    }

    /// The pre-activation nodes, that is the inputs of the activations in network order, each once.
    pub fn pre_activations(&self) -> Vec<NodeId> {
        let mut ids = Vec::new();
        for node in &self.nodes {
            if matches!(node.layer, Layer::Activation(_)) && !ids.contains(&node.inputs[0]) {
                ids.push(node.inputs[0]);
            }
        }
        ids
    }

    /// Fails unless `theta` has the layout's length and only finite values.
    ///
    /// # Errors
    /// With the first parameter and element that is not finite.
    pub fn check_theta(&self, theta: &[f32]) -> Result<(), NetworkError> {
        self.check_numbers(theta, |value| value.is_finite())
    }

    /// Fails unless `weights` has the layout's length and only finite values.
    ///
    /// # Errors
    /// As [`Network::check_theta`].
    pub fn check_weights(&self, weights: &Weights) -> Result<(), NetworkError> {
        self.check_numbers(weights.theta(), |value| value.is_finite())
    }

    /// Fails unless `buffers` has its layout's length, only finite values and no negative variance.
    ///
    /// # Errors
    /// With the first buffer and element that is wrong.
    pub fn check_buffers(&self, buffers: &[f32]) -> Result<(), NetworkError> {
        if buffers.len() != self.buffers.total() {
            return Err(NetworkError::Network(format!(
                "there are {} buffer values, the network has {}",
                buffers.len(),
                self.buffers.total()
            )));
        }
        for (_, norm) in self.batch_norms() {
            for (id, least) in [(norm.mean, f32::MIN), (norm.variance, 0.0)] {
                let info = self.buffers.get(id);
                let values = &buffers[info.range()];
                if let Some(position) = values.iter().position(|&value| !(value.is_finite() && value >= least)) {
                    return Err(NetworkError::Network(format!(
                        "buffer `{}` holds {} at element {position}; the file is damaged, or the training diverged",
                        info.name, values[position]
                    )));
                }
            }
        }
        Ok(())
    }

    fn check_numbers<T: std::fmt::Display>(
        &self,
        theta: &[T],
        is_finite: impl Fn(&T) -> bool,
    ) -> Result<(), NetworkError> {
        if theta.len() != self.parameters.total() {
            return Err(NetworkError::Network(format!(
                "θ has {} values, the network has {} parameters",
                theta.len(),
                self.parameters.total()
            )));
        }
        for info in self.parameters.iter() {
            if let Some(position) = theta[info.range()].iter().position(|value| !is_finite(value)) {
                return Err(NetworkError::Network(format!(
                    "parameter `{}` holds {} at element {position}; the file is damaged, the training diverged, or the \
                     number is beyond single precision",
                    info.name,
                    theta[info.offset + position]
                )));
            }
        }
        Ok(())
    }
}

/// Builds a [`Network`] node by node, checking shapes; `add_*` return the new node's id.
#[derive(Debug)]
pub struct NetworkBuilder {
    nodes: Vec<Node>,
    parameters: ParameterLayout,
    buffers: BufferLayout,
}

/// Most elements a node or a parameter may have; beyond it a file is taken for damaged.
const MAX_ELEMENTS: usize = 1 << 31;
/// Most output elements of all nodes together, for one input (256 MiB in f32); a single sample must fit in memory.
const MAX_TOTAL_ELEMENTS: usize = 1 << 26;
/// Most values that one layer may read for one input, each as often as it does: minutes of one core.
const MAX_READS: usize = 1 << 38;

impl NetworkBuilder {
    /// A builder for inputs of `shape` (without the batch).
    ///
    /// # Errors
    /// If the shape has no elements or too many.
    pub fn new(shape: &[usize]) -> Result<Self, NetworkError> {
        let elements = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        match elements {
            Some(count) if (1..=MAX_ELEMENTS).contains(&count) => Ok(NetworkBuilder {
                nodes: vec![Node { name: "input".into(), layer: Layer::Input, inputs: vec![], shape: shape.to_vec() }],
                parameters: ParameterLayout::default(),
                buffers: BufferLayout::default(),
            }),
            _ => Err(NetworkError::Network(format!("the input shape {shape:?} must have between 1 and 2³¹ elements"))),
        }
    }

    /// The input node.
    pub fn input(&self) -> NodeId {
        0
    }

    /// Output shape of a node added so far.
    pub fn shape(&self, id: NodeId) -> &[usize] {
        &self.nodes[id].shape
    }

    /// Reserves a parameter tensor in θ.
    ///
    /// # Errors
    /// If the name is taken or the shape impossible.
    pub fn parameter(&mut self, name: impl Into<String>, shape: &[usize]) -> Result<ParameterId, NetworkError> {
        let name = self.free_name("parameter", name.into(), shape)?;
        Ok(self.parameters.push(name, shape.to_vec()))
    }

    /// Reserves a tensor in the buffers.
    ///
    /// # Errors
    /// As [`NetworkBuilder::parameter`].
    pub fn buffer(&mut self, name: impl Into<String>, shape: &[usize]) -> Result<BufferId, NetworkError> {
        let name = self.free_name("buffer", name.into(), shape)?;
        Ok(self.buffers.push(name, shape.to_vec()))
    }

    /// `name`, unless a tensor has it (files hold parameters and buffers side by side) or nothing has such a shape.
    fn free_name(&self, what: &str, name: String, shape: &[usize]) -> Result<String, NetworkError> {
        if self.parameters.find(&name).is_some() || self.buffers.find(&name).is_some() {
            return Err(NetworkError::Network(format!(
                "two {what}s are called `{name}`; give each layer its own name"
            )));
        }
        let elements = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        if !elements.is_some_and(|count| (1..=MAX_ELEMENTS).contains(&count)) {
            return Err(NetworkError::Network(format!("{what} `{name}` has the impossible shape {shape:?}")));
        }
        Ok(name)
    }

    /// Reserves `{name}.running_mean` and `{name}.running_var`, `[channels]` each.
    pub(crate) fn statistics(&mut self, name: &str, channels: usize) -> Result<(BufferId, BufferId), NetworkError> {
        let mean = self.buffer(format!("{name}.running_mean"), &[channels])?;
        Ok((mean, self.buffer(format!("{name}.running_var"), &[channels])?))
    }

    /// Appends a layer that reads `inputs`.
    ///
    /// # Errors
    /// If the name is taken, an input does not exist, or shapes or parameters do not fit.
    pub fn add(&mut self, name: impl Into<String>, layer: Layer, inputs: &[NodeId]) -> Result<NodeId, NetworkError> {
        let name = name.into();
        if self.nodes.iter().any(|node| node.name == name) {
            return Err(NetworkError::layer(name, "two layers have this name; names must be unique"));
        }
        if let Some(&missing) = inputs.iter().find(|&&id| id >= self.nodes.len()) {
            return Err(NetworkError::layer(name, format!("reads node {missing}, which does not exist yet")));
        }
        self.check_tensors(&name, &layer)?;
        let shapes: Vec<&[usize]> = inputs.iter().map(|&id| self.nodes[id].shape.as_slice()).collect();
        let shape = layer.output_shape(&name, &shapes)?;
        let elements = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        if !elements.is_some_and(|count| (1..=MAX_ELEMENTS).contains(&count)) {
            return Err(NetworkError::layer(name, format!("its output shape {shape:?} is impossible")));
        }
        let per_output = match &layer {
            Layer::Conv2d(conv) => {
                conv.kernel[0].saturating_mul(conv.kernel[1]).saturating_mul(conv.in_channels / conv.groups.max(1))
            }
            Layer::AvgPool2d(pool) => pool.kernel[0].saturating_mul(pool.kernel[1]),
            Layer::MaxPool2d(pool) => pool.kernel[0].saturating_mul(pool.kernel[1]),
            Layer::Linear(linear) => linear.in_features,
            Layer::Gather(gather) => gather.terms().div_ceil(elements.unwrap_or(1).max(1)),
            Layer::Input
            | Layer::Affine(_)
            | Layer::BatchNorm(_)
            | Layer::Activation(_)
            | Layer::Flatten
            | Layer::Add => 1,
            Layer::Product => 2,
        };
        let reads = elements.unwrap_or(usize::MAX).saturating_mul(per_output);
        if reads > MAX_READS {
            return Err(NetworkError::layer(
                name,
                format!(
                    "its windows read {per_output} values for each element of its output {shape:?}, more than 2³⁸ for one \
                     input; check window and stride, or use a smaller network"
                ),
            ));
        }
        let earlier: usize = self.nodes.iter().map(Node::len).sum();
        if earlier.saturating_add(elements.unwrap_or(usize::MAX)) > MAX_TOTAL_ELEMENTS {
            return Err(NetworkError::layer(
                name,
                format!(
                    "with its output {shape:?} the network's layers hold more than 2²⁶ values for one input; check the \
                     shapes and strides, or use a smaller network"
                ),
            ));
        }
        self.nodes.push(Node { name, layer, inputs: inputs.to_vec(), shape });
        Ok(self.nodes.len() - 1)
    }

    fn check_tensors(&self, name: &str, layer: &Layer) -> Result<(), NetworkError> {
        fn check<Id: TensorId>(
            name: &str,
            what: &str,
            layout: &Layout<Id>,
            id: Id,
            shape: &[usize],
        ) -> Result<(), NetworkError> {
            let Some(info) = layout.iter().nth(id.index()) else {
                return Err(NetworkError::layer(name, format!("its {what} number {} does not exist", id.index())));
            };
            if info.shape == shape {
                return Ok(());
            }
            Err(NetworkError::layer(
                name,
                format!("{what} `{}` has shape {:?}, the layer needs {shape:?}", info.name, info.shape),
            ))
        }
        let Needs { weight, bias, buffers } = layer.needs();
        weight
            .into_iter()
            .chain(bias)
            .try_for_each(|(id, shape)| check(name, "parameter", &self.parameters, id, &shape))?;
        buffers.into_iter().try_for_each(|(id, shape)| check(name, "buffer", &self.buffers, id, &shape))
    }

    /// Appends a convolution with parameters `{name}.weight` and, if `bias`, `{name}.bias`.
    ///
    /// The ids in `conv` are ignored and set.
    ///
    /// # Errors
    /// As [`NetworkBuilder::add`], and if the groups do not divide the channels.
    pub fn conv2d(&mut self, name: &str, mut conv: Conv2d, bias: bool, input: NodeId) -> Result<NodeId, NetworkError> {
        if conv.groups == 0 || !conv.in_channels.is_multiple_of(conv.groups) {
            return Err(NetworkError::layer(
                name,
                format!("groups = {} does not divide {} channels", conv.groups, conv.in_channels),
            ));
        }
        let shape = [conv.out_channels, conv.in_channels / conv.groups, conv.kernel[0], conv.kernel[1]];
        conv.weight = self.parameter(format!("{name}.weight"), &shape)?;
        conv.bias = if bias { Some(self.parameter(format!("{name}.bias"), &[conv.out_channels])?) } else { None };
        self.add(name, Layer::Conv2d(conv), &[input])
    }

    /// Appends a linear layer with parameters `{name}.weight` and, if `bias`, `{name}.bias`.
    ///
    /// # Errors
    /// As [`NetworkBuilder::add`].
    pub fn linear(
        &mut self,
        name: &str,
        out_features: usize,
        bias: bool,
        input: NodeId,
    ) -> Result<NodeId, NetworkError> {
        let in_features = self.shape(input).iter().product();
        let weight = self.parameter(format!("{name}.weight"), &[out_features, in_features])?;
        let bias = if bias { Some(self.parameter(format!("{name}.bias"), &[out_features])?) } else { None };
        self.add(name, Layer::Linear(Linear { in_features, out_features, weight, bias }), &[input])
    }

    /// Appends an affine layer without parameters: y = scale·x + shift per channel of the first axis.
    ///
    /// # Errors
    /// As [`NetworkBuilder::add`].
    pub fn normalise(
        &mut self,
        name: &str,
        scale: Vec<f64>,
        shift: Vec<f64>,
        input: NodeId,
    ) -> Result<NodeId, NetworkError> {
        let elements: usize = self.shape(input).iter().product();
        let inner = elements.checked_div(scale.len()).unwrap_or(0);
        self.add(name, Layer::Affine(Affine { inner, scale, shift, weight: None, bias: None }), &[input])
    }

    /// Appends a batch norm of the usual ε and momentum over the first axis, with parameters `{name}.weight` and
    /// `{name}.bias` and buffers `{name}.running_mean` and `{name}.running_var`.
    ///
    /// # Errors
    /// As [`NetworkBuilder::parameter`] and [`NetworkBuilder::add`].
    pub fn batch_norm(&mut self, name: &str, input: NodeId) -> Result<NodeId, NetworkError> {
        let channels = self.shape(input).first().copied().unwrap_or(0);
        let weight = self.parameter(format!("{name}.weight"), &[channels])?;
        let bias = self.parameter(format!("{name}.bias"), &[channels])?;
        let (mean, variance) = self.statistics(name, channels)?;
        let (epsilon, momentum) = (BatchNorm::EPSILON, BatchNorm::MOMENTUM);
        let layer = BatchNorm { channels, epsilon, momentum, weight, bias, mean, variance };
        self.add(name, Layer::BatchNorm(layer), &[input])
    }

    /// Appends an average pooling.
    ///
    /// # Errors
    /// As [`NetworkBuilder::add`].
    pub fn avg_pool2d(&mut self, name: &str, pool: AvgPool2d, input: NodeId) -> Result<NodeId, NetworkError> {
        self.add(name, Layer::AvgPool2d(pool), &[input])
    }

    /// Appends a max pooling.
    ///
    /// # Errors
    /// As [`NetworkBuilder::add`].
    pub fn max_pool2d(&mut self, name: &str, pool: MaxPool2d, input: NodeId) -> Result<NodeId, NetworkError> {
        self.add(name, Layer::MaxPool2d(pool), &[input])
    }

    /// Fails unless parameters and buffers stand in their vectors as the layers use them: each by one layer, in node order,
    /// weight before bias, mean before variance.
    fn check_layout(&self) -> Result<(), NetworkError> {
        fn check<Id: TensorId, I: Iterator<Item = Id>>(
            nodes: &[Node],
            layout: &Layout<Id>,
            [what, order]: [&str; 2],
            of: impl Fn(&Layer) -> I,
        ) -> Result<(), NetworkError> {
            let mut next = 0;
            for node in nodes {
                for id in of(&node.layer) {
                    if id.index() != next {
                        return Err(NetworkError::layer(
                            &node.name,
                            format!("{what} `{}` is out of turn; make each layer's own {order}", layout.get(id).name),
                        ));
                    }
                    next += 1;
                }
            }
            match layout.iter().nth(next) {
                Some(info) => Err(NetworkError::Network(format!("no layer uses the {what} `{}`", info.name))),
                None => Ok(()),
            }
        }
        let parameters = ["parameter", "weight and bias in the order of the layers"];
        check(&self.nodes, &self.parameters, parameters, |layer| layer.parameters().iter())?;
        let buffers = ["buffer", "mean and variance in the order of the layers"];
        check(&self.nodes, &self.buffers, buffers, Layer::buffers)
    }

    /// Checks the whole graph and ends the building; the last node added is the output.
    ///
    /// # Errors
    /// If there is no layer, one is not read, the output is not flat, or parameters are out of turn.
    pub fn build(self) -> Result<Network, NetworkError> {
        let last = self.nodes.len() - 1;
        if last == 0 {
            return Err(NetworkError::Network("a network needs at least one layer".into()));
        }
        let mut used = vec![false; self.nodes.len()];
        used[last] = true;
        for id in (0..=last).rev() {
            if used[id] {
                self.nodes[id].inputs.iter().for_each(|&input| used[input] = true);
            }
        }
        if let Some(id) = used.iter().position(|&used| !used) {
            return Err(NetworkError::layer(&self.nodes[id].name, "nothing reads this layer; remove it or use it"));
        }
        if self.nodes[last].shape.len() != 1 {
            return Err(NetworkError::layer(
                &self.nodes[last].name,
                format!(
                    "the output must be a flat vector of logits, got {:?}; end with a linear layer or a flatten",
                    self.nodes[last].shape
                ),
            ));
        }
        self.check_layout()?;
        Ok(Network { nodes: self.nodes, parameters: self.parameters, buffers: self.buffers })
    }
}
