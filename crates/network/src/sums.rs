//! Networks with linear combinations of their inputs as further outputs.

use crate::NetworkError;
use crate::layers::Layer;
use crate::network::{Network, NodeId};
use crate::weights::Weights;

/// Most elements of the matrices that are added (512 MiB in f64).
const MAX_ADDED: usize = 1 << 26;

impl Network {
    /// The network of the outputs y of this one followed by s_k = Σ factor·x over the (input, factor) of each of `sums`,
    /// and its weights. In exact arithmetic y is what it was: the layers added are P·y + Q·(S·x) with matrices P and Q of
    /// zeros and ones.
    ///
    /// # Errors
    /// If `sums` is empty, an input does not exist, a factor is not finite, or the matrices would be too large.
    pub fn with_sums(&self, weights: &Weights, sums: &[Vec<(u32, f64)>]) -> Result<(Network, Weights), NetworkError> {
        let (inputs, outputs, added) = (self.input_len(), self.output_len(), sums.len());
        let refuse = |problem: String| Err(NetworkError::Network(problem));
        self.check_weights(weights)?;
        let mut terms = sums.iter().flatten();
        if terms.any(|&(input, factor)| input as usize >= inputs || !factor.is_finite()) {
            return refuse(format!("a linear combination is not of the network's {inputs} inputs, or not finite"));
        }
        let total = outputs + added;
        let elements = [(added, inputs), (total, added), (total, outputs)]
            .iter()
            .try_fold(0_usize, |sum, &(a, b)| sum.checked_add(a.checked_mul(b)?));
        if elements.is_none_or(|elements| elements > MAX_ADDED) {
            return refuse(format!(
                "{added} linear combinations of {inputs} inputs beside {outputs} outputs take more than {MAX_ADDED} numbers; \
                 use fewer at a time"
            ));
        }
        let mut builder = self.reopened();
        let name = |stem: &str| {
            let taken = |name: &str| {
                self.nodes().iter().any(|node| node.name == name)
                    || self.parameters().find(&format!("{name}.weight")).is_some()
                    || self.buffers().find(&format!("{name}.weight")).is_some()
            };
            let mut name = stem.to_string();
            while taken(&name) {
                name.push('_');
            }
            name
        };
        let flat: NodeId = match self.input_shape().len() {
            1 => builder.input(),
            _ => builder.add(name("sums.inputs"), Layer::Flatten, &[builder.input()])?,
        };
        let combined = builder.linear(&name("sums"), added, false, flat)?;
        let placed = builder.linear(&name("sums.placed"), total, false, combined)?;
        let before = builder.linear(&name("sums.outputs"), total, false, self.output())?;
        builder.add(name("sums.all"), Layer::Add, &[before, placed])?;
        let mut theta = weights.theta().to_vec();
        for sum in sums {
            let first = theta.len();
            theta.resize(first + inputs, 0.0);
            sum.iter().for_each(|&(input, factor)| theta[first + input as usize] = factor);
        }
        let mut ones = |columns: usize, shift: usize| {
            let first = theta.len();
            theta.resize(first + total * columns, 0.0);
            (0..columns).for_each(|k| theta[first + (shift + k) * columns + k] = 1.0);
        };
        ones(added, outputs);
        ones(outputs, 0);
        let mut all = Weights::new(theta);
        weights.finer().iter().for_each(|(&place, number)| all.refine(place, number.clone()));
        Ok((builder.build()?, all))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Layer, NetworkBuilder, Place, Weights};
    use tightrope_exact::Enclosure;

    #[test]
    fn matrices_stand_where_the_layers_read_them() {
        let mut builder = NetworkBuilder::new(&[1, 1, 2]).unwrap();
        let flat = builder.add("sums.inputs", Layer::Flatten, &[builder.input()]).unwrap();
        builder.linear("sums", 1, true, flat).unwrap();
        let network = builder.build().unwrap();
        let mut weights = Weights::new(vec![3.0, -1.0, 7.0]);
        let third = Enclosure::from(1.0).over(&Enclosure::from(3.0)).unwrap();
        weights.refine(Place::Theta(1), third.clone());
        let sums = [vec![(1, 0.1)], vec![(0, 1.0), (1, -2.0)]];
        let (network, all) = network.with_sums(&weights, &sums).unwrap();
        assert_eq!((network.input_len(), network.output_len()), (2, 3));
        let names: Vec<&str> = network.nodes().iter().map(|node| node.name.as_str()).collect();
        let added = ["sums.inputs_", "sums_", "sums.placed", "sums.outputs", "sums.all"];
        assert_eq!(names[3..], added);
        let [combined, placed, before] = [4, 5, 6].map(|id: usize| {
            let weight = network.node(id).layer.parameters().weight.unwrap();
            &all.theta()[network.parameters().get(weight).range()]
        });
        assert_eq!(combined, [0.0, 0.1, 1.0, -2.0]);
        assert_eq!(placed, [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
        assert_eq!(before, [1.0, 0.0, 0.0]);
        assert_eq!(all.number(Place::Theta(1), 0.0), third);
        assert_eq!(network.node(7).inputs, [6, 5]);
    }

    #[test]
    fn what_is_no_combination_of_inputs_is_refused() {
        let mut builder = NetworkBuilder::new(&[2]).unwrap();
        builder.linear("linear", 1, false, builder.input()).unwrap();
        let network = builder.build().unwrap();
        let weights = Weights::new(vec![1.0, 1.0]);
        for sums in [vec![], vec![vec![(2, 1.0)]], vec![vec![(0, f64::NAN)]], vec![vec![(0, 1.0)]; 9000]] {
            assert!(network.with_sums(&weights, &sums).is_err());
        }
        assert!(network.with_sums(&Weights::new(vec![1.0]), &[vec![(0, 1.0)]]).is_err());
    }
}
