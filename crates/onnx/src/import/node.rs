//! One ONNX node: its label for messages and its attributes.

use crate::error::Problem;
use crate::proto::{AttributeProto, NodeProto, TensorProto, code};

/// A node with its attributes, each of which has to be asked for.
pub struct Node<'a> {
    pub proto: &'a NodeProto,
    /// Its name, or that of the first output that it has where it has none.
    pub label: &'a str,
    /// The outputs that something reads.
    pub used: Vec<usize>,
    asked: Vec<&'static str>,
}

impl<'a> Node<'a> {
    pub fn new(proto: &'a NodeProto) -> Self {
        let label = match proto.output.iter().find(|output| !output.is_empty()) {
            Some(output) if proto.name.is_empty() => output,
            _ => &proto.name,
        };
        Node { proto, label, used: vec![0], asked: Vec::new() }
    }

    /// What the node is called in messages and its layers after.
    pub fn label(&self) -> &'a str {
        self.label
    }

    /// An error that names this node.
    pub fn problem(&self, problem: impl Into<String>) -> Problem {
        Problem::Node { node: self.label().into(), operator: self.proto.op_type.clone(), problem: problem.into() }
    }

    /// The name of input `index`, if it is given.
    pub fn input(&self, index: usize) -> Option<&'a str> {
        self.proto.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Fails unless the node's first output alone is read and it has between `least` and `most` inputs.
    pub fn check_arity(&self, least: usize, most: usize) -> Result<(), Problem> {
        let inputs = self.proto.input.len();
        if inputs > most || (0..least).any(|index| self.input(index).is_none()) {
            return Err(self.problem(format!("has {inputs} inputs; it takes {least} to {most}")));
        }
        // Others, as the mask of a dropout, may be there if nothing reads them.
        if self.used != [0] {
            return Err(self.problem(format!(
                "has {} outputs that are read; only the first is supported, as in inference mode",
                self.used.len()
            )));
        }
        Ok(())
    }

    fn attribute(&mut self, name: &'static str, kind: i32) -> Result<Option<&'a AttributeProto>, Problem> {
        self.asked.push(name);
        let Some(attribute) = self.proto.attribute.iter().find(|attribute| attribute.name == name) else {
            return Ok(None);
        };
        if attribute.r#type != kind && attribute.r#type != 0 {
            return Err(self.problem(format!("attribute `{name}` has the wrong type; the file is damaged")));
        }
        Ok(Some(attribute))
    }

    fn value<T>(&self, name: &str, value: Option<T>) -> Result<T, Problem> {
        value.ok_or_else(|| self.problem(format!("attribute `{name}` has no value; the file is damaged")))
    }

    /// An integer attribute.
    pub fn int(&mut self, name: &'static str, default: i64) -> Result<i64, Problem> {
        match self.attribute(name, code::ATTRIBUTE_INT)? {
            Some(attribute) => self.value(name, attribute.i),
            None => Ok(default),
        }
    }

    /// A float attribute, which may be infinite or NaN.
    pub fn extended_float(&mut self, name: &'static str, default: f32) -> Result<f32, Problem> {
        match self.attribute(name, code::ATTRIBUTE_FLOAT)? {
            Some(attribute) => self.value(name, attribute.f),
            None => Ok(default),
        }
    }

    /// A float attribute.
    pub fn float(&mut self, name: &'static str, default: f32) -> Result<f32, Problem> {
        let value = self.extended_float(name, default)?;
        if !value.is_finite() {
            return Err(self.problem(format!("attribute `{name}` is {value}")));
        }
        Ok(value)
    }

    /// A string attribute.
    pub fn string(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let Some(attribute) = self.attribute(name, code::ATTRIBUTE_STRING)? else { return Ok(None) };
        let bytes = self.value(name, attribute.s.as_ref())?;
        Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
    }

    /// A list of integers.
    pub fn ints(&mut self, name: &'static str) -> Result<Option<&'a [i64]>, Problem> {
        Ok(self.attribute(name, code::ATTRIBUTE_INTS)?.map(|attribute| attribute.ints.as_slice()))
    }

    /// A list of floats.
    pub fn floats(&mut self, name: &'static str) -> Result<Option<&'a [f32]>, Problem> {
        Ok(self.attribute(name, code::ATTRIBUTE_FLOATS)?.map(|attribute| attribute.floats.as_slice()))
    }

    /// A tensor.
    pub fn tensor(&mut self, name: &'static str) -> Result<Option<&'a TensorProto>, Problem> {
        let Some(attribute) = self.attribute(name, code::ATTRIBUTE_TENSOR)? else { return Ok(None) };
        self.value(name, attribute.t.as_ref()).map(Some)
    }

    /// True if the attribute is there, of whatever type.
    pub fn has(&self, name: &str) -> bool {
        self.proto.attribute.iter().any(|attribute| attribute.name == name)
    }

    /// Fails if the node has an attribute that nobody asked for: it might change what the operator means.
    pub fn check_attributes(&self) -> Result<(), Problem> {
        match self.proto.attribute.iter().find(|attribute| !self.asked.contains(&attribute.name.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(self.problem(format!(
                "attribute `{}` is not known for this operator; export the model for opset 13",
                unknown.name
            ))),
        }
    }
}
