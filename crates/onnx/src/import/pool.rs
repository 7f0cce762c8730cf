//! The poolings, and the images that windows move over.

use tightrope_network::{AvgPool2d, MaxPool2d};

use super::draft::Operation;
use super::graph::Importer;
use super::node::Node;
use super::window::{Window, lengths, window};
use crate::error::Problem;

impl<'a> Importer<'a> {
    /// The first input as a layer of shape [channels, height, width].
    pub fn image(&mut self, node: &Node<'a>) -> Result<(usize, [usize; 3]), Problem> {
        let activation = self.activation(node, 0)?;
        let &[channels, height, width] = &activation.view[..] else {
            return Err(node.problem(format!(
                "its input has shape {:?} without the batch; it needs [channels, height, width]",
                activation.view
            )));
        };
        match self.drafts.shaped(&activation) {
            Some(id) => Ok((id, [channels, height, width])),
            None => Err(node.problem(format!(
                "its input is a reshape of {:?} to {:?}; reshaping to an image is supported for the network's input only",
                self.drafts.get(activation.draft).shape,
                activation.view
            ))),
        }
    }

    pub fn average_pool(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        let (input, shape, kernel, Window { stride, padding, .. }) = self.pool(node)?;
        let count_include_pad = node.int("count_include_pad", 0)? != 0;
        let pool = AvgPool2d { kernel, stride, padding, count_include_pad };
        self.pooled(node, input, Operation::AvgPool2d(pool), shape)
    }

    pub fn max_pool(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        let (input, shape, kernel, Window { stride, padding, .. }) = self.pool(node)?;
        // The order of the second output, which is not there.
        node.int("storage_order", 0)?;
        self.pooled(node, input, Operation::MaxPool2d(MaxPool2d { kernel, stride, padding }), shape)
    }

    pub fn global_average_pool(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let (input, [channels, height, width]) = self.image(node)?;
        let kernel = [height, width];
        let pool = AvgPool2d { kernel, stride: kernel, padding: [0; 4], count_include_pad: true };
        self.pooled(node, input, Operation::AvgPool2d(pool), vec![channels, 1, 1])
    }

    pub fn global_max_pool(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 1)?;
        let (input, [channels, height, width]) = self.image(node)?;
        let kernel = [height, width];
        let pool = MaxPool2d { kernel, stride: kernel, padding: [0; 4] };
        self.pooled(node, input, Operation::MaxPool2d(pool), vec![channels, 1, 1])
    }

    /// What the poolings share: input layer, output shape, kernel and window.
    fn pool(&mut self, node: &mut Node<'a>) -> Result<(usize, Vec<usize>, [usize; 2], Window), Problem> {
        node.check_arity(1, 1)?;
        let (input, [channels, height, width]) = self.image(node)?;
        let Some(kernel) = lengths::<2>(node, "kernel_shape", 1)? else {
            return Err(node.problem("attribute `kernel_shape` is missing"));
        };
        let window = window(node, kernel, [height, width])?;
        let Window { stride, dilation, padding } = window;
        if dilation != [1, 1] {
            return Err(node.problem(format!("dilations = {dilation:?} are not supported for pooling")));
        }
        // A maximum and an average have windows of one geometry.
        let pool = MaxPool2d { kernel, stride, padding };
        let [out_height, out_width] = pool.output_side([height, width]).map_err(|e| node.problem(e))?;
        let left_over = |axis: usize, side: usize| {
            (side + padding[axis] + padding[axis + 2] - kernel[axis]).is_multiple_of(stride[axis])
        };
        if node.int("ceil_mode", 0)? != 0 && !(left_over(0, height) && left_over(1, width)) {
            return Err(node.problem("ceil_mode = 1 with a window that leaves pixels over is not supported"));
        }
        Ok((input, vec![channels, out_height, out_width], kernel, window))
    }

    fn pooled(&mut self, node: &Node<'a>, input: usize, pool: Operation, shape: Vec<usize>) -> Result<(), Problem> {
        let view = shape.as_slice().into();
        self.layer(node, pool, vec![input], shape, view)
    }
}
