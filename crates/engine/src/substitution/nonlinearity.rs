//! The functions of a network that are not affine, and where they are.

use tightrope_network::{Activation as Kind, Layer, Network, NodeId};

use super::NodeLines;
use crate::activation::{Activation, Lines, activation};
use crate::max_pool::{MaxPool, PoolLines};
use crate::product::{Product, ProductLines};
use crate::{LowerSlope, Real};

/// What an activation, a max pooling or a product computes.
#[derive(Debug)]
pub enum Nonlinearity<T> {
    /// A function of each element.
    Activation(Box<dyn Activation<T>>),
    /// The largest element of each window.
    MaxPool(MaxPool),
    /// The elements of one half times those of the other.
    Product(Product),
}

impl<T: Real> Nonlinearity<T> {
    /// The function of a node; none for affine nodes and the input.
    pub fn of(network: &Network, id: NodeId) -> Option<Self> {
        let node = network.node(id);
        match &node.layer {
            Layer::Activation(kind) => Some(Nonlinearity::Activation(activation(*kind))),
            Layer::MaxPool2d(pool) => {
                let input = &network.node(node.inputs[0]).shape;
                Some(Nonlinearity::MaxPool(MaxPool::new(pool, input, &node.shape)))
            }
            Layer::Product => Some(Nonlinearity::Product(Product::new(node.len()))),
            Layer::Input
            | Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::BatchNorm(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::Flatten
            | Layer::Add => None,
        }
    }

    /// Its values for inputs `[batch, n]`.
    pub fn values(&self, x: &[T]) -> Vec<T> {
        match self {
            Nonlinearity::Activation(f) => f.values(x),
            Nonlinearity::MaxPool(pool) => pool.values(x),
            Nonlinearity::Product(product) => product.values(x),
        }
    }

    /// No lines yet, with room for those of some elements.
    pub fn no_lines(&self, elements: usize) -> NodeLines<T> {
        match self {
            Nonlinearity::Activation(_) => NodeLines::Activation(Lines::without_lower_intercepts(elements)),
            Nonlinearity::MaxPool(_) => NodeLines::MaxPool(PoolLines::default()),
            Nonlinearity::Product(_) => NodeLines::Product(ProductLines::default()),
        }
    }

    /// Appends the lines for bounds `[n]` of one set: lines to be optimised, which hold in exact arithmetic in f64.
    pub fn extend(&self, lines: &mut NodeLines<T>, lower: &[f64], upper: &[f64]) {
        let convert = |values: &[f64]| values.iter().map(|&v| T::from_f64(v)).collect::<Vec<T>>();
        match (self, lines) {
            (Nonlinearity::Activation(f), NodeLines::Activation(lines)) => f.extend(lines, lower, upper),
            (Nonlinearity::MaxPool(pool), NodeLines::MaxPool(lines)) => {
                pool.extend(lines, &convert(lower), &convert(upper), LowerSlope::Adaptive);
            }
            (Nonlinearity::Product(product), NodeLines::Product(lines)) => {
                product.extend(lines, &convert(lower), &convert(upper));
            }
            (Nonlinearity::Activation(_), NodeLines::MaxPool(_) | NodeLines::Product(_))
            | (Nonlinearity::MaxPool(_), NodeLines::Activation(_) | NodeLines::Product(_))
            | (Nonlinearity::Product(_), NodeLines::Activation(_) | NodeLines::MaxPool(_)) => {
                unreachable!("lines of another function")
            }
        }
    }
}

/// A function that is not affine with the node it reads. Nodes that apply the same activation to the same input share one.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The node read.
    pub input: NodeId,
    /// Its place in [`Sites::positions`].
    pub position: usize,
    /// The nodes that apply the function, in network order.
    pub nodes: Vec<NodeId>,
}

/// The numbering that domains speak in.
#[derive(Clone, Debug, PartialEq)]
pub struct Sites {
    /// The nodes that activations, max poolings and products read, in network order; a *position* is an index into this list.
    pub positions: Vec<NodeId>,
    /// Position of each node that has one.
    pub position: Vec<Option<usize>>,
    /// The functions in the order of what they read; a *site* is an index into this list.
    pub sites: Vec<Site>,
    /// Site of each activation, max pooling and product.
    pub site: Vec<Option<usize>>,
}

impl Sites {
    /// The numbering of `network`.
    pub fn of(network: &Network) -> Self {
        let nodes = network.nodes();
        let kind = |id: NodeId| match &nodes[id].layer {
            Layer::Activation(kind) => Some(*kind),
            Layer::Input
            | Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::BatchNorm(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::MaxPool2d(_)
            | Layer::Product
            | Layer::Flatten
            | Layer::Add => None,
        };
        let mut sites: Vec<(Site, Option<Kind>)> = Vec::new();
        for (id, node) in nodes.iter().enumerate() {
            if !matches!(node.layer, Layer::Activation(_) | Layer::MaxPool2d(_) | Layer::Product) {
                continue;
            }
            let (input, kind) = (node.inputs[0], kind(id));
            let same =
                |(site, other): &&mut (Site, Option<Kind>)| site.input == input && kind.is_some() && *other == kind;
            match sites.iter_mut().find(same) {
                Some((site, _)) => site.nodes.push(id),
                None => sites.push((Site { input, position: 0, nodes: vec![id] }, kind)),
            }
        }
        sites.sort_by_key(|(site, _)| site.input);
        let mut result = Sites {
            positions: Vec::new(),
            position: vec![None; nodes.len()],
            sites: Vec::with_capacity(sites.len()),
            site: vec![None; nodes.len()],
        };
        for (mut site, _) in sites {
            if result.positions.last() != Some(&site.input) {
                result.position[site.input] = Some(result.positions.len());
                result.positions.push(site.input);
            }
            site.position = result.positions.len() - 1;
            site.nodes.iter().for_each(|&id| result.site[id] = Some(result.sites.len()));
            result.sites.push(site);
        }
        result
    }

    /// The sites that read a position.
    pub fn at(&self, position: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.sites.len()).filter(move |&site| self.sites[site].position == position)
    }
}
