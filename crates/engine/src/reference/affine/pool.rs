//! Average pooling: constant non-negative weights, so |W| = W and there is no weight gradient.

use tightrope_network::AvgPool2d;

use crate::Real;

pub(super) struct PoolGeometry {
    planes: usize,
    input_plane: usize,
    positions: usize,
    /// Input offsets of each output position's window, without padding.
    windows: Vec<Vec<u32>>,
    /// Weight of each position's window entries.
    factors: Vec<f64>,
}

/// The offsets within an input plane of `input` height and width that each output position's window covers, without padding.
pub(crate) fn windows(
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    [height, width]: [usize; 2],
    output: [usize; 2],
) -> Vec<Vec<u32>> {
    let mut windows = Vec::with_capacity(output[0] * output[1]);
    for oy in 0..output[0] {
        for ox in 0..output[1] {
            let mut window = Vec::new();
            for ky in 0..kernel[0] {
                for kx in 0..kernel[1] {
                    let y = (oy * stride[0] + ky).wrapping_sub(padding[0]);
                    let x = (ox * stride[1] + kx).wrapping_sub(padding[1]);
                    if y < height && x < width {
                        window.push((y * width + x) as u32);
                    }
                }
            }
            windows.push(window);
        }
    }
    windows
}

impl PoolGeometry {
    pub(super) fn new(pool: &AvgPool2d, input: &[usize], output: &[usize]) -> Self {
        let windows = windows(pool.kernel, pool.stride, pool.padding, [input[1], input[2]], [output[1], output[2]]);
        let count = |window: &Vec<u32>| match pool.count_include_pad {
            true => pool.kernel[0] * pool.kernel[1],
            false => window.len(),
        };
        let factors = windows.iter().map(|window| 1.0 / count(window).max(1) as f64).collect();
        PoolGeometry { planes: input[0], input_plane: input[1] * input[2], positions: windows.len(), windows, factors }
    }

    /// y = W x.
    pub(super) fn apply<T: Real>(&self, x: &[T], batch: usize, y: &mut [T]) {
        for plane in 0..batch * self.planes {
            let x = &x[plane * self.input_plane..(plane + 1) * self.input_plane];
            let y = &mut y[plane * self.positions..(plane + 1) * self.positions];
            for ((y, window), &factor) in y.iter_mut().zip(&self.windows).zip(&self.factors) {
                *y = window.iter().map(|&i| x[i as usize]).sum::<T>() * T::from_f64(factor);
            }
        }
    }

    /// x += Wᵀ y.
    pub(super) fn transpose<T: Real>(&self, y: &[T], batch: usize, x: &mut [T]) {
        for plane in 0..batch * self.planes {
            let x = &mut x[plane * self.input_plane..(plane + 1) * self.input_plane];
            let y = &y[plane * self.positions..(plane + 1) * self.positions];
            for ((&y, window), &factor) in y.iter().zip(&self.windows).zip(&self.factors) {
                if y != T::ZERO {
                    window.iter().for_each(|&i| x[i as usize] += y * T::from_f64(factor));
                }
            }
        }
    }
}
