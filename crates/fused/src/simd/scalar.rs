//! Portable lanes: arrays, left to the compiler.

use super::lanes::{Lanes, Task, WIDTH, transpose_plain, tree_sum};

/// Sixteen floats in an array.
#[derive(Clone, Copy)]
pub struct Scalar;

/// The array, aligned like the vectors of the other instruction sets.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Array([f32; WIDTH]);

macro_rules! lanewise {
    (|$i:ident| $value:expr) => {{
        let mut result = [0.0_f32; WIDTH];
        for $i in 0..WIDTH {
            result[$i] = $value;
        }
        Array(result)
    }};
}

// Multiply–adds are not fused here: without the instruction a fused one is a library call.
#[allow(clippy::manual_clamp)]
impl Lanes for Scalar {
    type V = Array;
    type Index = [u8; WIDTH];
    const CLASSES: usize = 2;
    const BLOCK: [usize; 4] = [2, 1, 1, 1];
    const PICKED: [usize; 4] = [2, 1, 1, 1];
    const PATCH: [usize; 2] = [3, 3];
    const GROUPS: usize = 1;

    #[inline(always)]
    unsafe fn run<R>(f: impl FnOnce() -> R) -> R {
        f()
    }
    #[inline(always)]
    unsafe fn run_task<K: Task>(task: K) {
        unsafe { task.run::<Scalar>() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Array {
        Array([x; WIDTH])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Array {
        unsafe { *p.cast::<Array>() }
    }
    #[inline(always)]
    unsafe fn load_any(p: *const f32) -> Array {
        Array(unsafe { p.cast::<[f32; WIDTH]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: Array) {
        unsafe { *p.cast::<Array>() = x }
    }
    #[inline(always)]
    unsafe fn store_any(p: *mut f32, x: Array) {
        unsafe { p.cast::<[f32; WIDTH]>().write_unaligned(x.0) }
    }
    #[inline(always)]
    unsafe fn add(a: Array, b: Array) -> Array {
        lanewise!(|i| a.0[i] + b.0[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Array, b: Array) -> Array {
        lanewise!(|i| a.0[i] - b.0[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Array, b: Array) -> Array {
        lanewise!(|i| a.0[i] * b.0[i])
    }
    #[inline(always)]
    unsafe fn div(a: Array, b: Array) -> Array {
        lanewise!(|i| a.0[i] / b.0[i])
    }
    #[inline(always)]
    unsafe fn fma(a: Array, b: Array, c: Array) -> Array {
        lanewise!(|i| a.0[i] * b.0[i] + c.0[i])
    }
    #[inline(always)]
    unsafe fn fnma(a: Array, b: Array, c: Array) -> Array {
        lanewise!(|i| c.0[i] - a.0[i] * b.0[i])
    }
    #[inline(always)]
    unsafe fn abs(a: Array) -> Array {
        lanewise!(|i| a.0[i].abs())
    }
    #[inline(always)]
    unsafe fn max(a: Array, b: Array) -> Array {
        lanewise!(|i| if a.0[i] > b.0[i] { a.0[i] } else { b.0[i] })
    }
    #[inline(always)]
    unsafe fn min(a: Array, b: Array) -> Array {
        lanewise!(|i| if a.0[i] < b.0[i] { a.0[i] } else { b.0[i] })
    }
    #[inline(always)]
    unsafe fn sqrt(a: Array) -> Array {
        lanewise!(|i| a.0[i].sqrt())
    }
    #[inline(always)]
    unsafe fn where_negative(a: Array, x: Array, y: Array) -> Array {
        lanewise!(|i| if a.0[i] < 0.0 { x.0[i] } else { y.0[i] })
    }
    #[inline(always)]
    unsafe fn where_positive(a: Array, x: Array, y: Array) -> Array {
        lanewise!(|i| if a.0[i] > 0.0 { x.0[i] } else { y.0[i] })
    }
    #[inline(always)]
    unsafe fn negative_mask(a: Array) -> u16 {
        (0..WIDTH).fold(0, |mask, l| mask | u16::from(a.0[l] < 0.0) << l)
    }
    #[inline(always)]
    unsafe fn positive_mask(a: Array) -> u16 {
        (0..WIDTH).fold(0, |mask, l| mask | u16::from(a.0[l] > 0.0) << l)
    }
    #[inline(always)]
    unsafe fn select(mask: u16, x: Array, y: Array) -> Array {
        lanewise!(|i| if mask >> i & 1 == 1 { x.0[i] } else { y.0[i] })
    }
    #[inline(always)]
    unsafe fn index(lanes: &[u8; WIDTH]) -> [u8; WIDTH] {
        *lanes
    }
    #[inline(always)]
    unsafe fn pick(table: Array, index: [u8; WIDTH]) -> Array {
        lanewise!(|i| table.0[usize::from(index[i]) % WIDTH])
    }
    #[inline(always)]
    unsafe fn sum(a: Array) -> f32 {
        tree_sum(a.0)
    }
    #[inline(always)]
    unsafe fn transpose(src: *const f32, src_stride: usize, dst: *mut f32, dst_stride: usize) {
        unsafe { transpose_plain(src, src_stride, dst, dst_stride) }
    }
}
