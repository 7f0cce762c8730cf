//! What is worked out once per θ and buffers: every node's map or function, and how the nodes relate to those that are not affine.

use std::sync::Arc;

use tightrope_network::{Layer, Network, NodeId};

use super::affine::Map;
use crate::activation::Activation;
use crate::max_pool::MaxPool;
use crate::product::Product;
use crate::{EngineError, Nonlinearity, Real, Sites};

/// A network with its weights in place.
pub(super) struct Plan<T> {
    pub(super) network: Arc<Network>,
    /// One map per affine node.
    pub(super) maps: Vec<Option<Arc<Map<T>>>>,
    /// One function per activation, max pooling and product.
    functions: Vec<Option<Nonlinearity<T>>>,
    /// Pre-activation nodes in network order.
    pub(super) pre_activations: Vec<NodeId>,
    /// The numbering of domains.
    pub(super) sites: Sites,
    /// Nodes whose bounds give the lines of others, in the order of those: the pre-activations and the inputs of max poolings and products.
    pub(super) bounded: Vec<NodeId>,
    /// The activations, max poolings and products that read a node.
    readers: Vec<Vec<NodeId>>,
    /// True for nodes with no activation, max pooling or product before them: affine functions of the input.
    pub(super) is_affine: Vec<bool>,
    /// True for affine nodes whose interval bounds over a box are exact: at most one mixing layer after diagonal ones, and diagonal ones after it.
    pub(super) interval_is_exact: Vec<bool>,
}

/// How much mixing lies between the input and a node.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Mixing {
    None,
    Once,
    More,
}

impl<T: Real> Plan<T> {
    /// Reads the weights of `network` from `theta` and the statistics of its batch norms from `buffers`.
    pub(super) fn new(network: Arc<Network>, theta: &[T], buffers: &[T]) -> Result<Self, EngineError> {
        EngineError::check_length("θ", theta.len(), network.parameters().total())?;
        EngineError::check_length("the buffers", buffers.len(), network.buffers().total())?;
        let map = |id| Map::of(&network, theta, buffers, id).map(Arc::new);
        let maps = (0..network.nodes().len()).map(map).collect();
        Ok(Plan::of(network, maps))
    }

    /// The same network and θ with other buffers; all maps but those of batch norms are shared.
    pub(super) fn with_buffers(&self, theta: &[T], buffers: &[T]) -> Result<Self, EngineError> {
        EngineError::check_length("the buffers", buffers.len(), self.network.buffers().total())?;
        let mut maps = self.maps.clone();
        for (id, _) in self.network.batch_norms() {
            maps[id] = Map::of(&self.network, theta, buffers, id).map(Arc::new);
        }
        Ok(Plan::of(Arc::clone(&self.network), maps))
    }

    /// How the nodes with these maps relate.
    fn of(network: Arc<Network>, maps: Vec<Option<Arc<Map<T>>>>) -> Self {
        let mut is_affine = Vec::new();
        let mut mixing = Vec::new();
        for (node, map) in network.nodes().iter().zip(&maps) {
            let affine = node.layer.is_affine() && node.inputs.iter().all(|&input| is_affine[input]);
            let before = node
                .inputs
                .iter()
                .map(|&input| mixing[input])
                .fold(Mixing::None, |a: Mixing, b| if b > a { b } else { a });
            mixing.push(match map {
                None if node.inputs.is_empty() => Mixing::None,
                Some(map) if map.is_diagonal() => before,
                Some(_) if before == Mixing::None => Mixing::Once,
                Some(_) | None => Mixing::More,
            });
            is_affine.push(affine);
        }
        let interval_is_exact = is_affine.iter().zip(&mixing).map(|(&a, &m)| a && m < Mixing::More).collect();
        let nodes = network.nodes();
        let functions: Vec<_> = (0..nodes.len()).map(|id| Nonlinearity::of(&network, id)).collect();
        let (mut bounded, mut readers) = (Vec::new(), vec![Vec::new(); nodes.len()]);
        for (id, node) in nodes.iter().enumerate().filter(|(id, _)| functions[*id].is_some()) {
            let input = node.inputs[0];
            if readers[input].is_empty() {
                bounded.push(input);
            }
            readers[input].push(id);
        }
        let (pre_activations, sites) = (network.pre_activations(), Sites::of(&network));
        Plan { network, maps, functions, pre_activations, sites, bounded, readers, is_affine, interval_is_exact }
    }

    /// Values of an activation, max pooling or product for those of its input.
    pub(super) fn values(&self, id: NodeId, x: &[T]) -> Vec<T> {
        self.function(id).values(x)
    }

    /// The function of an activation, max pooling or product.
    pub(super) fn function(&self, id: NodeId) -> &Nonlinearity<T> {
        match &self.functions[id] {
            Some(function) => function,
            None => unreachable!("node {id} is affine"),
        }
    }

    /// The function of an activation node.
    pub(super) fn activation(&self, id: NodeId) -> &dyn Activation<T> {
        match &self.functions[id] {
            Some(Nonlinearity::Activation(function)) => &**function,
            Some(Nonlinearity::MaxPool(_) | Nonlinearity::Product(_)) | None => {
                unreachable!("node {id} is no activation")
            }
        }
    }

    /// The windows of a max-pooling node.
    pub(super) fn max_pool(&self, id: NodeId) -> &MaxPool {
        match &self.functions[id] {
            Some(Nonlinearity::MaxPool(pool)) => pool,
            Some(Nonlinearity::Activation(_) | Nonlinearity::Product(_)) | None => {
                unreachable!("node {id} is no max pooling")
            }
        }
    }

    /// The factors of a product.
    pub(super) fn product(&self, id: NodeId) -> &Product {
        match &self.functions[id] {
            Some(Nonlinearity::Product(product)) => product,
            Some(Nonlinearity::Activation(_) | Nonlinearity::MaxPool(_)) | None => {
                unreachable!("node {id} is no product")
            }
        }
    }

    /// The site of an activation, max pooling or product.
    pub(super) fn site(&self, id: NodeId) -> usize {
        match self.sites.site[id] {
            Some(site) => site,
            None => unreachable!("node {id} is affine"),
        }
    }

    /// True for an activation whose bounds are those of its input, mapped: nothing is better for one function of one number.
    ///
    /// That of an activation read by another one is bounded like every pre-activation.
    pub(super) fn is_image(&self, id: NodeId) -> bool {
        matches!(self.functions[id], Some(Nonlinearity::Activation(_))) && !self.pre_activations.contains(&id)
    }

    /// True if no line depends on the bounds [l, u] of a neuron of node `id`: what reads it is affine there, and is not read
    /// by a max pooling or a product.
    pub(super) fn is_settled(&self, id: NodeId, l: T, u: T) -> bool {
        self.readers[id].iter().all(|&reader| {
            let is_affine = match &self.functions[reader] {
                Some(Nonlinearity::Activation(f)) => f.is_affine_on(l, u),
                Some(Nonlinearity::MaxPool(_) | Nonlinearity::Product(_)) | None => false,
            };
            is_affine && (self.readers[reader].is_empty() || !self.is_image(reader))
        })
    }

    /// The map of an affine node.
    pub(super) fn map(&self, id: NodeId) -> &Map<T> {
        match &self.maps[id] {
            Some(map) => map,
            None => unreachable!("node {id} is no affine layer"),
        }
    }

    /// The node whose output the linear layer `last` reads, where specifications are merged; `last` itself if it is not linear.
    pub(super) fn elision_node(&self, last: NodeId) -> NodeId {
        if let Layer::Linear(_) = self.network.node(last).layer {
            return self.network.node(last).inputs[0];
        }
        last
    }
}
