//! Gemm and MatMul: linear layers, or convolutions of one pixel where one matrix meets many vectors.

use std::rc::Rc;

use tightrope_network::{Conv2d, ParameterId};

use super::affine::Step;
use super::arrange::{broadcast, index, positions};
use super::draft::{Activation, Operation, Weight};
use super::graph::{Importer, Operand};
use super::node::Node;
use super::numbers::Numbers;
use crate::error::Problem;
use crate::tensor::{self, Tensor};

/// A product of a stack of constant matrices with vectors that depend on the input.
struct Product<'i> {
    input: &'i Activation,
    /// Matrices, outputs and inputs of each, vectors that each meets.
    sizes: [usize; 4],
    /// Element of the input by (matrix, input, vector).
    source: &'i dyn Fn(usize, usize, usize) -> usize,
    /// Element of the result by (matrix, output, vector).
    target: &'i dyn Fn(usize, usize, usize) -> usize,
    dims: Vec<usize>,
}

impl<'a> Importer<'a> {
    /// The optional third input as a bias of `features` values, times `factor`.
    pub fn bias(&mut self, node: &Node<'a>, features: usize, factor: f64) -> Result<Option<Weight>, Problem> {
        if node.input(2).is_none() {
            return Ok(None);
        }
        let tensor = self.constant_operand(node, 2)?;
        match tensor.per_channel(&[1, features], &mut self.budget)? {
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
        let (left, right) = (self.operand(node, 0)?, self.operand(node, 1)?);
        let (turn_left, turn_right) = (node.int("transA", 0)? != 0, node.int("transB", 0)? != 0);
        let (alpha, beta) = (f64::from(node.float("alpha", 1.0)?), f64::from(node.float("beta", 1.0)?));
        let flat = |operand: &Operand| match operand {
            Operand::Activation(activation) if activation.dims.len() != 2 => Err(node.problem(format!(
                "its input has shape {:?}; it needs two axes, so put a Flatten before it",
                activation.dims
            ))),
            Operand::Constant(tensor) if tensor.dims.len() != 2 => {
                Err(node.problem(format!("its weight has shape {:?}; it must be a matrix", tensor.dims)))
            }
            _ => Ok(()),
        };
        flat(&left)?;
        flat(&right)?;
        let (input, tensor, constant_on_the_left) = match (left, right) {
            (Operand::Activation(input), Operand::Constant(tensor)) => (input, tensor, false),
            (Operand::Constant(tensor), Operand::Activation(input)) => (input, tensor, true),
            (Operand::Activation(_), Operand::Activation(_)) => {
                return Err(node.problem("input 1 depends on the network's input; it must be a constant"));
            }
            (Operand::Constant(tensor), Operand::Constant(_)) => {
                return Err(node.problem(format!(
                    "input 0 (`{}`) is a constant; it must depend on the network's input",
                    tensor.name
                )));
            }
        };
        let turned = if constant_on_the_left { turn_right } else { turn_left };
        let input = if turned { self.turned(node, &input)? } else { input };
        // As [out, in].
        let stored_by_output = if constant_on_the_left { !turn_left } else { turn_right };
        let [rows, columns] = [input.dims[0], input.dims[1]];
        let features = if constant_on_the_left { rows } else { columns };
        let weight = self.matrix(node, &tensor, stored_by_output, features, alpha)?;
        let outputs = weight.shape[0];
        let vectors = input.len() / features;
        let bias = if vectors == 1 && !constant_on_the_left { self.bias(node, outputs, beta)? } else { None };
        let has_bias = bias.is_some();
        let result = if constant_on_the_left {
            let product = Product {
                input: &input,
                sizes: [1, outputs, features, columns],
                source: &|_, feature, vector| feature * columns + vector,
                target: &|_, output, vector| output * columns + vector,
                dims: vec![outputs, columns],
            };
            self.product(node, product, weight, bias)?
        } else {
            let product = Product {
                input: &input,
                sizes: [1, outputs, features, rows],
                source: &|_, feature, vector| vector * features + feature,
                target: &|_, output, vector| vector * outputs + output,
                dims: vec![rows, outputs],
            };
            self.product(node, product, weight, bias)?
        };
        let result = match node.input(2) {
            Some(_) if !has_bias && beta != 0.0 => {
                let summand = self.constant_operand(node, 2)?;
                if beta != 1.0 {
                    return Err(
                        node.problem(format!("beta = {beta} with several rows is not supported; scale its bias"))
                    );
                }
                self.step(node, Step::Add, &result, &summand)?
            }
            _ => result,
        };
        self.alias(node, result)
    }

    /// A matrix with its axes swapped.
    fn turned(&mut self, node: &Node<'a>, input: &Activation) -> Result<Activation, Problem> {
        let [rows, columns] = [input.dims[0], input.dims[1]];
        let sources = (0..rows * columns).map(|i| (i % rows * columns + i / rows) as u32).collect();
        self.select(node, input, super::arrange::Selection::one_each(vec![columns, rows], sources))
    }

    pub fn mat_mul(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        let operands = (self.operand(node, 0)?, self.operand(node, 1)?);
        let (input, tensor, constant_on_the_left) = match operands {
            (Operand::Activation(input), Operand::Constant(tensor)) => (input, tensor, false),
            (Operand::Constant(tensor), Operand::Activation(input)) => (input, tensor, true),
            (Operand::Activation(left), Operand::Activation(right)) => return self.variable_product(node, left, right),
            (Operand::Constant(_), Operand::Constant(_)) => {
                return Err(node.problem("both inputs are constants of types that are not multiplied"));
            }
        };
        // Vectors stand for matrices of one row on the left and of one column on the right.
        let mut dims = input.dims.to_vec();
        let mut stack = tensor.dims.clone();
        if dims.is_empty() || stack.is_empty() {
            return Err(node.problem("one of its inputs is a single number; use Mul"));
        }
        let (own_vector, other_vector) = (dims.len() == 1, stack.len() == 1);
        match (own_vector, constant_on_the_left) {
            (true, true) => dims.push(1),
            (true, false) => dims.insert(0, 1),
            _ => {}
        }
        match (other_vector, constant_on_the_left) {
            (true, true) => stack.insert(0, 1),
            (true, false) => stack.push(1),
            _ => {}
        }
        let split = |dims: &[usize]| (dims[..dims.len() - 2].to_vec(), dims[dims.len() - 2], dims[dims.len() - 1]);
        let (lead, down, across) = split(&dims);
        let (others, first, second) = split(&stack);
        let (features, vectors) = if constant_on_the_left { (down, across) } else { (across, down) };
        let (inputs, outputs) = if constant_on_the_left { (second, first) } else { (first, second) };
        if inputs != features {
            return Err(node.problem(format!(
                "its weight of shape {:?} does not fit an input of {features} features",
                tensor.dims
            )));
        }
        let result_dims = |lead: &[usize]| {
            let (rows, columns) = if constant_on_the_left { (outputs, vectors) } else { (vectors, outputs) };
            let mut dims = lead.to_vec();
            let (row_axis, column_axis) = match constant_on_the_left {
                true => (!other_vector, !own_vector),
                false => (!own_vector, !other_vector),
            };
            dims.extend(row_axis.then_some(rows));
            dims.extend(column_axis.then_some(columns));
            dims
        };
        let matrices: usize = others.iter().product();
        let input = Activation { dims: dims.clone().into(), ..input };
        let result = if matrices == 1 {
            let lead = broadcast(&lead, &others).unwrap_or(lead);
            let count: usize = lead.iter().product();
            let flat = Tensor { dims: vec![first, second], ..Tensor::clone(&tensor) };
            let weight = self.matrix(node, &Rc::new(flat), constant_on_the_left, features, 1.0)?;
            let place = |each: usize| {
                move |_: usize, own: usize, vector: usize| match constant_on_the_left {
                    true => (vector / vectors * each + own) * vectors + vector % vectors,
                    false => vector * each + own,
                }
            };
            let product = Product {
                input: &input,
                sizes: [1, outputs, features, count * vectors],
                source: &place(features),
                target: &place(outputs),
                dims: result_dims(&lead),
            };
            self.product(node, product, weight, None)?
        } else {
            let Some(lead) = broadcast(&lead, &others) else {
                return Err(node.problem(format!("its inputs of shapes {dims:?} and {stack:?} do not fit each other")));
            };
            let input = self.expanded(node, &input, &[&lead[..], &[down, across]].concat())?;
            let count: usize = lead.iter().product();
            let weight_count = count.checked_mul(outputs * features);
            tensor::spend(&mut self.budget, weight_count.unwrap_or(usize::MAX), &tensor.name)?;
            let values = tensor.reals()?;
            let mut all = Vec::with_capacity(count * outputs * features);
            for matrix in super::arrange::spread(&others, &lead) {
                for output in 0..outputs {
                    for feature in 0..features {
                        let place = match constant_on_the_left {
                            true => [matrix as usize, output, feature],
                            false => [matrix as usize, feature, output],
                        };
                        all.push(values[index(&[matrices, first, second], &place)]);
                    }
                }
            }
            let weight = self.weight(&tensor, &[count * outputs, features], all.into())?;
            let place = |each: usize| {
                move |matrix: usize, own: usize, vector: usize| match constant_on_the_left {
                    true => (matrix * each + own) * vectors + vector,
                    false => (matrix * vectors + vector) * each + own,
                }
            };
            let product = Product {
                input: &input,
                sizes: [count, outputs, features, vectors],
                source: &place(features),
                target: &place(outputs),
                dims: result_dims(&lead),
            };
            self.product(node, product, weight, None)?
        };
        self.alias(node, result)
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
        let &[rows, columns] = &tensor.dims[..] else {
            return Err(node.problem(format!("its weight has shape {:?}; it must be a matrix", tensor.dims)));
        };
        let values = tensor.reals()?;
        let (outputs, inputs) = if stored_by_output { (rows, columns) } else { (columns, rows) };
        if inputs != features {
            return Err(node.problem(format!(
                "its weight of shape {:?} does not fit an input of {features} features",
                tensor.dims
            )));
        }
        let turned: Vec<f64>;
        let values = if stored_by_output {
            values
        } else {
            turned = (0..values.len()).map(|i| values[i % inputs * outputs + i / inputs]).collect();
            &turned
        };
        self.weight(tensor, &[outputs, inputs], Numbers::scaled(values, factor))
    }

    /// A product as a linear layer, which takes the order of its input's elements into its columns, or as a convolution of
    /// one pixel with a group for each matrix and a position for each vector.
    fn product(
        &mut self,
        node: &Node<'a>,
        product: Product<'_>,
        mut weight: Weight,
        bias: Option<Weight>,
    ) -> Result<Activation, Problem> {
        let Product { input, sizes: [matrices, outputs, features, vectors], source, target, dims } = product;
        if matrices == 1 && vectors == 1 {
            if input.order.is_some() {
                let mut column = vec![0; features];
                (0..features).for_each(|feature| column[input.source(source(0, feature, 0))] = feature);
                let places = (0..outputs * features).map(|i| i / features * features + column[i % features]);
                weight.numbers = weight.numbers.picked(places);
            }
            let flat = self.drafts.flat(&format!("{}.flatten", node.label()), input.draft);
            return self.layer(node, Operation::Linear { weight, bias }, vec![flat], vec![outputs], dims);
        }
        let shape = vec![matrices * features, vectors, 1];
        self.check_room(node, &shape)?;
        let sources = positions(&[matrices, features, vectors]).map(|p| source(p[0], p[1], p[2]) as u32).collect();
        let by_feature = super::arrange::Selection::one_each([&[1], &shape[..]].concat(), sources);
        let image = self.select(node, input, by_feature)?;
        let image = self.laid(node, &image, &shape)?;
        let channels = [matrices * features, matrices * outputs];
        let conv = Conv2d { groups: matrices, weight: ParameterId(0), ..Conv2d::new(channels, [1, 1]) };
        weight.shape = vec![channels[1], features, 1, 1];
        let shape = vec![channels[1], vectors, 1];
        let result = self.layer(node, Operation::Conv2d { conv, weight, bias }, vec![image], shape, dims)?;
        let mut order = vec![0; matrices * outputs * vectors];
        for (place, p) in positions(&[matrices, outputs, vectors]).enumerate() {
            order[target(p[0], p[1], p[2])] = place as u32;
        }
        let order = if order.is_sorted() { None } else { Some(order.into()) };
        Ok(Activation { order, ..result })
    }
}
