//! The graph of layers and the builder that checks it.

use std::borrow::Cow;

use crate::layers::{Affine, AvgPool2d, Conv2d, Layer, Linear, MaxPool2d, Needs};
use crate::parameters::{ParameterId, ParameterLayout};
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
}

/// A network with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Structure.
    pub network: Network,
    /// Parameters, laid out as [`Network::parameters`]; the nearest f32 where the file is more exact.
    pub theta: Vec<f32>,
    /// The file's own numbers, if `theta` does not hold them.
    pub exact: Option<Weights>,
}

impl Model {
    /// A model whose numbers are `theta`, exactly.
    pub fn new(network: Network, theta: Vec<f32>) -> Self {
        Model { network, theta, exact: None }
    }

    /// A model with exact `weights`, and the nearest f32 of each as θ.
    pub fn with_weights(network: Network, weights: Weights) -> Self {
        let theta: Vec<f32> = weights.theta().iter().map(|&value| value as f32).collect();
        let same = weights.is_plain() && theta.iter().zip(weights.theta()).all(|(&a, &b)| f64::from(a) == b);
        Model { network, theta, exact: (!same).then_some(weights) }
    }

    /// The numbers that the model's function is made of.
    pub fn weights(&self) -> Cow<'_, Weights> {
        match &self.exact {
            Some(weights) => Cow::Borrowed(weights),
            None => Cow::Owned(Weights::from_single(&self.theta)),
        }
    }
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

    /// A network of nodes that another network's builder has checked, and of the parameters they use.
    pub(crate) fn from_parts(nodes: Vec<Node>, parameters: ParameterLayout) -> Network {
        Network { nodes, parameters }
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
}

/// Most elements a node or a parameter may have; beyond it a file is taken for damaged.
const MAX_ELEMENTS: usize = 1 << 31;
/// Most output elements of all nodes together, for one input (256 MiB in f32); a single sample must fit in memory.
const MAX_TOTAL_ELEMENTS: usize = 1 << 26;

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
        let name = name.into();
        if self.parameters.find(&name).is_some() {
            return Err(NetworkError::Network(format!(
                "two parameters are called `{name}`; give each layer its own name"
            )));
        }
        let elements = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        if !elements.is_some_and(|count| (1..=MAX_ELEMENTS).contains(&count)) {
            return Err(NetworkError::Network(format!("parameter `{name}` has the impossible shape {shape:?}")));
        }
        Ok(self.parameters.push(name, shape.to_vec()))
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
        self.check_parameters(&name, &layer)?;
        let shapes: Vec<&[usize]> = inputs.iter().map(|&id| self.nodes[id].shape.as_slice()).collect();
        let shape = layer.output_shape(&name, &shapes)?;
        let elements = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        if !elements.is_some_and(|count| (1..=MAX_ELEMENTS).contains(&count)) {
            return Err(NetworkError::layer(name, format!("its output shape {shape:?} is impossible")));
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

    fn check_parameters(&self, name: &str, layer: &Layer) -> Result<(), NetworkError> {
        let check = |id: ParameterId, shape: &[usize]| {
            let Some(info) = self.parameters.iter().nth(id.0) else {
                return Err(NetworkError::layer(name, format!("its parameter number {} does not exist", id.0)));
            };
            if info.shape == shape {
                return Ok(());
            }
            Err(NetworkError::layer(
                name,
                format!("parameter `{}` has shape {:?}, the layer needs {shape:?}", info.name, info.shape),
            ))
        };
        let Needs { weight, bias } = layer.needs();
        weight.into_iter().chain(bias).try_for_each(|(id, shape)| check(id, &shape))
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

    /// Fails unless the parameters stand in θ as the layers use them: each by one layer, in node order, weight before bias.
    fn check_layout(&self) -> Result<(), NetworkError> {
        let mut next = 0;
        for node in &self.nodes {
            for id in node.layer.parameters().iter() {
                if id.0 != next {
                    return Err(NetworkError::layer(
                        &node.name,
                        format!(
                            "parameter `{}` is out of turn; make each layer's own weight and bias in the order of the layers",
                            self.parameters.get(id).name
                        ),
                    ));
                }
                next += 1;
            }
        }
        match self.parameters.iter().nth(next) {
            Some(info) => Err(NetworkError::Network(format!("no layer uses the parameter `{}`", info.name))),
            None => Ok(()),
        }
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
        Ok(Network { nodes: self.nodes, parameters: self.parameters })
    }
}
