//! Matrix products on strided views, through the `gemm` crate, on the calling thread.

use crate::Real;

/// A strided read-only matrix view.
#[derive(Clone, Copy)]
pub(super) struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// A row-major `rows × columns` matrix.
    pub(super) fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        assert!(data.len() >= rows * columns, "matrix view out of bounds");
        View { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transposed view.
    pub(super) fn transposed(self) -> Self {
        View {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// `target` (row-major) = left·right, or += if `accumulate`.
pub(super) fn multiply<T: Real>(target: &mut [T], left: View<'_, T>, right: View<'_, T>, accumulate: bool) {
    let (m, n, k) = (left.rows, right.columns, left.columns);
    assert_eq!(k, right.rows, "inner dimensions differ");
    assert!(target.len() >= m * n, "product out of bounds");
    // SAFETY: the three views were checked to lie inside their slices, `target` is borrowed
    // mutably so it overlaps neither operand, and all strides are positive and dense.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            target.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
