//! Add, Sub, Mul, Div, Neg, Sum, Mean and BatchNormalization.

use std::rc::Rc;

use tightrope_exact::Enclosure;
use tightrope_network::Activation as Function;

use super::arrange::broadcast;
use super::draft::{Activation, Operation};
use super::graph::{Importer, Operand};
use super::node::Node;
use super::numbers::Numbers;
use crate::error::Problem;
use crate::proto::code;
use crate::tensor::{self, Data, Tensor};

/// One arithmetic operation of an activation with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// x + c.
    Add,
    /// x − c.
    Subtract,
    /// c − x.
    SubtractFrom,
    /// c·x.
    Multiply,
    /// x / c.
    Divide,
    /// (1 − c)·x.
    MultiplyByRest,
}

impl Step {
    /// What becomes of scale·x + shift by this step with the constant `c`; none if it divides by 0.
    pub fn after(self, scale: &Enclosure, shift: &Enclosure, c: f64) -> Option<(Enclosure, Enclosure)> {
        let c = Enclosure::from(c);
        Some(match self {
            Step::Add => (scale.clone(), shift.plus(&c)),
            Step::Subtract => (scale.clone(), shift.plus(&c.negated())),
            Step::SubtractFrom => (scale.negated(), shift.negated().plus(&c)),
            Step::Multiply => (scale.times(&c), shift.times(&c)),
            Step::Divide => (scale.over(&c)?, shift.over(&c)?),
            Step::MultiplyByRest => {
                let rest = Enclosure::from(1.0).plus(&c.negated());
                (scale.times(&rest), shift.times(&rest))
            }
        })
    }
}

impl<'a> Importer<'a> {
    pub fn arithmetic(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        let operator = node.proto.op_type.as_str();
        let result = match (self.operand(node, 0)?, self.operand(node, 1)?) {
            (Operand::Activation(input), Operand::Constant(tensor)) => {
                let step = match operator {
                    "Add" => Step::Add,
                    "Sub" => Step::Subtract,
                    "Mul" => Step::Multiply,
                    _ => Step::Divide,
                };
                self.step(node, step, &input, &tensor)?
            }
            (Operand::Constant(tensor), Operand::Activation(input)) => {
                let (step, input) = match operator {
                    "Add" => (Step::Add, input),
                    "Sub" => (Step::SubtractFrom, input),
                    "Mul" => (Step::Multiply, input),
                    _ => (Step::Multiply, self.function(node, &input, Function::Reciprocal)?),
                };
                self.step(node, step, &input, &tensor)?
            }
            (Operand::Activation(left), Operand::Activation(right)) => match operator {
                "Add" => self.add(node, &[left, right])?,
                "Sub" => self.difference(node, left, &right)?,
                "Mul" => self.multiplied(node, &left, &right)?,
                _ => self.divided(node, &left, &right)?,
            },
            (Operand::Constant(_), Operand::Constant(_)) => {
                return Err(node.problem("both inputs are constants; simplify the model so that constants are folded"));
            }
        };
        self.alias(node, result)
    }

    /// left − right.
    pub fn difference(&mut self, node: &Node<'a>, left: Activation, right: &Activation) -> Result<Activation, Problem> {
        let negated = self.scalar_step(node, Step::Multiply, right, -1.0)?;
        self.add(node, &[left, negated])
    }

    pub fn neg(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let input = self.activation(node, 0)?;
        let negated = self.scalar_step(node, Step::Multiply, &input, -1.0)?;
        self.alias(node, negated)
    }

    pub fn sum(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, usize::MAX)?;
        let (mut terms, mut constants) = (Vec::new(), Vec::new());
        for index in 0..node.proto.input.len() {
            match self.operand(node, index)? {
                Operand::Activation(activation) => terms.push(activation),
                Operand::Constant(tensor) => constants.push(tensor),
            }
        }
        let mut sum = match &terms[..] {
            [only] => only.clone(),
            terms => self.add(node, terms)?,
        };
        for tensor in constants {
            sum = self.step(node, Step::Add, &sum, &tensor)?;
        }
        if node.proto.op_type == "Mean" {
            sum = self.scalar_step(node, Step::Divide, &sum, node.proto.input.len() as f64)?;
        }
        self.alias(node, sum)
    }

    /// The sum of activations whose shapes broadcast to one.
    pub fn add(&mut self, node: &Node<'a>, terms: &[Activation]) -> Result<Activation, Problem> {
        let mut dims = terms[0].dims.to_vec();
        for term in &terms[1..] {
            dims = broadcast(&dims, &term.dims).ok_or_else(|| {
                node.problem(format!(
                    "its inputs have shapes {dims:?} and {:?}, which do not fit each other",
                    term.dims
                ))
            })?;
        }
        let mut all = Vec::new();
        for term in terms {
            all.push(self.expanded(node, term, &dims)?);
        }
        let order = all[0].order.clone();
        if all.iter().any(|term| term.order != order) {
            for term in &mut all {
                *term = self.plain(node, term)?;
            }
        }
        let order = all[0].order.clone();
        let mut inputs: Vec<usize> = all.iter().map(|term| term.draft).collect();
        let shape = self.drafts.get(inputs[0]).shape.clone();
        if inputs.iter().any(|&input| self.drafts.get(input).shape != shape) {
            let name = format!("{}.flatten", node.label());
            inputs = inputs.into_iter().map(|input| self.drafts.flat(&name, input)).collect();
        }
        let shape = self.drafts.get(inputs[0]).shape.clone();
        let sum = self.layer(node, Operation::Add, inputs, shape, dims)?;
        Ok(Activation { order, ..sum })
    }

    /// A step with one number for all elements.
    pub fn scalar_step(
        &mut self,
        node: &Node<'a>,
        step: Step,
        input: &Activation,
        value: f64,
    ) -> Result<Activation, Problem> {
        self.step(node, step, input, &constant(node, vec![], vec![value]))
    }

    /// A number added to each element.
    pub fn shifted(&mut self, node: &Node<'a>, input: &Activation, values: Vec<f64>) -> Result<Activation, Problem> {
        self.step(node, Step::Add, input, &constant(node, input.dims.to_vec(), values))
    }

    /// Applies one step with a constant: as the bias of the layer before, into the affine layer before, or as a new layer.
    pub fn step(
        &mut self,
        node: &Node<'a>,
        step: Step,
        input: &Activation,
        tensor: &Tensor,
    ) -> Result<Activation, Problem> {
        let full = broadcast(&input.dims, &tensor.dims).ok_or_else(|| {
            node.problem(format!(
                "its constant `{}` of shape {:?} does not fit an activation of shape {:?}",
                tensor.name, tensor.dims, input.dims
            ))
        })?;
        let input = self.expanded(node, input, &full)?;
        let (values, inner) = match (&input.order, tensor.per_channel(&full, &mut self.budget)?) {
            (None, Some(found)) => found,
            (Some(_), Some((values, inner))) if values.len() == 1 => (values, inner),
            (Some(order), Some((values, inner))) => {
                tensor::spend(&mut self.budget, input.len(), &tensor.name)?;
                let mut all = vec![0.0; input.len()];
                order.iter().enumerate().for_each(|(element, &place)| all[place as usize] = values[element / inner]);
                in_blocks(&all)
            }
            (_, None) => {
                return Err(node.problem(format!(
                    "its constant `{}` of shape {:?} does not fit an activation of shape {full:?}",
                    tensor.name, tensor.dims
                )));
            }
        };
        let takes_bias = match &self.drafts.get(input.draft).operation {
            Operation::Linear { weight, bias: None } => values.len() == weight.shape[0] && inner == 1,
            Operation::Conv2d { conv, bias: None, .. } => {
                let shape = &self.drafts.get(input.draft).shape;
                values.len() == conv.out_channels && inner == shape[1] * shape[2]
            }
            _ => false,
        };
        if step == Step::Add && input.sole && takes_bias {
            let vector = self.weight(tensor, &[values.len()], values.into())?;
            match &mut self.drafts.0[input.draft].operation {
                Operation::Linear { bias, .. } | Operation::Conv2d { bias, .. } => *bias = Some(vector),
                _ => {}
            }
            return Ok(input);
        }
        let identity = (Enclosure::from(1.0), Enclosure::from(0.0));
        let (before, inner, values) = match &self.drafts.get(input.draft).operation {
            Operation::Affine { inner: before, scale, shift, weight: None, bias: None } if input.sole => {
                let joint = greatest_common_divisor(*before, inner);
                let channels = input.len() / joint;
                tensor::spend(&mut self.budget, 2 * channels, &tensor.name)?;
                let values: Vec<f64> = (0..channels).map(|c| values[c * joint / inner]).collect();
                let of = |c: usize| (scale.get(c * joint / before), shift.get(c * joint / before));
                ((0..channels).map(of).collect(), joint, values)
            }
            _ => {
                tensor::spend(&mut self.budget, values.len(), &tensor.name)?;
                (vec![identity; values.len()], inner, values)
            }
        };
        let after = before.iter().zip(&values).map(|((scale, shift), &c)| step.after(scale, shift, c));
        let Some((scale, shift)) = after.collect::<Option<(Vec<_>, Vec<_>)>>() else {
            return Err(node.problem(format!("its constant `{}` holds zeros to divide by", tensor.name)));
        };
        let (scale, shift): (Numbers, Numbers) = (scale.into_iter().collect(), shift.into_iter().collect());
        if !(scale.is_sound() && shift.is_sound()) {
            return Err(node.problem(format!(
                "its constant `{}` leads to values that are not finite, or cancels others so that no digit is left",
                tensor.name
            )));
        }
        self.spend(&scale, &tensor.name)?;
        self.spend(&shift, &tensor.name)?;
        if let Operation::Affine { inner: old_inner, scale: old_scale, shift: old_shift, weight: None, bias: None } =
            &mut self.drafts.0[input.draft].operation
            && input.sole
        {
            (*old_inner, *old_scale, *old_shift) = (inner, scale, shift);
            return Ok(input);
        }
        let shape = self.drafts.get(input.draft).shape.clone();
        let operation = Operation::Affine { inner, scale, shift, weight: None, bias: None };
        let draft = self.push(node, operation, vec![input.draft], shape)?;
        Ok(Activation { draft, sole: true, ..input })
    }

    /// y = scale·(x − mean)/√(var + epsilon) + B per channel, the statistics being fixed.
    pub fn batch_normalization(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(5, 5)?;
        let input = self.activation(node, 0)?;
        let input = self.plain(node, &input)?;
        let &[1, channels, ..] = &input.dims[..] else {
            return Err(node.problem(format!(
                "its input has shape {:?}; it needs [1, channels, …], so put a batch axis of 1 before it",
                input.dims
            )));
        };
        let epsilon = Enclosure::from(f64::from(node.float("epsilon", 1e-5)?));
        node.float("momentum", 0.9)?;
        if node.int("training_mode", 0)? != 0 || node.int("spatial", 1)? != 1 {
            return Err(node.problem("is in training mode or not per channel; export the model for inference"));
        }
        let operands: Vec<Rc<Tensor>> =
            (1..5).map(|index| self.constant_operand(node, index)).collect::<Result<_, _>>()?;
        for tensor in &operands {
            if tensor.dims != [channels] {
                return Err(node.problem(format!(
                    "`{}` has shape {:?}; its input has {channels} channels",
                    tensor.name, tensor.dims
                )));
            }
            tensor::spend(&mut self.budget, channels, &tensor.name)?;
        }
        let [factor, summand, mean, variance] = &operands[..] else {
            return Err(node.problem("needs scale, B, mean and var"));
        };
        let one = Enclosure::from(1.0);
        let inverse = |&variance: &f64| one.over(&Enclosure::from(variance).plus(&epsilon).root()?);
        let Some(mut scale) = variance.reals()?.iter().map(inverse).collect::<Option<Vec<Enclosure>>>() else {
            return Err(node.problem(format!("`{}` plus epsilon is not positive everywhere", variance.name)));
        };
        let shift = |(mean, scale): (&f64, &Enclosure)| Enclosure::from(-mean).times(scale);
        let mut shift: Vec<Enclosure> = mean.reals()?.iter().zip(&scale).map(shift).collect();
        let (factors, summands) = (factor.reals()?, summand.reals()?);
        let weight =
            if factor.trainable { Some(self.weight(factor, &[channels], factors.to_vec().into())?) } else { None };
        if weight.is_none() {
            for (channel, &factor) in factors.iter().enumerate() {
                scale[channel] = scale[channel].times(&factor.into());
                shift[channel] = shift[channel].times(&factor.into());
            }
        }
        // A constant summand stands outside the trainable factor, so it can only be folded where there is none.
        let folds = !summand.trainable && (weight.is_none() || summands.iter().all(|&value| value == 0.0));
        let bias = if folds { None } else { Some(self.weight(summand, &[channels], summands.to_vec().into())?) };
        if folds {
            shift.iter_mut().zip(summands).for_each(|(shift, &summand)| *shift = shift.plus(&summand.into()));
        }
        let (scale, shift): (Numbers, Numbers) = (scale.into_iter().collect(), shift.into_iter().collect());
        if !(scale.is_sound() && shift.is_sound()) {
            return Err(
                node.problem("its statistics lead to values that are not finite, or cancel so that no digit is left")
            );
        }
        self.spend(&scale, &variance.name)?;
        self.spend(&shift, &mean.name)?;
        let inner = input.len() / channels;
        let shape = self.drafts.get(input.draft).shape.clone();
        let operation = Operation::Affine { inner, scale, shift, weight, bias };
        let normalised = self.layer(node, operation, vec![input.draft], shape, input.dims.to_vec())?;
        self.alias(node, normalised)
    }
}

/// A constant that the importer makes itself.
pub fn constant(node: &Node<'_>, dims: Vec<usize>, values: Vec<f64>) -> Tensor {
    let name = node.label().to_string();
    Tensor { name, dims, data: Data::Real(values), kind: code::TENSOR_DOUBLE, trainable: false }
}

/// Values in blocks of equal ones as long as all blocks can be: one of each, and their length.
fn in_blocks(values: &[f64]) -> (Vec<f64>, usize) {
    let changes = (1..values.len()).filter(|&i| values[i] != values[i - 1]);
    let inner = changes.fold(values.len(), greatest_common_divisor);
    (values.iter().copied().step_by(inner.max(1)).collect(), inner)
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
