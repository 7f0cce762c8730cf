//! Where, and the comparison that PyTorch writes around a Softplus.

use std::rc::Rc;

use tightrope_network::Activation as Function;

use super::arrange::{broadcast, spread};
use super::draft::{Activation, Operation};
use super::graph::{Importer, Operand};
use super::node::Node;
use super::numbers::Numbers;
use crate::error::Problem;
use crate::tensor::{Data, Tensor};

/// From here on a Softplus may be written as its argument, from which it is less than 2.1e-9 away: nothing in single
/// precision, in which such files compute.
const STRAIGHT_FROM: f64 = 20.0;

/// "This value is above that number", element by element.
#[derive(Clone)]
pub struct Above {
    pub value: Activation,
    pub threshold: f64,
}

impl<'a> Importer<'a> {
    /// A comparison with a number, which only a Where around a Softplus can use.
    pub fn greater(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        let value = self.activation(node, 0)?;
        let tensor = self.constant_operand(node, 1)?;
        let &[threshold] = tensor.reals()? else {
            return Err(
                node.problem("compares with several numbers; only x > 20 before a Where of x and Softplus is read")
            );
        };
        self.bind_comparison(node, Above { value, threshold })
    }

    /// Elements of the one or the other operand, as a constant says; or Softplus, as exporters write it.
    pub fn choose(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(3, 3)?;
        if let Some(above) = self.comparison(node, 0) {
            let (straight, curved) = (self.activation(node, 1)?, self.activation(node, 2)?);
            if !self.is_softplus(&above, &straight, &curved) {
                return Err(node.problem(
                    "chooses by what depends on the input; only Where(x > 20, x, Softplus(x)) is read, so write it with \
                     Relu, Max or Min",
                ));
            }
            return self.alias(node, curved);
        }
        let condition = self.constant_operand(node, 0)?;
        let parts = [self.operand(node, 1)?, self.operand(node, 2)?];
        let dims = broadcast(&condition.dims, parts[0].dims()).and_then(|dims| broadcast(&dims, parts[1].dims()));
        let Some(dims) = dims else { return Err(node.problem("its inputs' shapes do not fit each other")) };
        self.check_room(node, &dims)?;
        let truths = condition.integers()?;
        let places = parts.each_ref().map(|part| spread(part.dims(), &dims));
        let origin = |(element, truth): (usize, u32)| {
            let part = usize::from(truths[truth as usize] == 0);
            (part as u32, places[part][element])
        };
        let origins: Vec<(u32, u32)> = spread(&condition.dims, &dims).into_iter().enumerate().map(origin).collect();
        let result = self.assembled(node, &parts, dims, &origins)?;
        self.bind_operand(node, 0, result)
    }

    /// True if `curved` is Softplus(β·x)/β of the elements x of `straight` with one β > 0, and `above` says where β·x is above
    /// a threshold from which on both are the same.
    fn is_softplus(&self, above: &Above, straight: &Activation, curved: &Activation) -> bool {
        let (divided, by) = self.factor(curved.draft);
        let Operation::Activation(Function::Softplus) = self.drafts.get(divided).operation else { return false };
        let argument = self.drafts.get(divided).inputs[0];
        let same = |a: &Activation, b: &Activation| a.order == b.order && a.dims == b.dims;
        let (start, beta) = if argument == straight.draft { (argument, 1.0) } else { self.factor(argument) };
        above.threshold >= STRAIGHT_FROM
            && above.value.draft == argument
            && start == straight.draft
            && beta > 0.0
            && (by * beta - 1.0).abs() < 1e-12
            && same(straight, curved)
            && same(&above.value, curved)
    }

    /// The layer that `draft` multiplies by one number, and that number; itself and 1 if it does something else.
    fn factor(&self, draft: usize) -> (usize, f64) {
        let one = |numbers: &Numbers| match numbers.values[..] {
            [first, ref rest @ ..] if rest.iter().all(|&other| other == first) => Some(first),
            _ => None,
        };
        match &self.drafts.get(draft).operation {
            Operation::Affine { scale, shift, weight: None, bias: None, .. } if one(shift) == Some(0.0) => {
                one(scale).map_or((draft, 1.0), |scale| (self.drafts.get(draft).inputs[0], scale))
            }
            _ => (draft, 1.0),
        }
    }

    /// The elements `origins` (part, element of it) of several parts as one tensor of shape `dims`.
    pub fn assembled(
        &mut self,
        node: &Node<'a>,
        parts: &[Operand],
        dims: Vec<usize>,
        origins: &[(u32, u32)],
    ) -> Result<Operand, Problem> {
        let constants: Vec<Option<&Rc<Tensor>>> = parts
            .iter()
            .map(|part| match part {
                Operand::Constant(tensor) => Some(tensor),
                Operand::Activation(_) => None,
            })
            .collect();
        if let Some(all) = constants.iter().copied().collect::<Option<Vec<_>>>() {
            return Ok(Operand::Constant(Rc::new(joined(node, &all, dims, origins)?)));
        }
        let mut sum = self.joint(node, parts, &dims, origins)?;
        if constants.iter().any(Option::is_some) {
            let lists = constants.iter().map(|tensor| tensor.map(|tensor| tensor.reals()).transpose());
            let lists = lists.collect::<Result<Vec<Option<&[f64]>>, _>>()?;
            let value = |&(part, index): &(u32, u32)| lists[part as usize].map_or(0.0, |list| list[index as usize]);
            sum = self.shifted(node, &sum, origins.iter().map(value).collect())?;
        }
        Ok(Operand::Activation(sum))
    }
}

/// Constants joined: `origins` says which constant, and which of its elements, each element is.
fn joined(node: &Node<'_>, parts: &[&Rc<Tensor>], dims: Vec<usize>, origins: &[(u32, u32)]) -> Result<Tensor, Problem> {
    let data = match &parts[0].data {
        Data::Real(_) => {
            let lists = parts.iter().map(|part| part.reals()).collect::<Result<Vec<_>, _>>()?;
            Data::Real(origins.iter().map(|&(part, index)| lists[part as usize][index as usize]).collect())
        }
        Data::Integer(_) => {
            let lists = parts.iter().map(|part| part.integers()).collect::<Result<Vec<_>, _>>()?;
            Data::Integer(origins.iter().map(|&(part, index)| lists[part as usize][index as usize]).collect())
        }
    };
    Ok(Tensor { name: node.proto.output[0].clone(), dims, data, kind: parts[0].kind, trainable: false })
}
