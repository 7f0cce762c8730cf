//! 2-D convolution.

use super::window::Window;
use super::{Needs, Start};
use crate::NetworkError;
use crate::description::{LayerDescription, Names, Reading, Sides};
use crate::layout::ParameterId;

/// Convolution (cross-correlation) of `[in_channels, H, W]` with `weight [out_channels, in_channels/groups, kh, kw]`.
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
    ///
    /// # Errors
    /// If the window does not fit the padded input.
    pub fn output_side(&self, side: [usize; 2]) -> Result<[usize; 2], String> {
        let window =
            Window { kernel: self.kernel, stride: self.stride, padding: self.padding, dilation: self.dilation };
        window.output_side(side)
    }

    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, String> {
        let &[channels, height, width] = input else {
            return Err(format!("a convolution needs an input [channels, height, width], got {input:?}"));
        };
        if channels != self.in_channels {
            return Err(format!("weight takes {} channels, the input has {channels}", self.in_channels));
        }
        if self.groups == 0
            || !self.in_channels.is_multiple_of(self.groups)
            || !self.out_channels.is_multiple_of(self.groups)
        {
            return Err(format!(
                "groups = {} does not divide the channels {} and {}",
                self.groups, self.in_channels, self.out_channels
            ));
        }
        let [height, width] = self.output_side([height, width])?;
        Ok(vec![self.out_channels, height, width])
    }

    fn weight_shape(&self) -> [usize; 4] {
        let per_group = self.in_channels.checked_div(self.groups).unwrap_or(0);
        [self.out_channels, per_group, self.kernel[0], self.kernel[1]]
    }

    pub(super) fn needs(&self) -> Needs {
        Needs {
            weight: Some((self.weight, self.weight_shape().to_vec())),
            bias: self.bias.map(|bias| (bias, vec![self.out_channels])),
            ..Needs::default()
        }
    }

    pub(super) fn start(&self) -> Start {
        Start::Random { fan_in: self.weight_shape()[1..].iter().product() }
    }

    /// Keys of a description that this kind reads.
    pub(super) const KEYS: &[&str] =
        &["out_channels", "kernel", "stride", "padding", "dilation", "groups", "weight", "bias"];

    pub(super) fn read(reading: &mut Reading<'_>) -> Result<Self, NetworkError> {
        let text = reading.text;
        let out_channels = reading.need("out_channels", text.out_channels)?;
        let kernel = reading.pair("kernel", text.kernel.as_ref(), None)?;
        let in_channels = if reading.shape.len() == 3 { reading.shape[0] } else { 0 };
        let groups = text.groups.unwrap_or(1);
        if in_channels == 0 || groups == 0 || in_channels % groups != 0 {
            return Err(reading.refuse(format!(
                "a convolution in {groups} groups cannot read an input of shape {:?}",
                reading.shape
            )));
        }
        let mut conv = Conv2d {
            groups,
            stride: reading.pair("stride", text.stride.as_ref(), Some([1; 2]))?,
            padding: reading.padding(text.padding.as_ref())?,
            dilation: reading.pair("dilation", text.dilation.as_ref(), Some([1; 2]))?,
            ..Conv2d::new([in_channels, out_channels], kernel)
        };
        let weight = reading.parameter("weight", text.weight.as_ref(), true, &conv.weight_shape())?;
        conv.weight = weight.ok_or_else(|| reading.refuse("a convolution needs its weight"))?;
        conv.bias = reading.parameter("bias", text.bias.as_ref(), true, &[out_channels])?;
        Ok(conv)
    }

    pub(super) fn write(&self, text: &mut LayerDescription, names: Names<'_>) {
        text.out_channels = Some(self.out_channels);
        text.kernel = Some(Sides::Each(self.kernel.to_vec()));
        text.stride = Some(Sides::Each(self.stride.to_vec()));
        text.padding = Some(Sides::Each(self.padding.to_vec()));
        text.dilation = Some(Sides::Each(self.dilation.to_vec()));
        text.groups = Some(self.groups);
        text.weight = Some(names.of(self.weight));
        text.bias = Some(names.of_or_none(self.bias));
    }
}
