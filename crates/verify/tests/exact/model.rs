//! Networks as the test writes them: the operators with the numbers that stand in the file.

/// Type of every stored number; numbers of single precision are kept as the doubles equal to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Single,
    Double,
}

/// Arithmetic with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// x + c.
    Add,
    /// x − c.
    Subtract,
    /// c − x.
    SubtractFrom,
    /// x·c.
    Multiply,
    /// x / c.
    Divide,
}

/// One operator.
#[derive(Clone, Debug)]
pub enum Operation {
    /// alpha·W x + beta·bias, with `weight[out][in]`; `transposed` says that it is stored so (transB = 1).
    Gemm {
        weight: Vec<Vec<f64>>,
        bias: Option<Vec<f64>>,
        transposed: bool,
        alpha: f32,
        beta: f32,
    },
    /// A convolution of one group with a weight of `shape` [out, in, height, width].
    Conv {
        shape: [usize; 4],
        weight: Vec<f64>,
        bias: Vec<f64>,
        stride: usize,
        padding: usize,
    },
    Relu,
    Flatten,
    /// `constant` has one number per element or a single one.
    Step {
        step: Step,
        constant: Vec<f64>,
    },
    /// Per entry of the first axis; without an epsilon the operator's default.
    BatchNormalization {
        scale: Vec<f64>,
        shift: Vec<f64>,
        mean: Vec<f64>,
        variance: Vec<f64>,
        epsilon: Option<f32>,
    },
    /// The sum of two activations.
    Add,
}

/// The operator's epsilon where the file gives none.
pub const DEFAULT_EPSILON: f32 = 1e-5;

/// An operator and the activations that it reads: 0 is the network's input, n the output of node n − 1.
#[derive(Clone, Debug)]
pub struct Node {
    pub operation: Operation,
    pub inputs: Vec<usize>,
}

/// A network; its output is that of the last node.
#[derive(Clone, Debug)]
pub struct Model {
    pub precision: Precision,
    /// Shape of the input without the batch.
    pub input: Vec<usize>,
    pub nodes: Vec<Node>,
}

impl Model {
    /// Shapes of all activations without the batch.
    pub fn shapes(&self) -> Vec<Vec<usize>> {
        let mut shapes = vec![self.input.clone()];
        for node in &self.nodes {
            let input = &shapes[node.inputs[0]];
            shapes.push(match &node.operation {
                Operation::Gemm { weight, .. } => vec![weight.len()],
                Operation::Conv { shape, stride, padding, .. } => {
                    let side = |axis: usize| (input[axis] + 2 * padding - shape[axis + 1]) / stride + 1;
                    vec![shape[0], side(1), side(2)]
                }
                Operation::Flatten => vec![input.iter().product()],
                _ => input.clone(),
            });
        }
        shapes
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.input.iter().product()
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.shapes().last().map_or(0, |shape| shape.iter().product())
    }
}
