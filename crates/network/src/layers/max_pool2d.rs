//! Max pooling.

use super::window::Window;
use crate::NetworkError;
use crate::description::{LayerDescription, Reading, Sides};

/// Maximum over windows of `[C, H, W]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPool2d {
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Stride along height and width.
    pub stride: [usize; 2],
    /// Padding: top, left, bottom, right; each smaller than the window. It counts as −∞.
    pub padding: [usize; 4],
}

impl MaxPool2d {
    fn window(&self) -> Window {
        Window { kernel: self.kernel, stride: self.stride, padding: self.padding, dilation: [1; 2] }
    }

    /// Height and width of the output for an input of `side`.
    ///
    /// # Errors
    /// If the window does not fit the padded input.
    pub fn output_side(&self, side: [usize; 2]) -> Result<[usize; 2], String> {
        self.window().output_side(side)
    }

    pub(super) fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, String> {
        self.window().pooled_shape(input)
    }

    /// Keys of a description that this kind reads.
    pub(super) const KEYS: &[&str] = &["kernel", "stride", "padding"];

    pub(super) fn read(reading: &Reading<'_>) -> Result<Self, NetworkError> {
        let text = reading.text;
        let kernel = reading.pair("kernel", text.kernel.as_ref(), None)?;
        Ok(MaxPool2d {
            kernel,
            stride: reading.pair("stride", text.stride.as_ref(), Some(kernel))?,
            padding: reading.padding(text.padding.as_ref())?,
        })
    }

    pub(super) fn write(&self, text: &mut LayerDescription) {
        text.kernel = Some(Sides::Each(self.kernel.to_vec()));
        text.stride = Some(Sides::Each(self.stride.to_vec()));
        text.padding = Some(Sides::Each(self.padding.to_vec()));
    }
}
