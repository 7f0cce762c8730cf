//! Add, Sub, Mul, Div, Sum and BatchNormalization.

use std::rc::Rc;

use tightrope_exact::Enclosure;

use super::draft::{Activation, Operation};
use super::graph::{Importer, Operand};
use super::node::Node;
use super::numbers::Numbers;
use crate::error::Problem;
use crate::tensor::{self, Tensor};

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
        })
    }
}

impl<'a> Importer<'a> {
    pub fn arithmetic(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        let operator = node.proto.op_type.as_str();
        match (self.operand(node, 0)?, self.operand(node, 1)?) {
            (Operand::Activation(input), Operand::Constant(tensor)) => {
                let step = match operator {
                    "Add" => Step::Add,
                    "Sub" => Step::Subtract,
                    "Mul" => Step::Multiply,
                    _ => Step::Divide,
                };
                self.step(node, step, input, &tensor)
            }
            (Operand::Constant(tensor), Operand::Activation(input)) => {
                let step = match operator {
                    "Add" => Step::Add,
                    "Sub" => Step::SubtractFrom,
                    "Mul" => Step::Multiply,
                    _ => return Err(node.problem("divides by an activation, which is not an affine operation")),
                };
                self.step(node, step, input, &tensor)
            }
            (Operand::Activation(left), Operand::Activation(right)) => match operator {
                "Add" => self.add(node, &[left, right]),
                "Sub" => {
                    let (draft, inner) = (self.drafts.get(right.draft), right.len());
                    let negation = Operation::Affine {
                        inner,
                        scale: vec![-1.0].into(),
                        shift: vec![0.0].into(),
                        weight: None,
                        bias: None,
                    };
                    let (name, shape) = (format!("{}.negate", node.label()), draft.shape.clone());
                    let negated = self.drafts.push(&name, negation, vec![right.draft], shape);
                    let draft = negated.map_err(|e| node.problem(e))?;
                    self.add(node, &[left, Activation { draft, ..right }])
                }
                _ => Err(node.problem("multiplies or divides two activations; only constants are supported")),
            },
            (Operand::Constant(_), Operand::Constant(_)) => {
                Err(node.problem("both inputs are constants; simplify the model so that constants are folded"))
            }
        }
    }

    pub fn sum(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, usize::MAX)?;
        let terms: Vec<Activation> =
            (0..node.proto.input.len()).map(|index| self.activation(node, index)).collect::<Result<_, _>>()?;
        self.add(node, &terms)
    }

    /// The sum of activations of equal shape.
    fn add(&mut self, node: &Node<'a>, terms: &[Activation]) -> Result<(), Problem> {
        let view = terms[0].view.clone();
        if let Some(other) = terms.iter().find(|term| term.view != view) {
            return Err(node.problem(format!(
                "its inputs have shapes {view:?} and {:?} without the batch; they must be equal",
                other.view
            )));
        }
        let mut inputs: Vec<usize> = terms.iter().map(|term| term.draft).collect();
        let shape = self.drafts.get(inputs[0]).shape.clone();
        if inputs.iter().any(|&input| self.drafts.get(input).shape != shape) {
            let name = format!("{}.flatten", node.label());
            inputs = inputs.into_iter().map(|input| self.drafts.flat(&name, input)).collect();
        }
        let shape = self.drafts.get(inputs[0]).shape.clone();
        self.layer(node, Operation::Add, inputs, shape, view)
    }

    /// Applies one step with a constant: as the bias of the layer before, into the affine layer before, or as a new layer.
    fn step(&mut self, node: &Node<'a>, step: Step, input: Activation, tensor: &Rc<Tensor>) -> Result<(), Problem> {
        let Some((values, inner)) = tensor.per_channel(&input.view, &mut self.budget)? else {
            return Err(node.problem(format!(
                "its constant `{}` of shape {:?} does not fit an activation of shape {:?} without the batch",
                tensor.name, tensor.dims, input.view
            )));
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
            return self.alias(node, input);
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
            return self.alias(node, input);
        }
        let shape = self.drafts.get(input.draft).shape.clone();
        let operation = Operation::Affine { inner, scale, shift, weight: None, bias: None };
        self.layer(node, operation, vec![input.draft], shape, input.view)
    }

    /// y = scale·(x − mean)/√(var + epsilon) + B per channel, the statistics being fixed.
    pub fn batch_normalization(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(5, 5)?;
        let input = self.activation(node, 0)?;
        let channels = input.view[0];
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
        self.layer(node, operation, vec![input.draft], shape, input.view)
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
