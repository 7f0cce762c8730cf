//! Walks the graph: finds the input and output, resolves tensors, dispatches on the operator.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use tightrope_network::Model;

use super::draft::{Activation, Draft, Drafts, Operation, Weight};
use super::node::Node;
use super::numbers::Numbers;
use crate::error::Problem;
use crate::proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto, code};
use crate::tensor::{self, Data, Tensor};

/// Most nodes a graph may have; beyond it the file is taken for damaged.
pub const MAX_NODES: usize = 20_000;

/// What a tensor name stands for.
enum Value<'a> {
    Initializer(&'a TensorProto),
    Constant(Rc<Tensor>),
    Activation(Activation),
}

/// One operand of a node.
pub enum Operand {
    Constant(Rc<Tensor>),
    Activation(Activation),
}

/// The state of an import.
pub struct Importer<'a> {
    pub drafts: Drafts,
    values: HashMap<&'a str, Value<'a>>,
    uses: HashMap<&'a str, usize>,
    /// True if the input's batch is fixed to 1.
    pub single: bool,
    /// Values that may still be allocated.
    pub budget: usize,
}

/// Reads a graph; parameters and constants may take `budget` values together.
pub fn read(graph: &GraphProto, budget: usize) -> Result<Model, Problem> {
    if graph.node.len() > MAX_NODES {
        return Err(Problem::Model(format!("its graph has {} nodes; at most {MAX_NODES} are read", graph.node.len())));
    }
    let initializers: HashMap<&str, &TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let input = {
        let inputs: Vec<&ValueInfoProto> =
            graph.input.iter().filter(|input| !initializers.contains_key(input.name.as_str())).collect();
        match inputs[..] {
            [input] => input,
            _ => return Err(Problem::Model(format!("its graph has {} inputs; it must have one", inputs.len()))),
        }
    };
    let [output] = &graph.output[..] else {
        return Err(Problem::Model(format!("its graph has {} outputs; it must have one", graph.output.len())));
    };
    let needed = needed_nodes(graph, &output.name)?;
    let mut uses: HashMap<&str, usize> = HashMap::from([(output.name.as_str(), 1)]);
    for name in needed.iter().flat_map(|node| &node.input) {
        *uses.entry(name).or_default() += 1;
    }
    let (shape, single) = input_shape(input)?;
    let sole = uses.get(input.name.as_str()) == Some(&1);
    let start = Activation { draft: 0, view: shape.clone().into(), sole };
    let first = Draft { name: "input".into(), operation: Operation::Input, inputs: vec![], shape };
    let mut values: HashMap<&str, Value> =
        initializers.into_iter().map(|(name, tensor)| (name, Value::Initializer(tensor))).collect();
    values.insert(&input.name, Value::Activation(start));
    let mut importer = Importer { drafts: Drafts(vec![first]), values, uses, single, budget };
    for node in needed {
        importer.node(node)?;
    }
    match importer.values.get(output.name.as_str()) {
        Some(Value::Activation(activation)) => importer.drafts.build(activation.draft),
        _ => Err(Problem::Model(format!("its output `{}` does not depend on its input", output.name))),
    }
}

/// The nodes that `output` depends on, in file order.
fn needed_nodes<'a>(graph: &'a GraphProto, output: &'a str) -> Result<Vec<&'a NodeProto>, Problem> {
    let mut wanted: HashSet<&str> = HashSet::from([output]);
    let mut needed = Vec::new();
    for node in graph.node.iter().rev() {
        if node.output.iter().any(|name| wanted.contains(name.as_str())) {
            wanted.extend(node.input.iter().map(String::as_str));
            needed.push(node);
        }
    }
    if needed.is_empty() {
        return Err(Problem::Model(format!("no node makes its output `{output}`")));
    }
    needed.reverse();
    Ok(needed)
}

/// The input's shape without the batch, and whether the batch is fixed to 1.
fn input_shape(input: &ValueInfoProto) -> Result<(Vec<usize>, bool), Problem> {
    let fail = |problem: String| Err(Problem::Model(format!("its input `{}` {problem}", input.name)));
    let Some(tensor) = input.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref()) else {
        return fail("is no tensor".into());
    };
    if ![code::TENSOR_FLOAT, code::TENSOR_DOUBLE].contains(&tensor.elem_type) {
        return fail(format!("has data type {}; it must be float32", tensor::type_name(tensor.elem_type)));
    }
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let [batch, rest @ ..] = dims else {
        return fail("has no shape; export the model with one".into());
    };
    if rest.is_empty() {
        return fail("has one axis; it needs a batch axis and at least one more".into());
    }
    let single = match batch.dim_value {
        // Some exporters write −1 or 0 where the batch is open.
        None | Some(-1 | 0) => false,
        Some(1) => true,
        Some(other) if other > 0 && rest.len() == 2 => {
            return fail(format!(
                "has the shape {:?}, whose first axis is read as a fixed batch of {other}; if it is an image without a batch \
                 axis, export the model with one, [1, {other}, …]; else with a batch of 1 or a dynamic one",
                dims.iter().map(|dim| dim.dim_value.unwrap_or(-1)).collect::<Vec<_>>()
            ));
        }
        Some(other) if other > 0 => {
            return fail(format!("has a fixed batch of {other}; export the model with a batch of 1 or a dynamic one"));
        }
        Some(other) => return fail(format!("has the impossible batch {other}; the file is damaged")),
    };
    let mut shape = Vec::new();
    for (axis, dim) in rest.iter().enumerate() {
        match dim.dim_value.map(usize::try_from) {
            Some(Ok(side)) if side > 0 => shape.push(side),
            Some(_) => return fail(format!("has an impossible length on axis {}", axis + 1)),
            None => {
                return fail(format!("has a dynamic axis {}; only the batch (axis 0) may be dynamic", axis + 1));
            }
        }
    }
    match tensor::elements(&shape) {
        Some(_) => Ok((shape, single)),
        None => fail(format!("has the impossible shape {shape:?}")),
    }
}

impl<'a> Importer<'a> {
    fn node(&mut self, proto: &'a NodeProto) -> Result<(), Problem> {
        let mut node = Node::new(proto);
        let operator = match proto.domain.as_str() {
            "" | "ai.onnx" => proto.op_type.as_str(),
            _ => "",
        };
        match operator {
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(&mut node)?,
            "Sum" => self.sum(&mut node)?,
            "BatchNormalization" => self.batch_normalization(&mut node)?,
            "Conv" => self.conv(&mut node)?,
            "Gemm" => self.gemm(&mut node)?,
            "MatMul" => self.mat_mul(&mut node)?,
            "AveragePool" => self.average_pool(&mut node)?,
            "GlobalAveragePool" => self.global_average_pool(&mut node)?,
            "MaxPool" => self.max_pool(&mut node)?,
            "GlobalMaxPool" => self.global_max_pool(&mut node)?,
            "Relu" => self.relu(&mut node)?,
            "LeakyRelu" => self.leaky_relu(&mut node)?,
            "Sigmoid" => self.sigmoid(&mut node)?,
            "Tanh" => self.tanh(&mut node)?,
            "Clip" => self.clip(&mut node)?,
            "Flatten" => self.flatten(&mut node)?,
            "Reshape" => self.reshape(&mut node)?,
            "Transpose" => self.transpose(&mut node)?,
            "Identity" => self.identity(&mut node)?,
            "Cast" => self.cast(&mut node)?,
            "Constant" => self.constant(&mut node)?,
            _ => {
                let domain = if operator.is_empty() { format!("{}::", proto.domain) } else { String::new() };
                return Err(Problem::Operator {
                    node: node.label().into(),
                    operator: format!("{domain}{}", proto.op_type),
                });
            }
        }
        node.check_attributes()
    }

    /// Operand `index` of a node.
    pub fn operand(&mut self, node: &Node<'a>, index: usize) -> Result<Operand, Problem> {
        let name = node.input(index).ok_or_else(|| node.problem(format!("input {index} is missing")))?;
        let tensor = match self.values.get(name) {
            Some(Value::Activation(activation)) => return Ok(Operand::Activation(activation.clone())),
            Some(Value::Constant(tensor)) => return Ok(Operand::Constant(tensor.clone())),
            Some(Value::Initializer(proto)) => Rc::new(Tensor::decode(proto, name, true)?),
            None => {
                return Err(node.problem(format!(
                    "reads `{name}`, which is no initializer and no output of an earlier node; the file is damaged"
                )));
            }
        };
        self.values.insert(name, Value::Constant(tensor.clone()));
        Ok(Operand::Constant(tensor))
    }

    /// Operand `index`, which must depend on the network's input.
    pub fn activation(&mut self, node: &Node<'a>, index: usize) -> Result<Activation, Problem> {
        match self.operand(node, index)? {
            Operand::Activation(activation) => Ok(activation),
            Operand::Constant(tensor) => Err(node.problem(format!(
                "input {index} (`{}`) is a constant; it must depend on the network's input",
                tensor.name
            ))),
        }
    }

    /// Operand `index`, which must be constant.
    pub fn constant_operand(&mut self, node: &Node<'a>, index: usize) -> Result<Rc<Tensor>, Problem> {
        match self.operand(node, index)? {
            Operand::Constant(tensor) => Ok(tensor),
            Operand::Activation(_) => Err(node.problem(format!(
                "input {index} (`{}`) depends on the network's input; it must be a constant",
                node.input(index).unwrap_or_default()
            ))),
        }
    }

    /// The numbers `numbers`, made of those of `tensor`, as a parameter of `shape`.
    pub fn weight(&mut self, tensor: &Tensor, shape: &[usize], numbers: Numbers) -> Result<Weight, Problem> {
        self.spend(&numbers, &tensor.name)?;
        match numbers.values.iter().position(|value| !value.is_finite()) {
            None => Ok(Weight { name: tensor.name.clone(), shape: shape.to_vec(), numbers }),
            Some(index) => {
                Err(Problem::tensor(&tensor.name, format!("element {index} is too large for double precision")))
            }
        }
    }

    /// Lowers the budget by what `numbers` take.
    pub fn spend(&mut self, numbers: &Numbers, name: &str) -> Result<(), Problem> {
        // About what a number of three hundred digits takes, in f64s.
        const FINER: usize = 32;
        tensor::spend(&mut self.budget, numbers.len() + FINER * numbers.finer.len(), name)
    }

    fn bind(&mut self, node: &Node<'a>, value: Value<'a>) -> Result<(), Problem> {
        let name = node.proto.output[0].as_str();
        if self.values.insert(name, value).is_some() {
            return Err(node.problem(format!("makes `{name}`, which exists already; the file is damaged")));
        }
        Ok(())
    }

    /// Lets the node's output be a new layer that reads `inputs`.
    pub fn layer(
        &mut self,
        node: &Node<'a>,
        operation: Operation,
        inputs: Vec<usize>,
        shape: Vec<usize>,
        view: Rc<[usize]>,
    ) -> Result<(), Problem> {
        let draft = self.drafts.push(node.label(), operation, inputs, shape).map_err(|e| node.problem(e))?;
        self.alias(node, Activation { draft, view, sole: true })
    }

    /// Lets the node's output be another view of a layer; `activation.sole` as it was for the input.
    pub fn alias(&mut self, node: &Node<'a>, mut activation: Activation) -> Result<(), Problem> {
        activation.sole &= self.uses.get(node.proto.output[0].as_str()) == Some(&1);
        self.bind(node, Value::Activation(activation))
    }

    /// Lets the node's output be a constant.
    pub fn bind_constant(&mut self, node: &Node<'a>, tensor: Tensor) -> Result<(), Problem> {
        self.bind(node, Value::Constant(Rc::new(tensor)))
    }

    fn identity(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        match self.operand(node, 0)? {
            Operand::Activation(activation) => self.alias(node, activation),
            Operand::Constant(tensor) => {
                let mut tensor = Tensor::clone(&tensor);
                tensor::spend(&mut self.budget, tensor.len(), &tensor.name)?;
                // Exporters that store equal tensors once keep the other names this way.
                tensor.name = node.proto.output[0].clone();
                self.bind_constant(node, tensor)
            }
        }
    }

    /// From one floating-point type to another: nothing for an activation, whose arithmetic is read as exact; a constant
    /// is rounded as the operator does it.
    fn cast(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        node.int("saturate", 1)?;
        let to = node.int("to", 0)?;
        let (single, double) = (i64::from(code::TENSOR_FLOAT), i64::from(code::TENSOR_DOUBLE));
        if to != single && to != double {
            let name = i32::try_from(to).map_or_else(|_| to.to_string(), tensor::type_name);
            return Err(node.problem(format!("casts to {name}; only casts to float32 and float64 are supported")));
        }
        match self.operand(node, 0)? {
            Operand::Activation(activation) => self.alias(node, activation),
            Operand::Constant(constant) => {
                tensor::spend(&mut self.budget, constant.len(), &constant.name)?;
                let round = |value: f64| if to == single { f64::from(value as f32) } else { value };
                let values: Vec<f64> = match &constant.data {
                    Data::Real(values) => values.iter().map(|&value| round(value)).collect(),
                    Data::Integer(values) => values.iter().map(|&value| round(value as f64)).collect(),
                };
                constant.check_finite(&values)?;
                let name = node.proto.output[0].clone();
                let tensor = Tensor { name, data: Data::Real(values), ..Tensor::clone(&constant) };
                self.bind_constant(node, tensor)
            }
        }
    }

    fn constant(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(0, 0)?;
        let name = node.proto.output[0].clone();
        let tensor = if let Some(proto) = node.tensor("value")? {
            Tensor::decode(proto, &name, false)?
        } else {
            let (dims, data) = if node.has("value_float") {
                (vec![], Data::Real(vec![f64::from(node.float("value_float", 0.0)?)]))
            } else if node.has("value_int") {
                (vec![], Data::Integer(vec![node.int("value_int", 0)?]))
            } else if let Some(values) = node.floats("value_floats")? {
                (vec![values.len()], Data::Real(values.iter().map(|&value| f64::from(value)).collect()))
            } else if let Some(values) = node.ints("value_ints")? {
                (vec![values.len()], Data::Integer(values.to_vec()))
            } else {
                return Err(node.problem("has no dense value of floats or integers"));
            };
            let tensor = Tensor { name, dims, data, trainable: false };
            if let Data::Real(values) = &tensor.data {
                tensor.check_finite(values)?;
            }
            tensor
        };
        self.bind_constant(node, tensor)
    }
}
