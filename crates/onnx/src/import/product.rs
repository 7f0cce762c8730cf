//! Products, quotients, powers and Softmax of values that depend on the input.

use tightrope_network::Activation as Function;

use super::affine::Step;
use super::arrange::{Selection, broadcast, own_shape};
use super::draft::{Activation, Operation};
use super::graph::{Importer, Operand};
use super::node::Node;
use super::shape::axis;
use crate::error::Problem;
use crate::tensor::{Data, elements};

/// Most differences of two elements that a Softmax is made of.
const MOST_DIFFERENCES: usize = 1 << 18;

impl<'a> Importer<'a> {
    /// left·right, element by element: both beside each other in one layer, whose halves a product multiplies. The square of
    /// values is a function of each.
    pub fn multiplied(
        &mut self,
        node: &Node<'a>,
        left: &Activation,
        right: &Activation,
    ) -> Result<Activation, Problem> {
        if left.draft == right.draft && left.order == right.order && left.dims == right.dims {
            return self.function(node, left, Function::Power { exponent: 2 });
        }
        let Some(dims) = broadcast(&left.dims, &right.dims) else {
            return Err(node.problem(format!(
                "its inputs have shapes {:?} and {:?}, which do not fit each other",
                left.dims, right.dims
            )));
        };
        let own = own_shape(&dims);
        let both = [&[2 * own[0]], &own[1..]].concat();
        self.check_room(node, &both)?;
        let parts = [self.expanded(node, left, &dims)?, self.expanded(node, right, &dims)?].map(Operand::Activation);
        let count = elements(&dims).unwrap_or(0) as u32;
        let origins: Vec<(u32, u32)> = (0..2).flat_map(|part| (0..count).map(move |index| (part, index))).collect();
        let joint = self.joint(node, &parts, &[&[1], &both[..]].concat(), &origins)?;
        let halves = self.laid(node, &joint, &both)?;
        self.layer(node, Operation::Product, vec![halves], own, dims)
    }

    /// left/right.
    pub fn divided(&mut self, node: &Node<'a>, left: &Activation, right: &Activation) -> Result<Activation, Problem> {
        let inverse = self.function(node, right, Function::Reciprocal)?;
        self.multiplied(node, left, &inverse)
    }

    /// A whole power other than 0, the same for all elements; below 0 that of the reciprocal.
    pub fn pow(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        let input = self.activation(node, 0)?;
        let tensor = self.constant_operand(node, 1)?;
        let exponents: Vec<f64> = match &tensor.data {
            Data::Real(values) => values.clone(),
            Data::Integer(values) => values.iter().map(|&value| value as f64).collect(),
        };
        let Some(dims) = broadcast(&input.dims, &tensor.dims) else {
            return Err(node.problem(format!(
                "its exponents of shape {:?} do not fit an input of shape {:?}",
                tensor.dims, input.dims
            )));
        };
        let largest = Function::LARGEST_EXPONENT;
        let fits = |exponent: f64| exponent.fract() == 0.0 && (1.0..=f64::from(largest)).contains(&exponent.abs());
        let exponent = match exponents[..] {
            [first, ref rest @ ..] if rest.iter().all(|&other| other == first) && fits(first) => first,
            _ => {
                return Err(node.problem(format!(
                    "has the exponents `{}`; one whole number from 1 to {largest} or from −{largest} to −1 is supported",
                    tensor.name
                )));
            }
        };
        let mut result = self.expanded(node, &input, &dims)?;
        if exponent < 0.0 {
            result = self.function(node, &result, Function::Reciprocal)?;
        }
        if exponent.abs() > 1.0 {
            result = self.function(node, &result, Function::Power { exponent: exponent.abs() as u32 })?;
        }
        self.alias(node, result)
    }

    /// 1/(1 + Σ e^(z_j − z_i)) over the other elements j of the group of i, which bounds better than a quotient: one function
    /// of each difference, and a sum that is not near 0.
    pub fn softmax(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let input = self.activation(node, 0)?;
        let own = input.dims.to_vec();
        // Early versions take all axes from the given one on for one.
        let is_early = self.opset < 13;
        let given = node.int("axis", if is_early { 1 } else { -1 })?;
        let at = axis(node, given, own.len())?;
        let behind: usize = own[at + 1..].iter().product();
        let (length, inner) = if is_early { (own[at] * behind, 1) } else { (own[at], behind) };
        if length < 2 {
            return Err(node.problem("has one element to share 1 among, so that its output is constant; remove it"));
        }
        let count = input.len();
        let Some(pairs) = count.checked_mul(length - 1).filter(|&pairs| pairs <= MOST_DIFFERENCES) else {
            return Err(node.problem(format!(
                "shares 1 among {length} elements, {} times; that is more than {MOST_DIFFERENCES} differences of two \
                 elements, so take its input for the output",
                count / length
            )));
        };
        let (mut others, mut selves) = (Vec::with_capacity(pairs), Vec::with_capacity(pairs));
        for element in 0..count {
            let (group, place) = (element / (length * inner), element / inner % length);
            let first = group * length * inner + element % inner;
            for other in (0..length).filter(|&other| other != place) {
                others.push((first + other * inner) as u32);
                selves.push(element as u32);
            }
        }
        let input = Activation { sole: false, ..input };
        let others = self.select(node, &input, Selection::one_each(vec![pairs], others))?;
        let selves = self.select(node, &input, Selection::one_each(vec![pairs], selves))?;
        let differences = self.difference(node, others, &selves)?;
        let exponentials = self.function(node, &differences, Function::Exp)?;
        let counts = (length > 2).then(|| vec![length - 1; count]);
        let sums = Selection { dims: own, sources: (0..pairs as u32).collect(), counts };
        let sums = self.select(node, &exponentials, sums)?;
        let sums = self.scalar_step(node, Step::Add, &sums, 1.0)?;
        let result = self.function(node, &sums, Function::Reciprocal)?;
        self.alias(node, result)
    }
}
