//! Conv, Gemm and MatMul.

use std::rc::Rc;

use tightrope_network::{Conv2d, ParameterId};

use super::draft::{Activation, Operation, Weight};
use super::graph::{Importer, Operand};
use super::node::Node;
use super::numbers::Numbers;
use super::window::{Window, lengths, window};
use crate::error::Problem;
use crate::tensor::Tensor;

impl<'a> Importer<'a> {
    pub fn conv(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 3)?;
        let (input, [channels, height, width]) = self.image(node)?;
        let tensor = self.constant_operand(node, 1)?;
        let &[out_channels, per_group, kernel_height, kernel_width] = &tensor.dims[..] else {
            return Err(
                node.problem(format!("its weight has shape {:?}; only 2-D convolutions are supported", tensor.dims))
            );
        };
        let kernel = [kernel_height, kernel_width];
        if lengths::<2>(node, "kernel_shape", 1)?.is_some_and(|named| named != kernel) {
            return Err(node.problem(format!("kernel_shape does not fit its weight of shape {:?}", tensor.dims)));
        }
        let Window { stride, dilation, padding } = window(node, kernel, [height, width])?;
        let groups = usize::try_from(node.int("group", 1)?).ok().filter(|&groups| groups > 0);
        let Some(groups) = groups else { return Err(node.problem("its group must be at least 1")) };
        if per_group.checked_mul(groups) != Some(channels) {
            return Err(node.problem(format!(
                "its weight of shape {:?} in {groups} groups does not fit an input of {channels} channels",
                tensor.dims
            )));
        }
        let conv = Conv2d {
            in_channels: channels,
            out_channels,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            weight: ParameterId(0),
            bias: None,
        };
        let [height, width] = conv.output_side([height, width]).map_err(|e| node.problem(e))?;
        let weight = self.weight(&tensor, &tensor.dims, tensor.reals()?.to_vec().into())?;
        let bias = self.bias(node, out_channels, 1.0)?;
        let shape = vec![out_channels, height, width];
        let view = shape.as_slice().into();
        self.layer(node, Operation::Conv2d { conv, weight, bias }, vec![input], shape, view)
    }

    /// The optional third input as a bias of `features` values, times `factor`.
    fn bias(&mut self, node: &Node<'a>, features: usize, factor: f64) -> Result<Option<Weight>, Problem> {
        if node.input(2).is_none() {
            return Ok(None);
        }
        let tensor = self.constant_operand(node, 2)?;
        match tensor.per_channel(&[features], &mut self.budget)? {
            Some((values, inner)) => {
                let values: Vec<f64> = (0..features).map(|feature| values[feature / inner]).collect();
                self.weight(&tensor, &[features], Numbers::scaled(&values, factor)).map(Some)
            }
            None => {
                Err(node
                    .problem(format!("its bias of shape {:?} does not fit {features} output features", tensor.dims)))
            }
        }
    }

    pub fn gemm(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 3)?;
        let input = self.activation(node, 0)?;
        let tensor = self.constant_operand(node, 1)?;
        if node.int("transA", 0)? != 0 {
            return Err(node.problem("transA = 1 would mix the samples of a batch; it is not supported"));
        }
        let stored_by_output = node.int("transB", 0)? != 0;
        let (alpha, beta) = (f64::from(node.float("alpha", 1.0)?), f64::from(node.float("beta", 1.0)?));
        if input.view.len() != 1 {
            return Err(node.problem(format!(
                "its input has shape {:?} without the batch; it needs one axis, so put a Flatten before it",
                input.view
            )));
        }
        let weight = self.matrix(node, &tensor, stored_by_output, input.len(), alpha)?;
        let features = weight.shape[0];
        let bias = self.bias(node, features, beta)?;
        self.linear(node, &input, weight, bias, vec![features])
    }

    pub fn mat_mul(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        let operands = (self.operand(node, 0)?, self.operand(node, 1)?);
        let (input, tensor, constant_on_the_left) = match operands {
            (Operand::Activation(input), Operand::Constant(tensor)) => (input, tensor, false),
            (Operand::Constant(tensor), Operand::Activation(input)) => (input, tensor, true),
            _ => return Err(node.problem("exactly one of its inputs must be a constant")),
        };
        // x W takes the last axis for the features; W x the last but one, beside a last axis of 1.
        let axis = match (input.view.len(), constant_on_the_left) {
            (rank @ 1.., false) => Some(rank - 1),
            (rank @ 2.., true) => Some(rank - 2),
            _ => None,
        };
        let axis = axis.filter(|&axis| input.view[axis] == input.len()).ok_or_else(|| {
            node.problem(format!(
                "its input has shape {:?} without the batch; it must be one {} vector of features",
                input.view,
                if constant_on_the_left { "column" } else { "row" }
            ))
        })?;
        let weight = self.matrix(node, &tensor, constant_on_the_left, input.len(), 1.0)?;
        let mut view = input.view.to_vec();
        view[axis] = weight.shape[0];
        self.linear(node, &input, weight, None, view)
    }

    /// A constant matrix as a weight `[out, in]`, times `factor`.
    fn matrix(
        &mut self,
        node: &Node<'a>,
        tensor: &Rc<Tensor>,
        stored_by_output: bool,
        features: usize,
        factor: f64,
    ) -> Result<Weight, Problem> {
        if tensor.dims.len() != 2 {
            return Err(node.problem(format!("its weight has shape {:?}; it must be a matrix", tensor.dims)));
        }
        tensor.reals()?;
        let turned = if stored_by_output { None } else { Some(tensor.transposed(&[1, 0])) };
        let matrix = turned.as_ref().unwrap_or(tensor);
        if matrix.dims[1] != features {
            return Err(node.problem(format!(
                "its weight of shape {:?} does not fit an input of {features} features",
                tensor.dims
            )));
        }
        self.weight(tensor, &matrix.dims, Numbers::scaled(matrix.reals()?, factor))
    }

    fn linear(
        &mut self,
        node: &Node<'a>,
        input: &Activation,
        weight: Weight,
        bias: Option<Weight>,
        view: Vec<usize>,
    ) -> Result<(), Problem> {
        let flat = self.drafts.flat(&format!("{}.flatten", node.label()), input.draft);
        let shape = vec![weight.shape[0]];
        self.layer(node, Operation::Linear { weight, bias }, vec![flat], shape, view.into())
    }
}
