//! Models whose batch norms are affine layers with fixed numbers: what is evaluated, certified and proved.

use std::borrow::Cow;

use tightrope_exact::Enclosure;

use crate::NetworkError;
use crate::layers::{Affine, BatchNorm, Layer};
use crate::layout::BufferLayout;
use crate::model::Model;
use crate::network::Network;
use crate::weights::Place;

impl Model {
    /// The same function without batch norms: each is an affine layer of the same name and parameters, with
    /// scale 1/√(variance + ε) and shift −mean·scale, the nearest f64 in the layer and the numbers themselves in
    /// [`Model::exact`]. A model without batch norms is this already.
    ///
    /// # Errors
    /// If the buffers do not fit the network; see [`Network::check_buffers`].
    pub fn frozen(&self) -> Result<Cow<'_, Model>, NetworkError> {
        self.network.check_buffers(&self.buffers)?;
        if self.network.buffers().total() == 0 {
            return Ok(Cow::Borrowed(self));
        }
        let mut weights = self.weights().into_owned();
        let mut nodes = self.network.nodes().to_vec();
        for (id, norm) in self.network.batch_norms() {
            let (mut scales, mut shifts) = (Vec::new(), Vec::new());
            for (channel, (scale, shift)) in self.statistics(norm).into_iter().enumerate() {
                let numbers =
                    [(&mut scales, Place::Scale(id, channel), scale), (&mut shifts, Place::Shift(id, channel), shift)];
                for (list, place, number) in numbers {
                    let value = number.value.to_f64();
                    list.push(value);
                    if !number.is(value) {
                        weights.refine(place, number);
                    }
                }
            }
            nodes[id].layer = Layer::Affine(Affine {
                inner: nodes[id].len() / norm.channels,
                scale: scales,
                shift: shifts,
                weight: Some(norm.weight),
                bias: Some(norm.bias),
            });
        }
        let network = Network::from_parts(nodes, self.network.parameters().clone(), BufferLayout::default());
        Ok(Cow::Owned(Model::with_weights(network, weights)))
    }

    /// Scale and shift of each channel.
    fn statistics(&self, norm: &BatchNorm) -> Vec<(Enclosure, Enclosure)> {
        let layout = self.network.buffers();
        let (means, variances) = (layout.slice(&self.buffers, norm.mean), layout.slice(&self.buffers, norm.variance));
        let (one, epsilon) = (Enclosure::from(1.0), Enclosure::from(norm.epsilon));
        let of = |(&mean, &variance): (&f32, &f32)| {
            let root = Enclosure::from(f64::from(variance)).plus(&epsilon).root();
            match root.and_then(|root| one.over(&root)) {
                Some(scale) => (scale.clone(), Enclosure::from(-f64::from(mean)).times(&scale)),
                None => unreachable!("a variance was checked to be no less than 0, and ε is more"),
            }
        };
        means.iter().zip(variances).map(of).collect()
    }
}
