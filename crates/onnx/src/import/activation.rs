//! Relu, LeakyRelu, Sigmoid, Tanh and Clip.

use tightrope_network::Activation as Function;

use super::draft::{Activation, Operation};
use super::graph::Importer;
use super::node::Node;
use crate::error::Problem;

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

    pub fn leaky_relu(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let alpha = node.float("alpha", 0.01)?;
        if !(0.0..1.0).contains(&alpha) {
            return Err(node.problem(format!(
                "alpha = {alpha}; slopes from 0 up to but not including 1 are supported; train the model with one"
            )));
        }
        self.elementwise(node, Function::LeakyRelu { slope: alpha.into() })
    }

    /// max(x, min) then min(·, max): both ends are attributes up to opset 10 and constant inputs from then on.
    pub fn clip(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 3)?;
        let (lower, upper) = (self.end(node, "min", 1)?, self.end(node, "max", 2)?);
        match (lower, upper) {
            (None, None) => {
                let activation = self.activation(node, 0)?;
                self.alias(node, activation)
            }
            (Some(0.0), None) => self.elementwise(node, Function::Relu),
            (Some(lower), Some(upper)) if lower < upper => self.elementwise(node, Function::Clip { lower, upper }),
            (Some(lower), Some(upper)) => Err(node.problem(format!(
                "min = {lower} is not below max = {upper}, so that its output is constant; remove it from the model"
            ))),
            (Some(lower), None) => Err(node.problem(format!(
                "min = {lower} without a max is not supported; give both, or min = 0 alone, or shift a Relu"
            ))),
            (None, Some(upper)) => Err(node.problem(format!(
                "max = {upper} without a min is not supported; give both, or write it as max − Relu(max − x)"
            ))),
        }
    }

    /// One end of a Clip; none where it is left out or is the largest float32, which early opsets say for infinity.
    fn end(&mut self, node: &mut Node<'a>, name: &'static str, index: usize) -> Result<Option<f64>, Problem> {
        let largest = f64::from(f32::MAX);
        let value = if node.has(name) {
            f64::from(node.float(name, 0.0)?)
        } else if node.input(index).is_some() {
            let tensor = self.constant_operand(node, index)?;
            match tensor.reals()? {
                &[value] => value,
                values => {
                    return Err(node.problem(format!("its {name} has {} values; it must be a scalar", values.len())));
                }
            }
        } else {
            return Ok(None);
        };
        Ok(Some(value).filter(|value| value.abs() < largest))
    }

    /// Lets the node's output be `function` of each element of its first input.
    fn elementwise(&mut self, node: &Node<'a>, function: Function) -> Result<(), Problem> {
        let Activation { draft, view, .. } = self.activation(node, 0)?;
        let shape = self.drafts.get(draft).shape.clone();
        self.layer(node, Operation::Activation(function), vec![draft], shape, view)
    }
}
