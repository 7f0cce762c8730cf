//! Batch norms folded into the layers before them, for files that other tools run.

use crate::NetworkError;
use crate::layers::{BatchNorm, Layer};
use crate::layout::{BufferId, ParameterId};
use crate::model::Model;
use crate::network::{Network, NetworkBuilder, NodeId};

impl Network {
    /// The batch norm that alone reads the convolution or linear layer `node`.
    fn norm_after(&self, node: NodeId) -> Option<(NodeId, &BatchNorm)> {
        let foldable = matches!(self.node(node).layer, Layer::Conv2d(_) | Layer::Linear(_));
        let readers = || self.nodes().iter().filter(|reader| reader.inputs.contains(&node)).count();
        self.batch_norms().find(|&(id, _)| foldable && self.node(id).inputs == [node] && readers() == 1)
    }
}

impl Model {
    /// The same function up to the rounding of f32, in which each batch norm that alone reads a convolution or linear
    /// layer is folded into it: W' = w·s·W and b' = w·s·(b − mean) + β with s = 1/√(variance + ε). Other batch norms
    /// stay.
    ///
    /// Nodes and parameters keep their names; a convolution or linear layer without a bias gets one called
    /// `{name}.bias`, or `{name}.bias_folded` and so on where that is taken.
    ///
    /// # Errors
    /// If θ or the buffers do not fit the network.
    pub fn folded(&self) -> Result<Model, NetworkError> {
        let network = &self.network;
        let weights = self.weights();
        network.check_weights(&weights)?;
        network.check_buffers(&self.buffers)?;
        let mut builder = NetworkBuilder::new(network.input_shape())?;
        let (mut theta, mut buffers) = (Vec::new(), Vec::new());
        let mut parameters = vec![ParameterId(0); network.parameters().iter().count()];
        let mut statistics = vec![BufferId(0); network.buffers().iter().count()];
        let mut ids: Vec<Option<NodeId>> = vec![None; network.nodes().len()];
        ids[0] = Some(builder.input());
        for (id, node) in network.nodes().iter().enumerate() {
            if ids[id].is_some() {
                continue;
            }
            let norm = network.norm_after(id);
            let factors = norm.map(|(_, norm)| self.factors(norm, weights.theta()));
            let old = node.layer.parameters();
            if let Some(weight) = old.weight {
                let info = network.parameters().get(weight);
                parameters[weight.0] = builder.parameter(&info.name, &info.shape)?;
                let values = weights.theta()[info.range()].iter().enumerate();
                let row = info.len() / info.shape[0];
                theta.extend(values.map(|(i, w)| factors.as_ref().map_or(1.0, |factors| factors[i / row].0) * w));
            }
            let own_bias = old.bias.map(|bias| network.parameters().slice(weights.theta(), bias));
            let mut bias = None;
            if let Some(old) = old.bias {
                let info = network.parameters().get(old);
                parameters[old.0] = builder.parameter(&info.name, &info.shape)?;
                bias = Some(parameters[old.0]);
            } else if let Some((_, norm)) = norm {
                let mut name = format!("{}.bias", node.name);
                while network.parameters().find(&name).or(network.buffers().find(&name)).is_some() {
                    name.push_str("_folded");
                }
                bias = Some(builder.parameter(name, &[norm.channels])?);
            }
            match &factors {
                None => theta.extend(own_bias.unwrap_or_default()),
                Some(factors) => theta.extend(factors.iter().enumerate().map(|(channel, &(factor, mean, summand))| {
                    factor * (own_bias.map_or(0.0, |bias| bias[channel]) - mean) + summand
                })),
            }
            for buffer in node.layer.buffers() {
                let info = network.buffers().get(buffer);
                statistics[buffer.0] = builder.buffer(&info.name, &info.shape)?;
                buffers.extend_from_slice(&self.buffers[info.range()]);
            }
            let mut layer = node.layer.clone().with_tensors(|id| parameters[id.0], |id| statistics[id.0]);
            if norm.is_some() {
                match &mut layer {
                    Layer::Conv2d(conv) => conv.bias = bias,
                    Layer::Linear(linear) => linear.bias = bias,
                    Layer::Input
                    | Layer::Affine(_)
                    | Layer::BatchNorm(_)
                    | Layer::AvgPool2d(_)
                    | Layer::Gather(_)
                    | Layer::MaxPool2d(_)
                    | Layer::Activation(_)
                    | Layer::Flatten
                    | Layer::Add
                    | Layer::Product => unreachable!("batch norms are folded into convolutions and linear layers"),
                }
            }
            let inputs: Vec<NodeId> = node.inputs.iter().filter_map(|&input| ids[input]).collect();
            ids[id] = Some(builder.add(&node.name, layer, &inputs)?);
            if let Some((folded, _)) = norm {
                ids[folded] = ids[id];
            }
        }
        let theta = theta.into_iter().map(|value: f64| value as f32).collect();
        Ok(Model { buffers, ..Model::new(builder.build()?, theta) })
    }

    /// w·s, mean and β of each channel.
    fn factors(&self, norm: &BatchNorm, theta: &[f64]) -> Vec<(f64, f64, f64)> {
        let (parameters, buffers) = (self.network.parameters(), self.network.buffers());
        let [weight, bias] = [norm.weight, norm.bias].map(|id| parameters.slice(theta, id));
        let [mean, variance] = [norm.mean, norm.variance].map(|id| buffers.slice(&self.buffers, id));
        let of = |c: usize| {
            let factor = weight[c] / (f64::from(variance[c]) + norm.epsilon).sqrt();
            (factor, f64::from(mean[c]), bias[c])
        };
        (0..norm.channels).map(of).collect()
    }
}
