//! A network loaded in one precision, with the numbering that complete verification speaks in.

use tightrope_engine::activation::{Activation, middle_of};
use tightrope_engine::{Cotangents, Engine, Loaded, NodeLines, Nonlinearity, Real, Reference, Site, Sites, Wants};
use tightrope_network::{Activation as Kind, Layer, Network, Node, NodeId, Weights};

use super::split::Split;
use crate::VerifyError;

/// A network ready to be walked forwards and backwards.
///
/// The reference engine loads it: the margins for rounding errors are those of its arithmetic.
pub(crate) struct Handle<'a, T> {
    /// The network.
    pub network: &'a Network,
    /// The network at its weights.
    pub at: Box<dyn Loaded<T>>,
    /// The nodes that activations, max poolings and products read, in network order; a *position* below is an index into this list.
    pub pre: Vec<NodeId>,
    /// Position of each node that has one.
    pub position: Vec<Option<usize>>,
    /// What is not affine; a *site* below is an index into this list.
    pub sites: Vec<Site>,
    /// Site of each activation, max pooling and product.
    pub site: Vec<Option<usize>>,
    /// By site.
    functions: Vec<Nonlinearity<T>>,
    /// By position, the sites that read it.
    readers: Vec<Vec<usize>>,
    /// By position: that of the pre-activation of the activation there, if that does not fall and only max poolings and products
    /// read it.
    /// Its bounds are the images of those of the pre-activation, which is what a search splits.
    pub image_of: Vec<Option<usize>>,
    /// By position, whether a max pooling or a product reads it or its image.
    pooled: Vec<bool>,
    /// By position, the kinks of the activations there; none for networks that are not linear between kinks.
    pub kinks: Option<Vec<Vec<f64>>>,
}

/// Relative width below which a neuron that a max pooling or a product reads is not split.
const NARROWEST: f64 = 1e-7;

/// Fails if `network` has a layer of a kind that complete verification does not cover.
pub(crate) fn check_kinds(network: &Network) -> Result<(), VerifyError> {
    let is_covered = |node: &&Node| match &node.layer {
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
        | Layer::Product => true,
        // Frozen before.
        Layer::BatchNorm(_) => false,
    };
    match network.nodes().iter().find(|node| !is_covered(node)) {
        Some(node) => Err(VerifyError::Layer { layer: node.name.clone(), kind: node.layer.kind() }),
        None => Ok(()),
    }
}

/// Where a pass meets a node that [`check_kinds`] refuses, or the input beyond the start.
pub(crate) fn not_covered(node: &Node) -> ! {
    unreachable!("`{}` is of kind `{}`", node.name, node.layer.kind())
}

/// The kinks of an activation that is linear between them.
fn kinks(kind: Kind) -> Option<Vec<f64>> {
    match kind {
        Kind::Relu | Kind::LeakyRelu { .. } => Some(vec![0.0]),
        Kind::Clip { lower, upper } => Some(vec![lower, upper]),
        Kind::Sigmoid | Kind::Tanh | Kind::Exp | Kind::Softplus | Kind::Reciprocal | Kind::Power { .. } => None,
    }
}

/// The kinks by position; none if something is not linear between kinks.
fn all_kinks(network: &Network, sites: &Sites) -> Option<Vec<Vec<f64>>> {
    let mut all = vec![Vec::new(); sites.positions.len()];
    for site in &sites.sites {
        let Layer::Activation(kind) = &network.node(site.nodes[0]).layer else { return None };
        all[site.position].extend(kinks(*kind)?);
    }
    for kinks in &mut all {
        kinks.sort_by(f64::total_cmp);
        kinks.dedup();
    }
    Some(all)
}

impl<'a, T: Real> Handle<'a, T>
where
    Reference: Engine<T>,
{
    /// `network` with the nearest numbers to `weights`, which must be checked.
    pub(crate) fn new(network: &'a Network, weights: &Weights) -> Self {
        let theta: Vec<T> = weights.theta().iter().map(|&v| T::from_f64(v)).collect();
        let at = match Reference.load(network, &theta, &[]) {
            Ok(at) => at,
            Err(problem) => unreachable!("the weights were checked: {problem}"),
        };
        let sites = Sites::of(network);
        let functions: Vec<_> =
            sites.sites.iter().filter_map(|site| Nonlinearity::of(network, site.nodes[0])).collect();
        // What reads several elements.
        let is_pool = |site: usize| match functions[site] {
            Nonlinearity::MaxPool(_) | Nonlinearity::Product(_) => true,
            Nonlinearity::Activation(_) => false,
        };
        let image = |&id: &NodeId| {
            let position = sites.position[id]?;
            let source = sites.site[id]?;
            let only_pools = sites.at(position).all(is_pool);
            let follows = match &functions[source] {
                Nonlinearity::Activation(f) => f.is_increasing(),
                Nonlinearity::MaxPool(_) | Nonlinearity::Product(_) => false,
            };
            (only_pools && follows).then(|| sites.sites[source].position)
        };
        let image_of: Vec<Option<usize>> = sites.positions.iter().map(image).collect();
        let mut pooled: Vec<bool> = (0..sites.positions.len()).map(|p| sites.at(p).any(is_pool)).collect();
        image_of.iter().flatten().for_each(|&source| pooled[source] = true);
        let kinks = all_kinks(network, &sites);
        let readers = (0..sites.positions.len()).map(|position| sites.at(position).collect()).collect();
        let Sites { positions, position, sites, site } = sites;
        Handle { network, at, pre: positions, position, sites, site, functions, readers, image_of, pooled, kinks }
    }
}

impl<T: Real> Handle<'_, T> {
    /// Elements of the node at `position`.
    pub(crate) fn width(&self, position: usize) -> usize {
        self.network.node(self.pre[position]).len()
    }

    /// The sites that read a position.
    pub(crate) fn sites_at(&self, position: usize) -> impl Iterator<Item = usize> + '_ {
        self.readers[position].iter().copied()
    }

    /// The function of a site that applies one to each element.
    pub(crate) fn activation(&self, site: usize) -> Option<&dyn Activation<T>> {
        match &self.functions[site] {
            Nonlinearity::Activation(f) => Some(&**f),
            Nonlinearity::MaxPool(_) | Nonlinearity::Product(_) => None,
        }
    }

    /// The function that node `id` applies to each element, and its kinks if it is linear between them; none for nodes that
    /// are no activations.
    pub(crate) fn function_of(&self, id: NodeId) -> Option<(&dyn Activation<T>, Option<Vec<f64>>)> {
        match &self.network.node(id).layer {
            Layer::Activation(kind) => Some((self.activation(self.site[id]?)?, kinks(*kind))),
            _ => None,
        }
    }

    fn activations_at(&self, position: usize) -> impl Iterator<Item = &dyn Activation<T>> {
        self.sites_at(position).filter_map(|site| self.activation(site))
    }

    /// Whether lines of the neurons at `position` have shares that may be optimised where l ≤ z ≤ u.
    pub(crate) fn has_choice(&self, position: usize, l: f64, u: f64) -> bool {
        let (l, u) = (T::from_f64(l), T::from_f64(u));
        self.activations_at(position).any(|f| f.has_choice() && f.is_open(l, u))
    }

    /// Whether better bounds l ≤ z ≤ u of a neuron at `position`, or a split, make any line better.
    pub(crate) fn is_open(&self, position: usize, l: f64, u: f64) -> bool {
        let is_wide = || u - l > NARROWEST * (1.0 + l.abs() + u.abs());
        let is_open = |f: &dyn Activation<T>| f.is_open(T::from_f64(l), T::from_f64(u));
        self.activations_at(position).any(is_open) || self.pooled[position] && is_wide()
    }

    /// Where a neuron with l ≤ z ≤ u is split, if that makes any line better.
    pub(crate) fn split_point(&self, position: usize, l: f64, u: f64) -> Option<f64> {
        let open = |f: &&dyn Activation<T>| f.is_open(T::from_f64(l), T::from_f64(u));
        match self.activations_at(position).find(open) {
            Some(f) => Some(f.split_point(l, u)),
            None => self.is_open(position, l, u).then(|| middle_of(l, u)),
        }
    }

    /// The image of [l, u] under the activation at an image's position, rounded outwards in f64.
    fn image(&self, position: usize, l: f64, u: f64) -> Option<(f64, f64)> {
        let f = self.activation(self.site[self.pre[position]]?)?;
        let error = f.value_error().to_f64();
        let (low, high) = (f.value(T::from_f64(l)).to_f64(), f.value(T::from_f64(u)).to_f64());
        let margin = |y: f64| if error == 0.0 { 0.0 } else { error * y.abs() + f64::MIN_POSITIVE };
        Some((low - margin(low), high + margin(high)))
    }

    /// Bounds of a position, cut by splits of its neurons or of those that it is the image of; none if no split does.
    pub(crate) fn cut<'s>(
        &self,
        position: usize,
        (lower, upper): (&[f64], &[f64]),
        splits: impl Iterator<Item = &'s Split>,
    ) -> Option<(Vec<f64>, Vec<f64>)> {
        let source = self.image_of[position];
        let mut cut: Option<(Vec<f64>, Vec<f64>)> = None;
        for split in splits.filter(|split| split.position == position || Some(split.position) == source) {
            let (lower, upper) = cut.get_or_insert_with(|| (lower.to_vec(), upper.to_vec()));
            let (l, u) = (&mut lower[split.index], &mut upper[split.index]);
            if split.position == position {
                split.cut(l, u);
            } else if let Some((low, high)) = self.image(position, split.point, split.point) {
                match split.above {
                    true => *l = l.max(low),
                    false => *u = u.min(high),
                }
            }
        }
        cut
    }

    /// The lines of every site with room for `rows` sets, and no set yet.
    pub(crate) fn no_lines(&self, rows: usize) -> Vec<NodeLines<T>> {
        let of = |(site, f): (&Site, &Nonlinearity<T>)| f.no_lines(rows * self.width(site.position));
        self.sites.iter().zip(&self.functions).map(of).collect()
    }

    /// Appends the lines of the sites at `position` for one more set of bounds.
    pub(crate) fn extend_lines(&self, lines: &mut [NodeLines<T>], position: usize, lower: &[f64], upper: &[f64]) {
        for site in self.sites_at(position) {
            self.functions[site].extend(&mut lines[site], lower, upper);
        }
    }

    /// Appends the sites at `position`, the next one, with lines for sets of bounds `[sets, n]`.
    pub(crate) fn push_lines(&self, lines: &mut Vec<NodeLines<T>>, position: usize, lower: &[f64], upper: &[f64]) {
        let n = self.width(position);
        for site in self.sites_at(position) {
            let mut own = self.functions[site].no_lines(lower.len());
            for (lower, upper) in lower.chunks_exact(n).zip(upper.chunks_exact(n)) {
                self.functions[site].extend(&mut own, lower, upper);
            }
            lines.push(own);
        }
    }

    /// The shares of the lines of least area `[sets, n]` by position, for the positions that `lines` know.
    pub(crate) fn shares(&self, lines: &[NodeLines<T>], sets: usize) -> Vec<Vec<T>> {
        let known = self.sites.get(lines.len()).map_or(self.pre.len(), |site| site.position);
        let of = |position: usize| {
            let own = || self.sites_at(position).filter_map(|site| lines[site].activation());
            // Shares that are slopes must be those of the ReLU.
            let first = own().find(|lines| lines.fan.is_none()).or_else(|| own().next());
            // What only max poolings and products read has none that count.
            first.map_or_else(|| vec![T::ZERO; sets * self.width(position)], |lines| lines.shares().to_vec())
        };
        (0..known).map(of).collect()
    }

    /// The same for `count` rows that share one set of lines.
    pub(crate) fn repeated_shares(&self, lines: &[NodeLines<T>], count: usize) -> Vec<Vec<T>> {
        self.shares(lines, 1).into_iter().map(|shares| shares.repeat(count)).collect()
    }

    /// Whether several activations at one position share their shares, so that those of least area for one may not be so
    /// for the other.
    pub(crate) fn has_shared_positions(&self) -> bool {
        (0..self.pre.len()).any(|position| self.activations_at(position).count() > 1)
    }

    /// Products of one evaluation.
    pub(crate) fn products(&self) -> u64 {
        let of = |node: &Node| match &node.layer {
            Layer::Linear(linear) => linear.in_features * linear.out_features,
            Layer::Conv2d(conv) => node.len() * (conv.in_channels / conv.groups) * conv.kernel[0] * conv.kernel[1],
            Layer::AvgPool2d(pool) => node.len() * pool.kernel[0] * pool.kernel[1],
            Layer::Gather(gather) => gather.terms(),
            Layer::Affine(_) | Layer::BatchNorm(_) => node.len(),
            Layer::Product => node.len(),
            Layer::Input | Layer::Activation(_) | Layer::MaxPool2d(_) | Layer::Flatten | Layer::Add => 0,
        };
        self.network.nodes().iter().map(|node| of(node) as u64).sum()
    }

    /// Whether one row alone takes long to be walked back.
    pub(crate) fn is_large(&self) -> bool {
        self.products() >= 1 << 21
    }

    /// Elements of all nodes up to `id`.
    pub(crate) fn elements(&self, id: NodeId) -> usize {
        self.network.nodes()[..=id].iter().map(|node| node.len()).sum()
    }

    /// Outputs `[batch, k]` for concrete inputs `[batch, d]`.
    pub(crate) fn outputs(&self, inputs: &[T]) -> Vec<T> {
        match self.at.forward(inputs) {
            Ok(outputs) => outputs,
            Err(problem) => unreachable!("inputs come from the network's own box: {problem}"),
        }
    }

    /// What `cotangent` makes of the outputs `[batch, k]`, pulled back to the inputs; none if it makes nothing of them.
    pub(crate) fn gradient(&self, inputs: &[T], cotangent: impl FnOnce(&[T]) -> Option<Vec<T>>) -> Option<Vec<T>> {
        let (outputs, tape) = match self.at.forward_taped(inputs) {
            Ok(taped) => taped,
            Err(problem) => unreachable!("inputs come from the network's own box: {problem}"),
        };
        let cotangent = cotangent(&outputs)?;
        match self.at.vjp(&tape, &Cotangents::on_lower(cotangent), Wants::INPUT) {
            Ok(gradients) => gradients.input,
            Err(problem) => unreachable!("the tape is this network's own: {problem}"),
        }
    }
}
