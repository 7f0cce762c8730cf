//! Nodes whose inputs are all constants: computed once, as the operator does it, each result rounded to its type.

use std::rc::Rc;

use super::arrange::{MOST_ELEMENTS, broadcast, positions, spread};
use super::graph::{Importer, Operand};
use super::node::Node;
use crate::element::{self, Class};
use crate::error::Problem;
use crate::proto::code;
use crate::tensor::{self, Data, Tensor, elements};

/// Operators of one operand, element by element.
fn unary(operator: &str, x: f64) -> Option<f64> {
    Some(match operator {
        "Abs" => x.abs(),
        "Ceil" => x.ceil(),
        "Cos" => x.cos(),
        "Exp" => x.exp(),
        "Floor" => x.floor(),
        "Log" => x.ln(),
        "Neg" => -x,
        "Not" => f64::from(x == 0.0),
        "Reciprocal" => 1.0 / x,
        "Relu" => x.max(0.0),
        "Round" => x.round_ties_even(),
        "Sigmoid" => 1.0 / (1.0 + (-x).exp()),
        "Sign" => {
            if x == 0.0 {
                0.0
            } else {
                x.signum()
            }
        }
        "Sin" => x.sin(),
        // As max(x, 0) + ln(1 + e^−|x|), which does not overflow.
        "Softplus" => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        "Sqrt" => x.sqrt(),
        "Tan" => x.tan(),
        "Tanh" => x.tanh(),
        _ => return None,
    })
}

/// Operators of two operands, element by element; of whole numbers if `whole`.
fn binary(operator: &str, a: f64, b: f64, whole: bool) -> Option<f64> {
    Some(match operator {
        "Add" | "Sum" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Div" if whole => (a / b).trunc(),
        "Div" => a / b,
        "Pow" => a.powf(b),
        "Max" => a.max(b),
        "Min" => a.min(b),
        // With the sign of the divisor, or of the dividend if `fmod` says so.
        "Mod" => a - b * (a / b).floor(),
        "Fmod" => a % b,
        "And" => f64::from(a != 0.0 && b != 0.0),
        "Or" => f64::from(a != 0.0 || b != 0.0),
        "Equal" => f64::from(a == b),
        "Greater" => f64::from(a > b),
        "GreaterOrEqual" => f64::from(a >= b),
        "Less" => f64::from(a < b),
        "LessOrEqual" => f64::from(a <= b),
        _ => return None,
    })
}

/// Operators whose result is a truth value.
fn is_logical(operator: &str) -> bool {
    matches!(operator, "And" | "Or" | "Not" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual")
}

/// The elements as numbers. Whole numbers beyond 2⁵³, which nothing here has a use for, are refused before.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    match &tensor.data {
        Data::Real(values) => values.clone(),
        Data::Integer(values) => values.iter().map(|&value| value as f64).collect(),
    }
}

/// `values` as a tensor of a type; whole numbers are cut towards 0.
fn tensor(name: &str, dims: Vec<usize>, values: Vec<f64>, kind: i32) -> Result<Tensor, Problem> {
    let data = match element::class(kind) {
        Some(Class::Integer) => {
            // What a type cannot hold wraps around in some runtimes and not in others.
            let range = element::range(kind);
            let whole =
                |&value: &f64| Some(value.trunc() as i64).filter(|whole| value.is_finite() && range.contains(whole));
            let values = values.iter().map(whole).collect::<Option<Vec<i64>>>();
            Data::Integer(values.ok_or_else(|| {
                Problem::tensor(name, format!("would hold a number that {} cannot", element::name(kind)))
            })?)
        }
        _ => Data::Real(values.iter().map(|&value| element::round(kind, value)).collect()),
    };
    Ok(Tensor { name: name.into(), dims, data, kind, trainable: false })
}

impl<'a> Importer<'a> {
    /// Computes the node if all its inputs are constants and it is one of those here; says whether it did.
    pub fn fold(&mut self, node: &mut Node<'a>, operator: &str) -> Result<bool, Problem> {
        let given: Vec<usize> = (0..node.proto.input.len()).filter(|&index| node.input(index).is_some()).collect();
        if given.is_empty() || !given.iter().all(|&index| self.is_constant(node.input(index).unwrap_or_default())) {
            return Ok(false);
        }
        let is_known = matches!(operator, "Cast" | "ConstantOfShape" | "MatMul" | "Range" | "Where" | "Size")
            || matches!(operator, "ReduceSum" | "ReduceMean" | "ReduceProd" | "ReduceMax" | "ReduceMin")
            || unary(operator, 1.0).is_some()
            || binary(operator, 1.0, 1.0, false).is_some();
        if !is_known {
            return Ok(false);
        }
        node.check_arity(1, usize::MAX)?;
        let mut inputs: Vec<Rc<Tensor>> = Vec::new();
        for &index in &given {
            inputs.push(self.constant_operand(node, index)?);
        }
        let large = |value: &i64| value.unsigned_abs() >= 1 << 53;
        if let Some(wide) = inputs.iter().find(|t| matches!(&t.data, Data::Integer(values) if values.iter().any(large)))
        {
            return Err(node.problem(format!("its constant `{}` holds whole numbers beyond 2⁵³", wide.name)));
        }
        let name = node.proto.output[0].clone();
        let first = inputs[0].clone();
        let spend = |importer: &mut Self, dims: &[usize]| match elements(dims) {
            Some(count) if count <= MOST_ELEMENTS => tensor::spend(&mut importer.budget, count, &name).map(|()| count),
            Some(_) => Err(Problem::tensor(&name, format!("its shape {dims:?} would take too much room in memory"))),
            None => Err(Problem::tensor(&name, format!("would have the impossible shape {dims:?}"))),
        };
        let result = match operator {
            "Cast" => {
                let dims = first.dims.clone();
                spend(self, &dims)?;
                node.int("saturate", 1)?;
                let to = node.int("to", 0)?;
                let kind = i32::try_from(to).ok().filter(|&kind| element::class(kind).is_some());
                let Some(kind) = kind else {
                    return Err(node.problem(format!("casts to the data type {to}, which is not read")));
                };
                let values = numbers(&first).into_iter();
                let values = match kind {
                    code::TENSOR_BOOL => values.map(|value| f64::from(value != 0.0)).collect(),
                    _ => values.collect(),
                };
                tensor(&name, dims, values, kind)?
            }
            "Size" => tensor(&name, vec![], vec![first.len() as f64], code::TENSOR_INT64)?,
            "ConstantOfShape" => {
                let dims = self.lengths_of(node, &first)?;
                let count = spend(self, &dims)?;
                let filler = match node.tensor("value")? {
                    Some(proto) => Tensor::decode(proto, "value", false, self.files, &mut self.budget)?,
                    None => tensor("value", vec![1], vec![0.0], code::TENSOR_FLOAT)?,
                };
                let &[value] = &numbers(&filler)[..] else {
                    return Err(node.problem("its value must be one number"));
                };
                tensor(&name, dims, vec![value; count], filler.kind)?
            }
            "Range" => {
                let ends: Vec<f64> = inputs.iter().flat_map(|input| numbers(input)).collect();
                let &[start, limit, delta] = &ends[..] else {
                    return Err(node.problem("needs start, limit and delta, one number each"));
                };
                let count = ((limit - start) / delta).ceil().max(0.0);
                if count.is_nan() || count > MOST_ELEMENTS as f64 {
                    return Err(
                        node.problem(format!("from {start} to {limit} by {delta} is no range of sensible length"))
                    );
                }
                let count = spend(self, &[count as usize])?;
                let values = (0..count).map(|i| start + i as f64 * delta).collect();
                tensor(&name, vec![count], values, first.kind)?
            }
            "MatMul" => self.folded_product(node, &inputs)?,
            "Where" => {
                let [condition, yes, no] = &inputs[..] else { return Err(node.problem("needs three inputs")) };
                let dims = broadcast(&condition.dims, &yes.dims).and_then(|dims| broadcast(&dims, &no.dims));
                let Some(dims) = dims else { return Err(node.problem("its inputs' shapes do not fit each other")) };
                spend(self, &dims)?;
                let all = |t: &Tensor| spread(&t.dims, &dims).into_iter().map(|i| number(t, i)).collect::<Vec<f64>>();
                let pairs = all(yes).into_iter().zip(all(no));
                let values = all(condition).into_iter().zip(pairs).map(|(c, (a, b))| if c != 0.0 { a } else { b });
                let values = values.collect();
                tensor(&name, dims, values, yes.kind)?
            }
            "ReduceSum" | "ReduceMean" | "ReduceProd" | "ReduceMax" | "ReduceMin" => {
                let (axes, keep) = self.reduction(node, first.dims.len())?;
                let dims = reduced(&first.dims, &axes);
                let count = spend(self, &dims)?;
                let values = numbers(&first);
                let mut groups = vec![Vec::new(); count];
                for (position, value) in positions(&first.dims).zip(values) {
                    let place = position.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
                    let place = place.fold(0, |index, (axis, &at)| index * first.dims[axis] + at);
                    groups[place].push(value);
                }
                let of = |group: &Vec<f64>| match operator {
                    "ReduceSum" => group.iter().sum(),
                    "ReduceMean" => group.iter().sum::<f64>() / group.len() as f64,
                    "ReduceProd" => group.iter().product(),
                    "ReduceMax" => group.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    _ => group.iter().copied().fold(f64::INFINITY, f64::min),
                };
                let dims = if keep { kept(&first.dims, &axes) } else { dims };
                tensor(&name, dims, groups.iter().map(of).collect(), first.kind)?
            }
            _ if unary(operator, 1.0).is_some() => {
                spend(self, &first.dims)?;
                let of = |x| unary(operator, x).unwrap_or(x);
                let kind = if is_logical(operator) { code::TENSOR_BOOL } else { first.kind };
                tensor(&name, first.dims.clone(), numbers(&first).into_iter().map(of).collect(), kind)?
            }
            _ => {
                let operator = if node.int("fmod", 0)? != 0 { "Fmod" } else { operator };
                let mut sum = Tensor::clone(&first);
                for other in &inputs[1..] {
                    let Some(dims) = broadcast(&sum.dims, &other.dims) else {
                        return Err(node.problem(format!(
                            "its inputs have shapes {:?} and {:?}, which do not fit each other",
                            sum.dims, other.dims
                        )));
                    };
                    spend(self, &dims)?;
                    let whole = element::class(first.kind) == Some(Class::Integer);
                    let (a, b) = (numbers(&sum), numbers(other));
                    let pairs = spread(&sum.dims, &dims).into_iter().zip(spread(&other.dims, &dims));
                    let of =
                        |(i, j): (u32, u32)| binary(operator, a[i as usize], b[j as usize], whole).unwrap_or_default();
                    let kind = if is_logical(operator) { code::TENSOR_BOOL } else { first.kind };
                    let values: Vec<f64> = pairs.map(of).collect();
                    if whole && values.iter().any(|value| !value.is_finite() || value.abs() >= 2.0_f64.powi(53)) {
                        return Err(node.problem("its result is no whole number, or too large"));
                    }
                    sum = tensor(&name, dims, values, kind)?;
                }
                sum.trainable = false;
                sum.name.clone_from(&name);
                sum
            }
        };
        self.bind_operand(node, 0, Operand::Constant(Rc::new(result)))?;
        Ok(true)
    }

    /// The product of two constant matrices, or stacks of them.
    fn folded_product(&mut self, node: &Node<'a>, inputs: &[Rc<Tensor>]) -> Result<Tensor, Problem> {
        let [left, right] = inputs else { return Err(node.problem("needs two inputs")) };
        let name = &node.proto.output[0];
        let pairs = self.matrices(node, &left.dims, &right.dims)?;
        tensor::spend(&mut self.budget, pairs.left.len(), name)?;
        let (a, b) = (numbers(left), numbers(right));
        let terms = pairs.left.iter().zip(&pairs.right).map(|(&i, &j)| a[i as usize] * b[j as usize]);
        let terms: Vec<f64> = terms.collect();
        let sums = terms.chunks(pairs.inner.max(1)).map(|terms| terms.iter().sum()).collect();
        tensor(name, pairs.dims, sums, left.kind)
    }

    /// The elements of a constant as lengths.
    pub fn lengths_of(&self, node: &Node<'a>, tensor: &Tensor) -> Result<Vec<usize>, Problem> {
        let lengths = tensor.integers()?.iter().map(|&side| usize::try_from(side).ok());
        lengths
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| node.problem(format!("`{}` holds negative lengths", tensor.name)))
    }
}

fn number(tensor: &Tensor, index: u32) -> f64 {
    match &tensor.data {
        Data::Real(values) => values[index as usize],
        Data::Integer(values) => values[index as usize] as f64,
    }
}

/// The axes of `dims` that stay.
pub fn reduced(dims: &[usize], axes: &[usize]) -> Vec<usize> {
    dims.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, &side)| side).collect()
}

/// `dims` with 1 for the axes that do not stay.
pub fn kept(dims: &[usize], axes: &[usize]) -> Vec<usize> {
    dims.iter().enumerate().map(|(axis, &side)| if axes.contains(&axis) { 1 } else { side }).collect()
}
