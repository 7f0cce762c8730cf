//! NEON lanes: four registers.

use std::arch::aarch64::*;

use super::lanes::{Lanes, Task, WIDTH};

/// Four q registers; every 64-bit ARM has them.
#[derive(Clone, Copy)]
pub struct Neon;

/// Lanes 0–3, 4–7, 8–11 and 12–15.
#[derive(Clone, Copy)]
pub struct Quad(float32x4_t, float32x4_t, float32x4_t, float32x4_t);

/// Numbers of the bytes that make up lanes 0–3, 4–7, 8–11 and 12–15.
#[derive(Clone, Copy)]
pub struct Bytes(uint8x16_t, uint8x16_t, uint8x16_t, uint8x16_t);

/// Lanes of a register.
const PART: usize = WIDTH / 4;

/// The bits of a mask that belong to the lanes of each register.
static BITS: [u32; WIDTH] = {
    let mut bits = [0; WIDTH];
    let mut l = 0;
    while l < WIDTH {
        bits[l] = 1 << l;
        l += 1;
    }
    bits
};

/// One function of registers on all four; not an array's `map`, which may stay a call.
macro_rules! each {
    ($function:expr $(, $operand:ident)*) => {
        Quad(
            $function($($operand.0),*),
            $function($($operand.1),*),
            $function($($operand.2),*),
            $function($($operand.3),*),
        )
    };
}

/// The one function compiled with the feature; `f` is inlined into it.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn with_features<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// [`with_features`] for a task, whose own attributes see to it that it is inlined however large it is.
#[target_feature(enable = "neon")]
unsafe fn task_with_features<K: Task>(task: K) {
    unsafe { task.run::<Neon>() }
}

/// The bits of [`BITS`] whose lanes hold all ones in the results of `compare`.
#[inline(always)]
unsafe fn mask(a: Quad, compare: impl Fn(float32x4_t) -> uint32x4_t) -> u16 {
    unsafe {
        let bit = |part: usize, a: float32x4_t| vandq_u32(compare(a), vld1q_u32(BITS.as_ptr().add(PART * part)));
        let low = vorrq_u32(bit(0, a.0), bit(1, a.1));
        let high = vorrq_u32(bit(2, a.2), bit(3, a.3));
        // No two lanes share a bit: the sum is their union.
        vaddvq_u32(vorrq_u32(low, high)) as u16
    }
}

/// Lane r is the sum of lanes 0 to 3 of operand r, as [`super::lanes::tree_sum`] adds them.
#[inline(always)]
unsafe fn sum_quarters(rows: [float32x4_t; 4]) -> float32x4_t {
    unsafe {
        // Halves of two rows: x0 + x2 and x1 + x3 of both.
        let pair = |a: float32x4_t, b: float32x4_t| {
            let (a, b) = (vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b));
            let (low, high) = (vzip1q_f64(a, b), vzip2q_f64(a, b));
            vaddq_f32(vreinterpretq_f32_f64(low), vreinterpretq_f32_f64(high))
        };
        vpaddq_f32(pair(rows[0], rows[1]), pair(rows[2], rows[3]))
    }
}

/// The first two steps of [`super::lanes::tree_sum`]: sixteen partial sums to four.
#[inline(always)]
unsafe fn quarter(a: Quad) -> float32x4_t {
    unsafe { vaddq_f32(vaddq_f32(a.0, a.2), vaddq_f32(a.1, a.3)) }
}

impl Lanes for Neon {
    type V = Quad;
    type Index = Bytes;
    const CLASSES: usize = 2;
    const BLOCK: [usize; 4] = [6, 2, 1, 1];
    const PICKED: [usize; 4] = [6, 2, 1, 1];
    const PATCH: [usize; 2] = [3, 2];
    const GROUPS: usize = 1;

    #[inline(always)]
    unsafe fn run<R>(f: impl FnOnce() -> R) -> R {
        unsafe { with_features(f) }
    }
    #[inline(always)]
    unsafe fn run_task<K: Task>(task: K) {
        unsafe { task_with_features(task) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Quad {
        unsafe {
            let x = vdupq_n_f32(x);
            Quad(x, x, x, x)
        }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Quad {
        // Loads need no alignment here.
        unsafe { Self::load_any(p) }
    }
    #[inline(always)]
    unsafe fn load_any(p: *const f32) -> Quad {
        unsafe {
            let part = |i: usize| vld1q_f32(p.add(PART * i));
            Quad(part(0), part(1), part(2), part(3))
        }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: Quad) {
        unsafe { Self::store_any(p, x) }
    }
    #[inline(always)]
    unsafe fn store_any(p: *mut f32, x: Quad) {
        unsafe {
            vst1q_f32(p, x.0);
            vst1q_f32(p.add(PART), x.1);
            vst1q_f32(p.add(2 * PART), x.2);
            vst1q_f32(p.add(3 * PART), x.3);
        }
    }
    #[inline(always)]
    unsafe fn add(a: Quad, b: Quad) -> Quad {
        unsafe { each!(vaddq_f32, a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: Quad, b: Quad) -> Quad {
        unsafe { each!(vsubq_f32, a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: Quad, b: Quad) -> Quad {
        unsafe { each!(vmulq_f32, a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: Quad, b: Quad) -> Quad {
        unsafe { each!(vdivq_f32, a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: Quad, b: Quad, c: Quad) -> Quad {
        unsafe { each!(vfmaq_f32, c, a, b) }
    }
    #[inline(always)]
    unsafe fn fnma(a: Quad, b: Quad, c: Quad) -> Quad {
        unsafe { each!(vfmsq_f32, c, a, b) }
    }
    #[inline(always)]
    unsafe fn abs(a: Quad) -> Quad {
        unsafe { each!(vabsq_f32, a) }
    }
    #[inline(always)]
    unsafe fn max(a: Quad, b: Quad) -> Quad {
        // The instruction of that name gives NaN if either is NaN, which here must be `b`.
        unsafe { each!(|a, b| vbslq_f32(vcgtq_f32(a, b), a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: Quad, b: Quad) -> Quad {
        unsafe { each!(|a, b| vbslq_f32(vcltq_f32(a, b), a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: Quad) -> Quad {
        unsafe { each!(vsqrtq_f32, a) }
    }
    #[inline(always)]
    unsafe fn where_negative(a: Quad, x: Quad, y: Quad) -> Quad {
        unsafe { each!(|a, x, y| vbslq_f32(vcltzq_f32(a), x, y), a, x, y) }
    }
    #[inline(always)]
    unsafe fn where_positive(a: Quad, x: Quad, y: Quad) -> Quad {
        unsafe { each!(|a, x, y| vbslq_f32(vcgtzq_f32(a), x, y), a, x, y) }
    }
    #[inline(always)]
    unsafe fn signed_by(a: Quad, b: Quad) -> Quad {
        unsafe {
            let signed = |a: float32x4_t, b: float32x4_t| {
                let sign = vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(1 << 31));
                vreinterpretq_f32_u32(vbicq_u32(veorq_u32(vreinterpretq_u32_f32(b), sign), vceqzq_f32(a)))
            };
            each!(signed, a, b)
        }
    }
    #[inline(always)]
    unsafe fn negative_mask(a: Quad) -> u16 {
        unsafe { mask(a, |a| vcltzq_f32(a)) }
    }
    #[inline(always)]
    unsafe fn positive_mask(a: Quad) -> u16 {
        unsafe { mask(a, |a| vcgtzq_f32(a)) }
    }
    #[inline(always)]
    unsafe fn select(mask: u16, x: Quad, y: Quad) -> Quad {
        unsafe {
            let mask = vdupq_n_u32(mask.into());
            let pick = |part: usize, x: float32x4_t, y: float32x4_t| {
                vbslq_f32(vtstq_u32(mask, vld1q_u32(BITS.as_ptr().add(PART * part))), x, y)
            };
            Quad(pick(0, x.0, y.0), pick(1, x.1, y.1), pick(2, x.2, y.2), pick(3, x.3, y.3))
        }
    }
    #[inline(always)]
    unsafe fn index(lanes: &[u8; WIDTH]) -> Bytes {
        unsafe {
            let lanes = vld1q_u8(lanes.as_ptr());
            let (low, high) = (vmovl_u8(vget_low_u8(lanes)), vmovl_high_u8(lanes));
            // Lane n is bytes 4n to 4n + 3, the lowest first.
            let bytes = |lane: uint32x4_t| {
                vreinterpretq_u8_u32(vmlaq_u32(vdupq_n_u32(0x03_02_01_00), lane, vdupq_n_u32(0x04_04_04_04)))
            };
            Bytes(
                bytes(vmovl_u16(vget_low_u16(low))),
                bytes(vmovl_high_u16(low)),
                bytes(vmovl_u16(vget_low_u16(high))),
                bytes(vmovl_high_u16(high)),
            )
        }
    }
    #[inline(always)]
    unsafe fn pick(table: Quad, index: Bytes) -> Quad {
        unsafe {
            let bytes = |part: float32x4_t| vreinterpretq_u8_f32(part);
            let table = uint8x16x4_t(bytes(table.0), bytes(table.1), bytes(table.2), bytes(table.3));
            each!(|index| vreinterpretq_f32_u8(vqtbl4q_u8(table, index)), index)
        }
    }
    #[inline(always)]
    unsafe fn sum_rows(rows: &[Quad; WIDTH]) -> Quad {
        unsafe {
            let four = |i: usize| {
                let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
                sum_quarters([quarter(a), quarter(b), quarter(c), quarter(d)])
            };
            Quad(four(0), four(PART), four(2 * PART), four(3 * PART))
        }
    }
    #[inline(always)]
    unsafe fn sum(a: Quad) -> f32 {
        unsafe {
            let a = quarter(a);
            vpadds_f32(vadd_f32(vget_low_f32(a), vget_high_f32(a)))
        }
    }
    #[inline(always)]
    unsafe fn transpose(src: *const f32, src_stride: usize, dst: *mut f32, dst_stride: usize) {
        // Four by four values at a time, as many as the instructions that interleave two registers exchange.
        unsafe {
            for r in (0..WIDTH).step_by(PART) {
                for l in (0..WIDTH).step_by(PART) {
                    let row = |i: usize| vld1q_f32(src.add((r + i) * src_stride + l));
                    let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
                    // Columns 0 and 2, then 1 and 3, of two rows.
                    let wide = |x: float32x4_t| vreinterpretq_f64_f32(x);
                    let (ab_even, ab_odd) = (wide(vtrn1q_f32(a, b)), wide(vtrn2q_f32(a, b)));
                    let (cd_even, cd_odd) = (wide(vtrn1q_f32(c, d)), wide(vtrn2q_f32(c, d)));
                    let column = |i: usize, x: float64x2_t| {
                        vst1q_f32(dst.add((l + i) * dst_stride + r), vreinterpretq_f32_f64(x))
                    };
                    column(0, vzip1q_f64(ab_even, cd_even));
                    column(1, vzip1q_f64(ab_odd, cd_odd));
                    column(2, vzip2q_f64(ab_even, cd_even));
                    column(3, vzip2q_f64(ab_odd, cd_odd));
                }
            }
        }
    }
}
