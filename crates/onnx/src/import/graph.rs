//! Walks the graph: finds the input and output, resolves tensors, dispatches on the operator.

use std::collections::HashMap;
use std::rc::Rc;

use tightrope_network::Model;

use super::arrange::own_shape;
use super::choice::Above;
use super::draft::{Activation, Draft, Drafts, Operation, Weight};
use super::node::Node;
use super::numbers::Numbers;
use super::order;
use crate::element;
use crate::error::Problem;
use crate::external::Files;
use crate::proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto, code};
use crate::tensor::{self, Data, Tensor};

/// Most nodes a graph may have; beyond it the file is taken for damaged.
pub const MAX_NODES: usize = 20_000;

/// What a tensor name stands for.
enum Value<'a> {
    Initializer(&'a TensorProto),
    Constant(Rc<Tensor>),
    Activation(Activation),
    /// A truth value that depends on the input.
    Above(Above),
}

/// One operand of a node.
#[derive(Clone)]
pub enum Operand {
    Constant(Rc<Tensor>),
    Activation(Activation),
}

impl Operand {
    /// Its shape in the graph.
    pub fn dims(&self) -> &[usize] {
        match self {
            Operand::Constant(tensor) => &tensor.dims,
            Operand::Activation(activation) => &activation.dims,
        }
    }
}

/// The state of an import.
pub struct Importer<'a> {
    pub drafts: Drafts,
    values: HashMap<&'a str, Value<'a>>,
    uses: HashMap<&'a str, usize>,
    pub files: &'a Files<'a>,
    /// Version of the operators.
    pub opset: i64,
    /// Values that may still be allocated.
    pub budget: usize,
}

/// Reads a graph; parameters and constants may take `budget` values together.
pub fn read(graph: &GraphProto, opset: i64, files: &Files<'_>, budget: usize) -> Result<Model, Problem> {
    if graph.node.len() > MAX_NODES {
        return Err(Problem::Model(format!("its graph has {} nodes; at most {MAX_NODES} are read", graph.node.len())));
    }
    let initializers: HashMap<&str, &TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let [output] = &graph.output[..] else {
        return Err(Problem::Model(format!("its graph has {} outputs; it must have one", graph.output.len())));
    };
    let needed = order::needed(graph, &output.name)?;
    let input = order::free_input(graph, &needed, |name| initializers.contains_key(name))?;
    let mut uses: HashMap<&str, usize> = HashMap::from([(output.name.as_str(), 1)]);
    for name in needed.iter().flat_map(|node| &node.input) {
        *uses.entry(name).or_default() += 1;
    }
    let dims = input_dims(input, output)?;
    let sole = uses.get(input.name.as_str()) == Some(&1);
    let shape = own_shape(&dims);
    let start = Activation { draft: 0, dims: dims.into(), order: None, sole };
    let first = Draft { name: "input".into(), operation: Operation::Input, inputs: vec![], shape };
    let mut values: HashMap<&str, Value> =
        initializers.into_iter().map(|(name, tensor)| (name, Value::Initializer(tensor))).collect();
    values.insert(&input.name, Value::Activation(start));
    let mut importer = Importer { drafts: Drafts(vec![first]), values, uses, files, opset, budget };
    let mut last = None;
    for node in needed {
        importer.node(node)?;
        last = Some(node);
    }
    match (importer.values.get(output.name.as_str()), last) {
        (Some(Value::Activation(activation)), Some(last)) => {
            let activation = activation.clone();
            let mut node = Node::new(last);
            node.label = "flatten";
            let mut flat = importer.laid(&node, &activation, &[activation.len()])?;
            if flat == 0 {
                // A network has a layer, if only one that passes its input on.
                flat = importer.push(&node, Operation::Flatten, vec![0], vec![activation.len()])?;
            }
            importer.drafts.build(flat)
        }
        _ => Err(Problem::Model(format!("its output `{}` does not depend on its input", output.name))),
    }
}

/// The input's shape for one sample: the batch, where there is one, is 1.
fn input_dims(input: &ValueInfoProto, output: &ValueInfoProto) -> Result<Vec<usize>, Problem> {
    let fail = |problem: String| Err(Problem::Model(format!("its input `{}` {problem}", input.name)));
    let Some(tensor) = input.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref()) else {
        return fail("is no tensor".into());
    };
    if element::class(tensor.elem_type) != Some(element::Class::Real) {
        return fail(format!("has data type {}; it must be float32", element::name(tensor.elem_type)));
    }
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let [first, rest @ ..] = dims else {
        return match tensor.shape {
            Some(_) => fail("is a single number without an axis; give it one of length 1".into()),
            None => fail("has no shape; export the model with one".into()),
        };
    };
    let out = output.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref()?.shape.as_ref());
    let out = out.map_or(&[][..], |shape| &shape.dim);
    let mut shape = Vec::new();
    match first.dim_value {
        // Some exporters write −1 or 0 where the batch is open.
        None | Some(-1 | 0) if rest.is_empty() => {
            return fail(
                "has one axis of unknown length; export the model with its length, or with a batch axis".into(),
            );
        }
        None | Some(-1 | 0) => shape.push(1),
        // Whoever asks for a batch of several samples gets them back one by one.
        Some(batch) if batch > 1 && !rest.is_empty() && out.len() > 1 && out[0].dim_value == Some(batch) => {
            return fail(format!("has a fixed batch of {batch}; export the model with a batch of 1 or a dynamic one"));
        }
        Some(side) => match usize::try_from(side) {
            Ok(side) => shape.push(side),
            Err(_) => return fail(format!("has the impossible batch {side}; the file is damaged")),
        },
    }
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
        Some(_) => Ok(shape),
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
        let outputs = proto.output.iter().enumerate().filter(|(_, name)| self.uses.contains_key(name.as_str()));
        node.used = outputs.map(|(index, _)| index).collect();
        if self.fold(&mut node, operator)? {
            return node.check_attributes();
        }
        match operator {
            "Abs" => self.abs(&mut node)?,
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(&mut node)?,
            "Sum" | "Mean" => self.sum(&mut node)?,
            "Neg" => self.neg(&mut node)?,
            "Max" | "Min" => self.extreme(&mut node)?,
            "BatchNormalization" => self.batch_normalization(&mut node)?,
            "Conv" => self.conv(&mut node)?,
            "ConvTranspose" => self.conv_transpose(&mut node)?,
            "Gemm" => self.gemm(&mut node)?,
            "MatMul" => self.mat_mul(&mut node)?,
            "AveragePool" => self.average_pool(&mut node)?,
            "GlobalAveragePool" => self.global_average_pool(&mut node)?,
            "MaxPool" => self.max_pool(&mut node)?,
            "GlobalMaxPool" => self.global_max_pool(&mut node)?,
            "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" => self.reduce(&mut node)?,
            "Pow" => self.pow(&mut node)?,
            "Softmax" => self.softmax(&mut node)?,
            "Exp" => self.exp(&mut node)?,
            "Reciprocal" => self.reciprocal(&mut node)?,
            "Softplus" => self.softplus(&mut node)?,
            "Relu" => self.relu(&mut node)?,
            "LeakyRelu" => self.leaky_relu(&mut node)?,
            "PRelu" => self.p_relu(&mut node)?,
            "Sigmoid" => self.sigmoid(&mut node)?,
            "HardSigmoid" => self.hard_sigmoid(&mut node)?,
            "Tanh" => self.tanh(&mut node)?,
            "Clip" => self.clip(&mut node)?,
            "Flatten" => self.flatten(&mut node)?,
            "Reshape" => self.reshape(&mut node)?,
            "Squeeze" => self.squeeze(&mut node)?,
            "Unsqueeze" => self.unsqueeze(&mut node)?,
            "Transpose" => self.transpose(&mut node)?,
            "Expand" => self.expand(&mut node)?,
            "Tile" => self.tile(&mut node)?,
            "Slice" => self.slice(&mut node)?,
            "Split" => self.split(&mut node)?,
            "Concat" => self.concat(&mut node)?,
            "Gather" => self.gather(&mut node)?,
            "GatherND" => self.gather_nd(&mut node)?,
            "Greater" => self.greater(&mut node)?,
            "Where" => self.choose(&mut node)?,
            "Pad" => self.pad(&mut node)?,
            "DepthToSpace" | "SpaceToDepth" => self.depth_space(&mut node)?,
            "Resize" | "Upsample" => self.resize(&mut node)?,
            "Dropout" => self.dropout(&mut node)?,
            "Identity" => self.identity(&mut node)?,
            "Cast" => self.cast(&mut node)?,
            "Shape" => self.shape(&mut node)?,
            "Constant" => self.constant(&mut node)?,
            _ => {
                let domain = if operator.is_empty() { format!("{}::", proto.domain) } else { String::new() };
                return Err(Problem::Operator {
                    node: node.label().into(),
                    operator: format!("{domain}{}", proto.op_type),
                    advice: super::advice(operator),
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
            Some(Value::Above(_)) => {
                return Err(node.problem(format!(
                    "reads `{name}`, a comparison of what depends on the input; only Where(x > 20, x, Softplus(x)) is read"
                )));
            }
            Some(&Value::Initializer(proto)) => {
                Rc::new(Tensor::decode(proto, name, true, self.files, &mut self.budget)?)
            }
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

    /// The comparison that input `index` is, if it is one of what depends on the network's input.
    pub fn comparison(&self, node: &Node<'a>, index: usize) -> Option<Above> {
        match self.values.get(node.input(index)?) {
            Some(Value::Above(above)) => Some(above.clone()),
            _ => None,
        }
    }

    /// Lets the node's output be a comparison.
    pub fn bind_comparison(&mut self, node: &Node<'a>, above: Above) -> Result<(), Problem> {
        self.bind(node, 0, Value::Above(above))
    }

    /// True if nothing that `operand` names is computed from the network's input.
    pub fn is_constant(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(Value::Initializer(_) | Value::Constant(_)))
    }

    fn bind(&mut self, node: &Node<'a>, output: usize, value: Value<'a>) -> Result<(), Problem> {
        let name = node.proto.output[output].as_str();
        if self.values.insert(name, value).is_some() {
            return Err(node.problem(format!("makes `{name}`, which exists already; the file is damaged")));
        }
        Ok(())
    }

    /// Appends a layer that reads `inputs` and is called after the node.
    pub fn push(
        &mut self,
        node: &Node<'a>,
        operation: Operation,
        inputs: Vec<usize>,
        shape: Vec<usize>,
    ) -> Result<usize, Problem> {
        self.drafts.push(node.label(), operation, inputs, shape).map_err(|e| node.problem(e))
    }

    /// A new layer as an activation of shape `dims`.
    pub fn layer(
        &mut self,
        node: &Node<'a>,
        operation: Operation,
        inputs: Vec<usize>,
        shape: Vec<usize>,
        dims: Vec<usize>,
    ) -> Result<Activation, Problem> {
        let draft = self.push(node, operation, inputs, shape)?;
        Ok(Activation { draft, dims: dims.into(), order: None, sole: true })
    }

    /// Lets the node's first output be an activation; its `sole` as it was for the input.
    pub fn alias(&mut self, node: &Node<'a>, activation: Activation) -> Result<(), Problem> {
        self.bind_operand(node, 0, Operand::Activation(activation))
    }

    /// Lets an output of the node be `operand`.
    pub fn bind_operand(&mut self, node: &Node<'a>, output: usize, operand: Operand) -> Result<(), Problem> {
        match operand {
            Operand::Constant(tensor) => self.bind(node, output, Value::Constant(tensor)),
            Operand::Activation(mut activation) => {
                activation.sole &= self.uses.get(node.proto.output[output].as_str()) == Some(&1);
                self.bind(node, output, Value::Activation(activation))
            }
        }
    }

    /// Lets the node's output be a constant.
    pub fn bind_constant(&mut self, node: &Node<'a>, tensor: Tensor) -> Result<(), Problem> {
        self.bind(node, 0, Value::Constant(Rc::new(tensor)))
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

    /// Inference passes its first input on.
    fn dropout(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 3)?;
        node.float("ratio", 0.5)?;
        node.int("seed", 0)?;
        if node.input(2).is_some() && self.constant_operand(node, 2)?.integers()? != [0] {
            return Err(node.problem("is in training mode; export the model for inference"));
        }
        let operand = self.operand(node, 0)?;
        self.bind_operand(node, 0, operand)
    }

    /// From one floating-point type to another: nothing for an activation, whose arithmetic is read as exact.
    fn cast(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        node.int("saturate", 1)?;
        let to = node.int("to", 0)?;
        let kind = i32::try_from(to).unwrap_or(0);
        if element::class(kind) != Some(element::Class::Real) {
            let name = i32::try_from(to).map_or_else(|_| to.to_string(), element::name);
            return Err(node.problem(format!(
                "casts what depends on the input to {name}; only casts to floating-point types are supported"
            )));
        }
        let activation = self.activation(node, 0)?;
        self.alias(node, activation)
    }

    fn constant(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(0, 0)?;
        let name = node.proto.output[0].clone();
        let tensor = if let Some(proto) = node.tensor("value")? {
            Tensor::decode(proto, &name, false, self.files, &mut self.budget)?
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
            let kind = if matches!(data, Data::Real(_)) { code::TENSOR_FLOAT } else { code::TENSOR_INT64 };
            Tensor { name, dims, data, kind, trainable: false }
        };
        self.bind_constant(node, tensor)
    }
}
