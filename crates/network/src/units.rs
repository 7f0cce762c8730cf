//! Networks whose values are counted in other units, powers of two, which changes no digit of any number.

use crate::layers::Layer;
use crate::model::Model;
use crate::network::Network;
use crate::weights::{Place, Weights};

/// What the numbers of a layer are multiplied by: powers of two.
#[derive(Clone, Copy)]
struct Powers {
    /// Of the matrix, or of an affine layer's factor.
    factor: i64,
    /// Of the bias.
    summand: i64,
    /// Of an affine layer's constant scale.
    scale: i64,
    /// Of its constant shift.
    shift: i64,
}

impl Network {
    /// The model that maps inputs x·2^(−units\[0\]) to outputs y·2^(−units\[last\]) wherever this network with `weights` maps x
    /// to y, every node's values being those of this network times 2^(−unit of the node).
    ///
    /// None if a ReLU, reshape, pooling or sum has another unit than its inputs, an activation that is not homogeneous or a
    /// product has any but 0, there is a batch norm ([`Model::frozen`] has none), or a number would leave the range of f64.
    pub fn in_units(&self, weights: &Weights, units: &[i32]) -> Option<Model> {
        let mut nodes = self.nodes().to_vec();
        let mut theta = weights.theta().to_vec();
        let mut finer: Vec<(Place, i64)> = weights.finer().keys().map(|&place| (place, 0)).collect();
        for (id, node) in nodes.iter_mut().enumerate() {
            let unit = |node: usize| i64::from(units[node]);
            let input = node.inputs.first().copied().unwrap_or(0);
            let (factor, summand) = (unit(input) - unit(id), -unit(id));
            let mut powers = Powers { factor, summand, scale: 0, shift: -unit(input) };
            let parameters = node.layer.parameters();
            match &mut node.layer {
                Layer::Input => continue,
                Layer::Activation(activation) if !activation.is_homogeneous() => {
                    if unit(input) != 0 || unit(id) != 0 {
                        return None;
                    }
                    continue;
                }
                // Twice the unit of its factors.
                Layer::Product => {
                    if unit(input) != 0 || unit(id) != 0 {
                        return None;
                    }
                    continue;
                }
                Layer::Activation(_)
                | Layer::Flatten
                | Layer::Add
                | Layer::AvgPool2d(_)
                | Layer::Gather(_)
                | Layer::MaxPool2d(_) => {
                    if node.inputs.iter().any(|&input| unit(input) != unit(id)) {
                        return None;
                    }
                    continue;
                }
                Layer::BatchNorm(_) => return None,
                Layer::Conv2d(_) | Layer::Linear(_) => {}
                Layer::Affine(affine) => {
                    // Without a trainable factor the constants take its part.
                    if affine.weight.is_none() {
                        (powers.scale, powers.shift) = (factor, summand);
                    }
                    affine.scale.iter_mut().try_for_each(|value| multiply(value, powers.scale))?;
                    affine.shift.iter_mut().try_for_each(|value| multiply(value, powers.shift))?;
                }
            }
            for (parameter, power) in [(parameters.weight, powers.factor), (parameters.bias, powers.summand)] {
                let Some(info) = parameter.map(|parameter| self.parameters().get(parameter)) else { continue };
                theta[info.range()].iter_mut().try_for_each(|value| multiply(value, power))?;
                for (place, own) in &mut finer {
                    if matches!(place, Place::Theta(index) if info.range().contains(index)) {
                        *own = power;
                    }
                }
            }
            for (place, own) in &mut finer {
                match place {
                    Place::Scale(node, _) if *node == id => *own = powers.scale,
                    Place::Shift(node, _) if *node == id => *own = powers.shift,
                    _ => {}
                }
            }
        }
        let mut scaled = Weights::new(theta);
        for (place, power) in finer {
            scaled.refine(place, weights.finer()[&place].scaled(power));
        }
        let network = Network::from_parts(nodes, self.parameters().clone(), self.buffers().clone());
        Some(Model::with_weights(network, scaled))
    }
}

/// value·2^power; none if that is not exact.
fn multiply(value: &mut f64, power: i64) -> Option<()> {
    let scaled = tightrope_exact::Dyadic::from(*value).scaled(power);
    let result = scaled.to_f64();
    // Numbers finer than f64 have their nearest one here, which is no exact multiple at the end of the range only.
    let exact = result.is_finite() && tightrope_exact::Dyadic::from(result) == scaled;
    exact.then(|| *value = result)
}

#[cfg(test)]
mod tests {
    use crate::{Model, NetworkBuilder, Place, Weights};
    use tightrope_exact::Enclosure;

    #[test]
    fn values_are_the_same_in_other_units() {
        let mut builder = NetworkBuilder::new(&[1]).unwrap();
        let third = 1.0 / 3.0;
        let first = builder.normalise("normalise", vec![third], vec![0.5], builder.input()).unwrap();
        let linear = builder.linear("linear", 1, true, first).unwrap();
        let relu = builder.add("relu", crate::Layer::RELU, &[linear]).unwrap();
        builder.linear("last", 1, true, relu).unwrap();
        let network = builder.build().unwrap();
        let mut weights = Weights::new(vec![3.0, -1.0, 1e18, 7.0]);
        weights.refine(Place::Scale(1, 0), Enclosure::from(1.0).over(&Enclosure::from(3.0)).unwrap());
        let Model { network: scaled, exact, .. } = network.in_units(&weights, &[1, 2, 3, 3, 60]).unwrap();
        let exact = exact.unwrap();
        let up = |power: i32| f64::powi(2.0, power);
        assert_eq!(exact.theta(), [3.0 * up(-1), -up(-3), 1e18 * up(-57), 7.0 * up(-60)]);
        let crate::Layer::Affine(affine) = &scaled.node(1).layer else { panic!() };
        assert_eq!((&affine.scale[..], &affine.shift[..]), (&[third * up(-1)][..], &[0.5 * up(-2)][..]));
        let expected = weights.number(Place::Scale(1, 0), 0.0).scaled(-1);
        assert_eq!(exact.number(Place::Scale(1, 0), 0.0), expected);
        assert!(network.in_units(&weights, &[0, 0, 1, 0, 0]).is_none());
        assert!(network.in_units(&weights, &[0, 0, 0, 0, -1200]).is_none());
    }
}
