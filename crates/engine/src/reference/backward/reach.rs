//! Which positions of each feature map a coefficient row can reach: its receptive field, structurally.
//!
//! A coefficient may be 0 by value inside the field, where its cotangent still matters; outside the
//! field it is 0 for every θ and its cotangent is never read.

use tightrope_network::{Layer, NodeId};

use crate::Real;
use crate::reference::plan::Plan;

/// Positions reached at one node, `[rows, H·W]`, or all of them.
#[derive(Clone)]
pub(super) enum Reach {
    Nothing,
    Some(Vec<bool>),
    Everything,
}

impl Reach {
    fn merge(&mut self, other: &Reach) {
        match (&mut *self, other) {
            (_, Reach::Nothing) | (Reach::Everything, _) => {}
            (Reach::Some(mine), Reach::Some(theirs)) => mine.iter_mut().zip(theirs).for_each(|(a, &b)| *a |= b),
            _ => *self = other.clone(),
        }
    }
}

/// The reach of `rows` (`[count, n]` on node `start`) at every node up to `start`.
pub(super) fn reach<T: Real>(plan: &Plan<T>, start: NodeId, rows: &[T], count: usize) -> Vec<Reach> {
    let nodes = plan.network.nodes();
    let mut result = vec![Reach::Nothing; start + 1];
    result[start] = match nodes[start].shape.as_slice() {
        &[channels, height, width] => {
            let positions = height * width;
            let mut mask = vec![false; count * positions];
            for (row, mask) in rows.chunks_exact(channels * positions).zip(mask.chunks_exact_mut(positions)) {
                for plane in row.chunks_exact(positions) {
                    mask.iter_mut().zip(plane).for_each(|(m, &v)| *m |= v != T::ZERO);
                }
            }
            Reach::Some(mask)
        }
        _ => Reach::Everything,
    };
    for id in (1..=start).rev() {
        let node = &nodes[id];
        if matches!(result[id], Reach::Nothing) {
            continue;
        }
        let passed = match &node.layer {
            Layer::Activation(_) | Layer::Add | Layer::Affine(_) | Layer::BatchNorm(_) => result[id].clone(),
            Layer::Conv2d(_) => match &result[id] {
                Reach::Some(mask) => Reach::Some(plan.map(id).window_reach(mask)),
                Reach::Nothing | Reach::Everything => Reach::Everything,
            },
            Layer::Input
            | Layer::Linear(_)
            | Layer::AvgPool2d(_)
            | Layer::Gather(_)
            | Layer::MaxPool2d(_)
            | Layer::Product
            | Layer::Flatten => Reach::Everything,
        };
        node.inputs.iter().for_each(|&input| result[input].merge(&passed));
    }
    result
}
