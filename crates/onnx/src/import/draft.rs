//! The network under construction: layers that still own their parameters and may yet be folded.

use std::collections::HashMap;
use std::rc::Rc;

use tightrope_exact::Enclosure;
use tightrope_network::{
    Activation as Function, Affine, AvgPool2d, Conv2d, Gather, Layer, Linear, MaxPool2d, Model, NetworkBuilder,
    ParameterId, Place, Weights,
};

use super::numbers::Numbers;
use crate::error::Problem;
use crate::tensor::elements;

/// A parameter tensor that belongs to one layer.
pub struct Weight {
    pub name: String,
    pub shape: Vec<usize>,
    pub numbers: Numbers,
}

/// A layer before its parameters have a place in θ.
pub enum Operation {
    Input,
    Conv2d {
        conv: Conv2d,
        weight: Weight,
        bias: Option<Weight>,
    },
    Linear {
        weight: Weight,
        bias: Option<Weight>,
    },
    Affine {
        inner: usize,
        scale: Numbers,
        shift: Numbers,
        weight: Option<Weight>,
        bias: Option<Weight>,
    },
    AvgPool2d(AvgPool2d),
    MaxPool2d(MaxPool2d),
    Gather(Gather),
    Activation(Function),
    Flatten,
    Add,
    /// Of the halves of its input along the first axis.
    Product,
}

/// One layer.
pub struct Draft {
    pub name: String,
    pub operation: Operation,
    pub inputs: Vec<usize>,
    pub shape: Vec<usize>,
}

/// The output of a layer as the ONNX graph sees it.
#[derive(Clone)]
pub struct Activation {
    /// Index of the layer.
    pub draft: usize,
    /// Shape in the graph, the batch of one sample included.
    pub dims: Rc<[usize]>,
    /// The element of the layer that each element of the graph's tensor is, where that is another order.
    pub order: Option<Rc<[u32]>>,
    /// True if nothing else reads the layer, so that it may be changed.
    pub sole: bool,
}

impl Activation {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// The element of the layer that element `index` is.
    pub fn source(&self, index: usize) -> usize {
        self.order.as_ref().map_or(index, |order| order[index] as usize)
    }
}

/// All layers, in topological order; the first is the input.
pub struct Drafts(pub Vec<Draft>);

impl Drafts {
    /// Appends a layer and returns its index; `name` is made unique.
    pub fn push(
        &mut self,
        name: &str,
        operation: Operation,
        inputs: Vec<usize>,
        shape: Vec<usize>,
    ) -> Result<usize, String> {
        if elements(&shape).is_none_or(|count| count == 0) {
            return Err(format!("its output shape {shape:?} is impossible"));
        }
        self.0.push(Draft { name: name.into(), operation, inputs, shape });
        Ok(self.0.len() - 1)
    }

    /// The layer `id`.
    pub fn get(&self, id: usize) -> &Draft {
        &self.0[id]
    }

    /// A layer with the elements of `id` in one dimension, called after `name` if it has to be made.
    pub fn flat(&mut self, name: &str, id: usize) -> usize {
        let shape = &self.0[id].shape;
        if shape.len() == 1 {
            return id;
        }
        let flat = vec![shape.iter().product()];
        self.0.push(Draft { name: name.into(), operation: Operation::Flatten, inputs: vec![id], shape: flat });
        self.0.len() - 1
    }

    /// A layer with the elements of `id` in their order and of the given shape: a flatten is undone, and an input that is a
    /// vector takes the shape that its only reader sees, if `sole` says so. None if a new layer has to be made, as for images
    /// in another shape: what the network reads stays what the file says.
    pub fn shaped(&mut self, id: usize, shape: &[usize], sole: bool) -> Option<usize> {
        let fits = |draft: &Draft| draft.shape[..] == *shape;
        let draft = &mut self.0[id];
        match draft.operation {
            _ if fits(draft) => Some(id),
            Operation::Flatten => Some(draft.inputs[0]).filter(|&below| fits(&self.0[below])),
            Operation::Input if sole && draft.shape.iter().filter(|&&side| side > 1).count() <= 1 => {
                draft.shape = shape.to_vec();
                Some(id)
            }
            _ => None,
        }
    }

    /// Builds the network that ends in the flat layer `output`, without the layers that it does not need.
    pub fn build(self, output: usize) -> Result<Model, Problem> {
        let mut needed = vec![false; self.0.len()];
        needed[output] = true;
        for id in (0..=output).rev() {
            if needed[id] {
                self.0[id].inputs.iter().for_each(|&input| needed[input] = true);
            }
        }
        let mut builder = NetworkBuilder::new(&self.0[0].shape)?;
        let mut theta = Vec::new();
        let mut finer: Vec<(Place, Enclosure)> = Vec::new();
        let mut nodes = vec![builder.input(); self.0.len()];
        let mut layer_names = Names::with("input");
        let mut parameter_names = Names::default();
        for (id, draft) in self.0.into_iter().enumerate().take(output + 1).skip(1).filter(|(id, _)| needed[*id]) {
            let inputs: Vec<usize> = draft.inputs.iter().map(|&input| nodes[input]).collect();
            let name = layer_names.unique(&draft.name);
            let mut place = |weight: Weight| -> Result<ParameterId, Problem> {
                let id = builder.parameter(parameter_names.unique(&weight.name), &weight.shape)?;
                let offset = theta.len();
                finer.extend(weight.numbers.finer.into_iter().map(|(i, number)| (Place::Theta(offset + i), number)));
                theta.extend(weight.numbers.values);
                Ok(id)
            };
            // Of the layer's constants, by channel; its id is not known yet.
            let (mut finer_scale, mut finer_shift) = Default::default();
            let layer = match draft.operation {
                Operation::Input => continue,
                Operation::Conv2d { mut conv, weight, bias } => {
                    conv.weight = place(weight)?;
                    conv.bias = bias.map(place).transpose()?;
                    Layer::Conv2d(conv)
                }
                Operation::Linear { weight, bias } => {
                    let (out_features, in_features) = (weight.shape[0], weight.shape[1]);
                    let weight = place(weight)?;
                    let bias = bias.map(place).transpose()?;
                    Layer::Linear(Linear { in_features, out_features, weight, bias })
                }
                Operation::Affine { inner, scale, shift, weight, bias } => {
                    let weight = weight.map(&mut place).transpose()?;
                    let bias = bias.map(place).transpose()?;
                    (finer_scale, finer_shift) = (scale.finer, shift.finer);
                    Layer::Affine(Affine { inner, scale: scale.values, shift: shift.values, weight, bias })
                }
                Operation::AvgPool2d(pool) => Layer::AvgPool2d(pool),
                Operation::MaxPool2d(pool) => Layer::MaxPool2d(pool),
                Operation::Gather(gather) => Layer::Gather(gather),
                Operation::Activation(function) => Layer::Activation(function),
                Operation::Flatten => Layer::Flatten,
                Operation::Add => Layer::Add,
                Operation::Product => Layer::Product,
            };
            let node = builder.add(name, layer, &inputs)?;
            finer.extend(finer_scale.into_iter().map(|(channel, number)| (Place::Scale(node, channel), number)));
            finer.extend(finer_shift.into_iter().map(|(channel, number)| (Place::Shift(node, channel), number)));
            nodes[id] = node;
        }
        let mut weights = Weights::new(theta);
        finer.into_iter().for_each(|(place, number)| weights.refine(place, number));
        Ok(Model::with_weights(builder.build()?, weights))
    }
}

/// Names given so far, each with the number that the search for its next variant starts from.
#[derive(Default)]
pub struct Names(HashMap<String, usize>);

impl Names {
    /// With one name taken.
    pub fn with(name: &str) -> Self {
        Names(HashMap::from([(name.to_string(), 1)]))
    }

    /// `wanted` where it is free, else with `.2`, `.3`, … behind it; taken from now on.
    pub fn unique(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_string();
        let mut count = self.0.get(wanted).copied().unwrap_or(1);
        while name.is_empty() || self.0.contains_key(&name) {
            count += 1;
            name = format!("{wanted}.{count}");
        }
        self.0.insert(wanted.to_string(), count);
        self.0.insert(name.clone(), 1);
        name
    }
}
