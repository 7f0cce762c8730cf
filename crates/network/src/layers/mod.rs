//! The layer kinds and the shapes they map to.

use crate::NetworkError;
use crate::parameters::ParameterId;

/// A node's operation. Shapes never include the batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// The network's input; node 0 and nowhere else.
    Input,
    /// 2-D cross-correlation.
    Conv2d(Conv2d),
    /// y = W x + b on the flattened input.
    Linear(Linear),
    /// y = w·(scale·x + shift) + b per channel: normalisation, or batch norm with fixed statistics.
    Affine(Affine),
    /// Average pooling; the padding counts as zeros when `count_include_pad`.
    AvgPool2d(AvgPool2d),
    /// max(x, 0).
    Relu,
    /// Reshape to one dimension.
    Flatten,
    /// Sum of two or more inputs of equal shape.
    Add,
}

/// Convolution of `[in_channels, H, W]` with `weight [out_channels, in_channels/groups, kh, kw]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Stride along height and width.
    pub stride: [usize; 2],
    /// Zero padding: top, left, bottom, right.
    pub padding: [usize; 4],
    /// Dilation along height and width.
    pub dilation: [usize; 2],
    /// Channel groups; divides both channel counts.
    pub groups: usize,
    /// Weight tensor.
    pub weight: ParameterId,
    /// Bias tensor `[out_channels]`.
    pub bias: Option<ParameterId>,
}

/// Fully connected layer with `weight [out_features, in_features]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Input features.
    pub in_features: usize,
    /// Output features.
    pub out_features: usize,
    /// Weight tensor.
    pub weight: ParameterId,
    /// Bias tensor `[out_features]`.
    pub bias: Option<ParameterId>,
}

/// Element `e` of the input uses channel `e / inner`: y = w·(scale·x + shift) + b.
///
/// Batch norm: scale = 1/√(var+eps), shift = −mean·scale, with trainable w and b. Input
/// normalisation: scale = 1/std, shift = −mean/std and no parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// Consecutive elements that share a channel (H·W for `[C, H, W]`, 1 for one value per element).
    pub inner: usize,
    /// Constant factor per channel.
    pub scale: Vec<f64>,
    /// Constant summand per channel.
    pub shift: Vec<f64>,
    /// Trainable factor `[channels]`.
    pub weight: Option<ParameterId>,
    /// Trainable summand `[channels]`.
    pub bias: Option<ParameterId>,
}

/// Mean over windows of `[C, H, W]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvgPool2d {
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Stride along height and width.
    pub stride: [usize; 2],
    /// Padding: top, left, bottom, right.
    pub padding: [usize; 4],
    /// True: divide by the window size everywhere; false: by the number of real pixels.
    pub count_include_pad: bool,
}

/// Output length of a sliding window along one axis, if the window fits.
fn window_positions(
    length: usize,
    kernel: usize,
    stride: usize,
    before: usize,
    after: usize,
    dilation: usize,
) -> Option<usize> {
    let extent = (kernel.checked_sub(1)?).checked_mul(dilation)?.checked_add(1)?;
    let padded = length.checked_add(before)?.checked_add(after)?;
    if stride == 0 || dilation == 0 || padded < extent {
        return None;
    }
    Some((padded - extent) / stride + 1)
}

fn window_shape(
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
    side: [usize; 2],
) -> Result<[usize; 2], String> {
    let mut output = [0; 2];
    for axis in 0..2 {
        output[axis] =
            window_positions(side[axis], kernel[axis], stride[axis], padding[axis], padding[axis + 2], dilation[axis])
                .ok_or_else(|| {
                    format!(
                        "a {}×{} window (stride {:?}, padding {:?}, dilation {:?}) does not fit an input of {}×{}",
                        kernel[0], kernel[1], stride, padding, dilation, side[0], side[1]
                    )
                })?;
    }
    Ok(output)
}

impl Conv2d {
    /// A convolution from and to `channels` with neither stride, padding, dilation, groups nor bias, whose weight the
    /// builder is still to place.
    pub fn new([in_channels, out_channels]: [usize; 2], kernel: [usize; 2]) -> Self {
        Conv2d {
            in_channels,
            out_channels,
            kernel,
            stride: [1; 2],
            padding: [0; 4],
            dilation: [1; 2],
            groups: 1,
            weight: ParameterId(0),
            bias: None,
        }
    }

    /// Height and width of the output for an input of `side`.
    pub fn output_side(&self, side: [usize; 2]) -> Result<[usize; 2], String> {
        window_shape(self.kernel, self.stride, self.padding, self.dilation, side)
    }
}

impl AvgPool2d {
    /// Height and width of the output for an input of `side`.
    pub fn output_side(&self, side: [usize; 2]) -> Result<[usize; 2], String> {
        window_shape(self.kernel, self.stride, self.padding, [1, 1], side)
    }
}

impl Layer {
    /// The kind's name in descriptions and messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Input => "input",
            Layer::Conv2d(_) => "conv2d",
            Layer::Linear(_) => "linear",
            Layer::Affine(_) => "affine",
            Layer::AvgPool2d(_) => "avgpool2d",
            Layer::Relu => "relu",
            Layer::Flatten => "flatten",
            Layer::Add => "add",
        }
    }

    /// True for the kinds whose output is an affine function of their inputs.
    pub fn is_affine(&self) -> bool {
        !matches!(self, Layer::Relu)
    }

    /// Output shape for the given input shapes.
    pub(crate) fn output_shape(&self, name: &str, inputs: &[&[usize]]) -> Result<Vec<usize>, NetworkError> {
        let fail = |problem: String| Err(NetworkError::layer(name, problem));
        let expected = match self {
            Layer::Input => 0..=0,
            Layer::Add => 2..=usize::MAX,
            _ => 1..=1,
        };
        if !expected.contains(&inputs.len()) {
            return fail(format!(
                "a layer of kind `{}` cannot have {} inputs; give it {}",
                self.kind(),
                inputs.len(),
                match expected.start() {
                    0 => "none",
                    1 => "one",
                    _ => "at least two",
                }
            ));
        }
        match self {
            Layer::Input => fail("an input layer stands only at the start".into()),
            Layer::Relu => Ok(inputs[0].to_vec()),
            Layer::Flatten => Ok(vec![inputs[0].iter().product()]),
            Layer::Add => match inputs.iter().find(|shape| **shape != inputs[0]) {
                Some(other) => fail(format!("adds shapes {:?} and {other:?}, which differ", inputs[0])),
                None => Ok(inputs[0].to_vec()),
            },
            Layer::Linear(linear) => {
                let features: usize = inputs[0].iter().product();
                if inputs[0].len() != 1 {
                    return fail(format!(
                        "a linear layer needs a flat input, got {:?}; put a flatten before it",
                        inputs[0]
                    ));
                }
                if features != linear.in_features {
                    return fail(format!("weight takes {} features, the input has {features}", linear.in_features));
                }
                Ok(vec![linear.out_features])
            }
            Layer::Affine(affine) => {
                let elements: usize = inputs[0].iter().product();
                let channels = affine.scale.len();
                if affine.inner == 0
                    || channels.checked_mul(affine.inner) != Some(elements)
                    || affine.shift.len() != channels
                {
                    return fail(format!(
                        "{channels} channels of {} elements do not cover an input of shape {:?}",
                        affine.inner, inputs[0]
                    ));
                }
                if affine.scale.iter().chain(&affine.shift).any(|value| !value.is_finite()) {
                    return fail("a scale or shift is not finite".into());
                }
                Ok(inputs[0].to_vec())
            }
            Layer::Conv2d(conv) => {
                let &[channels, height, width] = inputs[0] else {
                    return fail(format!(
                        "a convolution needs an input [channels, height, width], got {:?}",
                        inputs[0]
                    ));
                };
                if channels != conv.in_channels {
                    return fail(format!("weight takes {} channels, the input has {channels}", conv.in_channels));
                }
                if conv.groups == 0
                    || !conv.in_channels.is_multiple_of(conv.groups)
                    || !conv.out_channels.is_multiple_of(conv.groups)
                {
                    return fail(format!(
                        "groups = {} does not divide the channels {} and {}",
                        conv.groups, conv.in_channels, conv.out_channels
                    ));
                }
                match conv.output_side([height, width]) {
                    Ok([h, w]) => Ok(vec![conv.out_channels, h, w]),
                    Err(problem) => fail(problem),
                }
            }
            Layer::AvgPool2d(pool) => {
                let &[channels, height, width] = inputs[0] else {
                    return fail(format!("pooling needs an input [channels, height, width], got {:?}", inputs[0]));
                };
                if (0..2)
                    .any(|axis| pool.padding[axis] >= pool.kernel[axis] || pool.padding[axis + 2] >= pool.kernel[axis])
                {
                    return fail(format!("padding {:?} is as large as the window {:?}", pool.padding, pool.kernel));
                }
                match pool.output_side([height, width]) {
                    Ok([h, w]) => Ok(vec![channels, h, w]),
                    Err(problem) => fail(problem),
                }
            }
        }
    }
}
