//! Sliding windows over the two spatial axes: the output shape that convolution and pooling share.

/// A window of `kernel` with `stride`, `padding` (top, left, bottom, right) and `dilation`.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 4],
    pub(super) dilation: [usize; 2],
}

impl Window {
    /// Height and width of the output for an input of `side`.
    pub(super) fn output_side(&self, side: [usize; 2]) -> Result<[usize; 2], String> {
        let mut output = [0; 2];
        for axis in 0..2 {
            output[axis] = self.positions(axis, side[axis]).ok_or_else(|| {
                format!(
                    "a {}×{} window (stride {:?}, padding {:?}, dilation {:?}) does not fit an input of {}×{}",
                    self.kernel[0], self.kernel[1], self.stride, self.padding, self.dilation, side[0], side[1]
                )
            })?;
        }
        Ok(output)
    }

    /// Output length along one axis, if the window fits.
    fn positions(&self, axis: usize, length: usize) -> Option<usize> {
        let (stride, dilation) = (self.stride[axis], self.dilation[axis]);
        let extent = (self.kernel[axis].checked_sub(1)?).checked_mul(dilation)?.checked_add(1)?;
        let padded = length.checked_add(self.padding[axis])?.checked_add(self.padding[axis + 2])?;
        if stride == 0 || dilation == 0 || padded < extent {
            return None;
        }
        Some((padded - extent) / stride + 1)
    }

    /// The output shape of a pooling, whose every window must cover at least one pixel of the input.
    pub(super) fn pooled_shape(&self, input: &[usize]) -> Result<Vec<usize>, String> {
        let &[channels, height, width] = input else {
            return Err(format!("pooling needs an input [channels, height, width], got {input:?}"));
        };
        if (0..2).any(|axis| self.padding[axis] >= self.kernel[axis] || self.padding[axis + 2] >= self.kernel[axis]) {
            return Err(format!("padding {:?} is as large as the window {:?}", self.padding, self.kernel));
        }
        let [height, width] = self.output_side([height, width])?;
        Ok(vec![channels, height, width])
    }
}
