//! Relu, LeakyRelu, PRelu, Sigmoid, HardSigmoid, Tanh, Exp, Softplus, Reciprocal, Clip, Abs, Max and Min.

use tightrope_network::Activation as Function;

use super::affine::{Step, constant};
use super::draft::{Activation, Operation};
use super::graph::{Importer, Operand};
use super::node::Node;
use crate::error::Problem;
use crate::tensor::Tensor;

/// Ends of a Clip beyond which hardly any value lies.
const FAR: f64 = 1e30;

impl<'a> Importer<'a> {
    pub fn relu(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        self.elementwise(node, Function::Relu)
    }

    pub fn sigmoid(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        self.elementwise(node, Function::Sigmoid)
    }

    pub fn tanh(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        self.elementwise(node, Function::Tanh)
    }

    pub fn exp(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        self.elementwise(node, Function::Exp)
    }

    pub fn softplus(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        self.elementwise(node, Function::Softplus)
    }

    pub fn reciprocal(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        self.elementwise(node, Function::Reciprocal)
    }

    pub fn leaky_relu(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let alpha = node.float("alpha", 0.01)?;
        let input = self.activation(node, 0)?;
        let result = self.leaky(node, input, &constant(node, vec![], vec![alpha.into()]))?;
        self.alias(node, result)
    }

    /// As LeakyRelu, with slopes that broadcast to the input.
    pub fn p_relu(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        let (input, slopes) = (self.activation(node, 0)?, self.constant_operand(node, 1)?);
        let result = self.leaky(node, input, &slopes)?;
        self.alias(node, result)
    }

    /// x above 0 and s·x below: one activation where all s are one number in [0, 1), else s·x + (1 − s)·max(x, 0).
    fn leaky(&mut self, node: &Node<'a>, mut input: Activation, slopes: &Tensor) -> Result<Activation, Problem> {
        let values = slopes.reals()?;
        let Some(&first) = values.first() else { return Err(node.problem("has no slopes")) };
        if values.iter().all(|&slope| slope == first) && (0.0..1.0).contains(&first) {
            return self.function(node, &input, Function::LeakyRelu { slope: first });
        }
        input.sole = false;
        let above = self.function(node, &input, Function::Relu)?;
        let above = self.step(node, Step::MultiplyByRest, &above, slopes)?;
        let linear = self.step(node, Step::Multiply, &input, slopes)?;
        self.add(node, &[above, linear])
    }

    /// min(max(alpha·x + beta, 0), 1).
    pub fn hard_sigmoid(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let (alpha, beta) = (node.float("alpha", 0.2)?, node.float("beta", 0.5)?);
        let input = self.activation(node, 0)?;
        let scaled = self.scalar_step(node, Step::Multiply, &input, alpha.into())?;
        let shifted = self.scalar_step(node, Step::Add, &scaled, beta.into())?;
        let result = self.function(node, &shifted, Function::Clip { lower: 0.0, upper: 1.0 })?;
        self.alias(node, result)
    }

    /// 2·max(x, 0) − x.
    pub fn abs(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let mut input = self.activation(node, 0)?;
        input.sole = false;
        let above = self.function(node, &input, Function::Relu)?;
        let above = self.scalar_step(node, Step::Multiply, &above, 2.0)?;
        let result = self.difference(node, above, &input)?;
        self.alias(node, result)
    }

    /// max(a, b) = b + max(a − b, 0) and min(a, b) = a − max(a − b, 0), of two operands or more.
    pub fn extreme(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, usize::MAX)?;
        let (mut terms, mut constants) = (Vec::new(), Vec::new());
        for index in 0..node.proto.input.len() {
            match self.operand(node, index)? {
                Operand::Activation(activation) => terms.push(Activation { sole: false, ..activation }),
                Operand::Constant(tensor) => constants.push(tensor),
            }
        }
        let is_max = node.proto.op_type == "Max";
        let Some((first, others)) = terms.split_first() else { return Err(node.problem("has no input")) };
        let mut result = first.clone();
        for other in others {
            let difference = self.difference(node, result.clone(), other)?;
            let excess = self.function(node, &difference, Function::Relu)?;
            result = match is_max {
                true => self.add(node, &[other.clone(), excess])?,
                false => self.difference(node, result, &excess)?,
            };
            result.sole = false;
        }
        for tensor in constants {
            result = match is_max {
                true => self.at_least(node, &result, &tensor)?,
                false => self.at_most(node, &result, &tensor)?,
            };
        }
        self.alias(node, result)
    }

    /// max(x, c) = c + max(x − c, 0).
    fn at_least(&mut self, node: &Node<'a>, input: &Activation, c: &Tensor) -> Result<Activation, Problem> {
        let below = self.step(node, Step::Subtract, input, c)?;
        let excess = self.function(node, &below, Function::Relu)?;
        self.step(node, Step::Add, &excess, c)
    }

    /// min(x, c) = c − max(c − x, 0).
    fn at_most(&mut self, node: &Node<'a>, input: &Activation, c: &Tensor) -> Result<Activation, Problem> {
        let room = self.step(node, Step::SubtractFrom, input, c)?;
        let kept = self.function(node, &room, Function::Relu)?;
        self.step(node, Step::SubtractFrom, &kept, c)
    }

    /// max(x, min) then min(·, max): both ends are attributes up to opset 10 and constant inputs from then on.
    pub fn clip(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 3)?;
        let (lower, upper) = (self.end(node, "min", 1)?, self.end(node, "max", 2)?);
        let input = self.activation(node, 0)?;
        let result = match (lower, upper) {
            (None, None) => input,
            (Some(0.0), None) => self.function(node, &input, Function::Relu)?,
            (Some(lower), Some(upper)) if lower < upper => {
                self.function(node, &input, Function::Clip { lower, upper })?
            }
            (Some(lower), Some(upper)) => {
                return Err(node.problem(format!(
                    "min = {lower} is not below max = {upper}, so that its output is constant; remove it from the model"
                )));
            }
            (Some(lower), None) if lower < -FAR => self.beyond(node, input, lower, Step::SubtractFrom)?,
            (None, Some(upper)) if upper > FAR => self.beyond(node, input, upper, Step::Subtract)?,
            (Some(lower), None) => self.at_least(node, &input, &constant(node, vec![], vec![lower]))?,
            (None, Some(upper)) => self.at_most(node, &input, &constant(node, vec![], vec![upper]))?,
        };
        self.alias(node, result)
    }

    /// max(x, c) = x + max(c − x, 0) or min(x, c) = x − max(x − c, 0), whose digits do not drown in a far c that hardly
    /// any value reaches.
    fn beyond(&mut self, node: &Node<'a>, mut input: Activation, c: f64, step: Step) -> Result<Activation, Problem> {
        input.sole = false;
        let is_least = matches!(step, Step::SubtractFrom);
        let off = self.scalar_step(node, step, &input, c)?;
        let excess = self.function(node, &off, Function::Relu)?;
        match is_least {
            true => self.add(node, &[input, excess]),
            false => self.difference(node, input, &excess),
        }
    }

    /// One end of a Clip; none where it is left out or infinite. The largest float32, which early opsets say for infinity, is an
    /// end as well: numbers in between may lie beyond it.
    fn end(&mut self, node: &mut Node<'a>, name: &'static str, index: usize) -> Result<Option<f64>, Problem> {
        let value = if node.has(name) {
            f64::from(node.extended_float(name, 0.0)?)
        } else if node.input(index).is_some() {
            let tensor = self.constant_operand(node, index)?;
            match tensor.extended_reals()? {
                &[value] => value,
                values => {
                    return Err(node.problem(format!("its {name} has {} values; it must be a scalar", values.len())));
                }
            }
        } else {
            return Ok(None);
        };
        // An end that nothing can reach is none; one that everything is beyond is not.
        let open = if name == "min" { f64::NEG_INFINITY } else { f64::INFINITY };
        match value {
            _ if value.is_nan() || value == -open => Err(node.problem(format!("its {name} is {value}"))),
            _ if value == open => Ok(None),
            _ => Ok(Some(value)),
        }
    }

    /// Lets the node's output be `function` of each element of its first input.
    fn elementwise(&mut self, node: &Node<'a>, function: Function) -> Result<(), Problem> {
        let input = self.activation(node, 0)?;
        let result = self.function(node, &input, function)?;
        self.alias(node, result)
    }

    /// `function` of each element, in whichever order they are.
    pub fn function(&mut self, node: &Node<'a>, input: &Activation, function: Function) -> Result<Activation, Problem> {
        let shape = self.drafts.get(input.draft).shape.clone();
        let draft = self.push(node, Operation::Activation(function), vec![input.draft], shape)?;
        Ok(Activation { draft, sole: true, ..input.clone() })
    }
}
