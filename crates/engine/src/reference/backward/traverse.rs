//! The way back: coefficients of rows carried from a node to the input, layer by layer. Whoever walks it says what becomes
//! of them at functions that are not affine and at the end.

use tightrope_network::{Layer, NodeId};

use super::accumulate;
use crate::Real;
use crate::reference::affine::Weights;
use crate::reference::plan::Plan;

/// What a walk does on the way.
pub(in crate::reference) trait Pass<T> {
    /// Sees, and may change, the `rows` (`[count, n]`) on node `id` before they go on; `values` are the constants so far.
    fn enter(&mut self, id: NodeId, rows: &mut Vec<T>, values: &mut [T]);

    /// Replaces the rows on the activation, max pooling or product `id` by rows on its input, adding constants to `values`.
    fn relax(&mut self, id: NodeId, rows: Vec<T>, values: &mut [T]) -> Vec<T>;

    /// Adds the minima of the rows that have arrived at the end.
    fn finish(&mut self, rows: Vec<T>, values: &mut [T]);
}

/// Carries `rows` (`[count, n]`) from the output of node `start` back to node `stop`; returns the constants, minima included.
pub(in crate::reference) fn traverse<T: Real>(
    plan: &Plan<T>,
    [start, stop]: [NodeId; 2],
    rows: Vec<T>,
    count: usize,
    pass: &mut impl Pass<T>,
) -> Vec<T> {
    let nodes = plan.network.nodes();
    let mut coefficients: Vec<Vec<T>> = vec![Vec::new(); start + 1];
    let mut values = vec![T::ZERO; count];
    coefficients[start] = rows;
    for id in (stop..=start).rev() {
        let mut row = std::mem::take(&mut coefficients[id]);
        if row.is_empty() {
            continue;
        }
        pass.enter(id, &mut row, &mut values);
        if id == stop {
            pass.finish(row, &mut values);
            continue;
        }
        let node = &nodes[id];
        match &node.layer {
            Layer::Input => unreachable!("walks end at the input at the latest"),
            Layer::Activation(_) | Layer::MaxPool2d(_) | Layer::Product => {
                let row = pass.relax(id, row, &mut values);
                accumulate(&mut coefficients[node.inputs[0]], row);
            }
            Layer::Flatten => accumulate(&mut coefficients[node.inputs[0]], row),
            Layer::Add => {
                let (&last, others) = node.inputs.split_last().unwrap_or((&0, &[]));
                others.iter().for_each(|&input| accumulate(&mut coefficients[input], row.clone()));
                accumulate(&mut coefficients[last], row);
            }
            Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::Affine(_)
            | Layer::BatchNorm(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_) => {
                let map = plan.map(id);
                map.bias_dot(&row, &mut values);
                let target = &mut coefficients[node.inputs[0]];
                target.resize(count * map.inputs, T::ZERO);
                map.transpose(Weights::Signed, &row, count, target);
            }
        }
    }
    values
}
