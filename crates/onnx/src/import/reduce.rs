//! Sums, means, maxima and minima along axes.

use tightrope_network::MaxPool2d;

use super::affine::Step;
use super::arrange::{Selection, positions};
use super::draft::{Activation, Operation};
use super::fold::{kept, reduced};
use super::graph::Importer;
use super::node::Node;
use super::shape::axis;
use crate::error::Problem;

impl<'a> Importer<'a> {
    /// The axes of `rank` that a reduction goes along, and whether they stay with length 1.
    pub fn reduction(&mut self, node: &mut Node<'a>, rank: usize) -> Result<(Vec<usize>, bool), Problem> {
        let keep = node.int("keepdims", 1)? != 0;
        let nothing_means_none = node.int("noop_with_empty_axes", 0)? != 0;
        let axes = match self.axes(node, 1)? {
            Some(axes) if !axes.is_empty() => {
                axes.iter().map(|&given| axis(node, given, rank)).collect::<Result<Vec<_>, _>>()?
            }
            _ if nothing_means_none => Vec::new(),
            _ => (0..rank).collect(),
        };
        Ok((axes, keep))
    }

    pub fn reduce(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 2)?;
        let input = self.activation(node, 0)?;
        let own = input.dims.to_vec();
        let (axes, keep) = self.reduction(node, own.len())?;
        let dims = reduced(&own, &axes);
        let outputs: usize = dims.iter().product();
        let each = input.len() / outputs.max(1);
        self.check_room(node, &own)?;
        let mut sources = vec![0; input.len()];
        let mut filled = vec![0; outputs];
        for (source, position) in positions(&own).enumerate() {
            let place = position.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
            let place = place.fold(0, |index, (axis, &at)| index * own[axis] + at);
            sources[place * each + filled[place]] = source as u32;
            filled[place] += 1;
        }
        let operator = node.proto.op_type.as_str();
        let result = match operator {
            "ReduceMax" => self.largest(node, &input, sources, [outputs, each])?,
            "ReduceMin" => {
                let negated = self.scalar_step(node, Step::Multiply, &input, -1.0)?;
                let largest = self.largest(node, &negated, sources, [outputs, each])?;
                self.scalar_step(node, Step::Multiply, &largest, -1.0)?
            }
            _ => {
                let sums = Selection { dims: dims.clone(), sources, counts: Some(vec![each; outputs]) };
                let sums = self.select(node, &input, sums)?;
                match operator {
                    "ReduceMean" => self.scalar_step(node, Step::Divide, &sums, each as f64)?,
                    _ => sums,
                }
            }
        };
        let dims = if keep { kept(&own, &axes) } else { dims };
        self.alias(node, Activation { dims: dims.into(), ..result })
    }

    /// The largest of each group of elements.
    fn largest(
        &mut self,
        node: &Node<'a>,
        input: &Activation,
        sources: Vec<u32>,
        [outputs, each]: [usize; 2],
    ) -> Result<Activation, Problem> {
        let groups = self.select(node, input, Selection::one_each(vec![1, 1, outputs, each], sources))?;
        let image = self.laid(node, &groups, &[1, outputs, each])?;
        let pool = MaxPool2d { kernel: [1, each], stride: [1, each], padding: [0; 4] };
        self.layer(node, Operation::MaxPool2d(pool), vec![image], vec![1, outputs, 1], vec![outputs])
    }
}
