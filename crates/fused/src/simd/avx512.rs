//! AVX-512 lanes: one register.

use std::arch::x86_64::*;

use super::lanes::{Lanes, Task};

/// One zmm register; needs AVX-512 F, DQ, VL and BW, and what came before it.
#[derive(Clone, Copy)]
pub struct Avx512;

/// The one function compiled with the features; `f` is inlined into it.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,bmi2")]
#[inline]
unsafe fn with_features<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// [`with_features`] for a task, whose own attributes see to it that it is inlined however large it is.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,bmi2")]
unsafe fn task_with_features<K: Task>(task: K) {
    unsafe { task.run::<Avx512>() }
}

impl Lanes for Avx512 {
    type V = __m512;
    type Index = __m512i;
    const CLASSES: usize = 10;
    const BLOCK: [usize; 4] = [16, 13, 6, 5];
    const PICKED: [usize; 4] = [14, 8, 6, 5];
    const PATCH: [usize; 2] = [5, 5];
    const GROUPS: usize = 2;

    #[inline(always)]
    unsafe fn run<R>(f: impl FnOnce() -> R) -> R {
        unsafe { with_features(f) }
    }
    #[inline(always)]
    unsafe fn run_task<K: Task>(task: K) {
        unsafe { task_with_features(task) }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        unsafe { _mm512_load_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_any(p: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: __m512) {
        unsafe { _mm512_store_ps(p, x) }
    }
    #[inline(always)]
    unsafe fn store_any(p: *mut f32, x: __m512) {
        unsafe { _mm512_storeu_ps(p, x) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn fnma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn abs(a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: __m512) -> __m512 {
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    unsafe fn where_negative(a: __m512, x: __m512, y: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, _mm512_setzero_ps()), y, x) }
    }
    #[inline(always)]
    unsafe fn where_positive(a: __m512, x: __m512, y: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, _mm512_setzero_ps()), y, x) }
    }
    #[inline(always)]
    unsafe fn signed_by(a: __m512, b: __m512) -> __m512 {
        unsafe {
            let sign = _mm512_and_ps(a, _mm512_set1_ps(-0.0));
            let nonzero = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(a, _mm512_setzero_ps());
            _mm512_maskz_xor_ps(nonzero, b, sign)
        }
    }
    #[inline(always)]
    unsafe fn negative_mask(a: __m512) -> u16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, _mm512_setzero_ps()) }
    }
    #[inline(always)]
    unsafe fn positive_mask(a: __m512) -> u16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, _mm512_setzero_ps()) }
    }
    #[inline(always)]
    unsafe fn select(mask: u16, x: __m512, y: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(mask, y, x) }
    }
    #[inline(always)]
    unsafe fn extract(word: u16, mask: u16) -> u16 {
        unsafe { _pext_u32(word.into(), mask.into()) as u16 }
    }
    #[inline(always)]
    unsafe fn index(lanes: &[u8; 16]) -> __m512i {
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(lanes.as_ptr().cast())) }
    }
    #[inline(always)]
    unsafe fn pick(table: __m512, index: __m512i) -> __m512 {
        unsafe { _mm512_permutexvar_ps(index, table) }
    }
    #[inline(always)]
    unsafe fn sum_rows(rows: &[__m512; 16]) -> __m512 {
        // Each step halves the rows and doubles how many rows' partial sums a vector holds.
        unsafe {
            let mut a = [_mm512_setzero_ps(); 8];
            for i in 0..8 {
                // Rows i and i + 8: halves of both.
                let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(rows[i], rows[i + 8]);
                let high = _mm512_shuffle_f32x4::<0b11_10_11_10>(rows[i], rows[i + 8]);
                a[i] = _mm512_add_ps(low, high);
            }
            let mut b = [_mm512_setzero_ps(); 4];
            for i in 0..4 {
                // Quarters: rows i, i + 4, i + 8, i + 12.
                let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(a[i], a[i + 4]);
                let high = _mm512_shuffle_f32x4::<0b11_01_11_01>(a[i], a[i + 4]);
                // Parts now hold rows i, i + 8, i + 4, i + 12.
                b[i] = _mm512_add_ps(low, high);
            }
            let mut c = [_mm512_setzero_ps(); 2];
            for i in 0..2 {
                let low = _mm512_unpacklo_ps(b[i], b[i + 2]);
                let high = _mm512_unpackhi_ps(b[i], b[i + 2]);
                // Within a part: i, i + 2, i, i + 2.
                c[i] = _mm512_add_ps(low, high);
            }
            let low = _mm512_unpacklo_ps(c[0], c[1]);
            let high = _mm512_unpackhi_ps(c[0], c[1]);
            // Within a part: 0, 1, 2, 3; the parts are 0, 8, 4, 12.
            let sums = _mm512_add_ps(low, high);
            _mm512_shuffle_f32x4::<0b11_01_10_00>(sums, sums)
        }
    }
    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        unsafe {
            let a = _mm512_add_ps(a, _mm512_shuffle_f32x4::<0b01_00_11_10>(a, a));
            let a = _mm512_add_ps(a, _mm512_shuffle_f32x4::<0b10_11_00_01>(a, a));
            let a = _mm512_castps512_ps128(a);
            let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps::<1>(a, a)))
        }
    }
    #[inline(always)]
    unsafe fn transpose(src: *const f32, src_stride: usize, dst: *mut f32, dst_stride: usize) {
        // Four stages of interleaving: pairs within 128-bit parts, quadruples, then whole parts twice.
        unsafe {
            let zero = _mm512_setzero_ps();
            let mut a = [zero; 16];
            let mut b = [zero; 16];
            for i in 0..16 {
                a[i] = _mm512_loadu_ps(src.add(i * src_stride));
            }
            for i in 0..8 {
                b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
            }
            for i in 0..4 {
                a[4 * i] = _mm512_shuffle_ps::<0b01_00_01_00>(b[4 * i], b[4 * i + 2]);
                a[4 * i + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(b[4 * i], b[4 * i + 2]);
                a[4 * i + 2] = _mm512_shuffle_ps::<0b01_00_01_00>(b[4 * i + 1], b[4 * i + 3]);
                a[4 * i + 3] = _mm512_shuffle_ps::<0b11_10_11_10>(b[4 * i + 1], b[4 * i + 3]);
            }
            // a[4g + k] part q holds column 4q + k of rows 4g..4g+4.
            for k in 0..4 {
                b[k] = _mm512_shuffle_f32x4::<0b10_00_10_00>(a[k], a[4 + k]);
                b[4 + k] = _mm512_shuffle_f32x4::<0b11_01_11_01>(a[k], a[4 + k]);
                b[8 + k] = _mm512_shuffle_f32x4::<0b10_00_10_00>(a[8 + k], a[12 + k]);
                b[12 + k] = _mm512_shuffle_f32x4::<0b11_01_11_01>(a[8 + k], a[12 + k]);
            }
            for k in 0..4 {
                let columns = [
                    (k, _mm512_shuffle_f32x4::<0b10_00_10_00>(b[k], b[8 + k])),
                    (8 + k, _mm512_shuffle_f32x4::<0b11_01_11_01>(b[k], b[8 + k])),
                    (4 + k, _mm512_shuffle_f32x4::<0b10_00_10_00>(b[4 + k], b[12 + k])),
                    (12 + k, _mm512_shuffle_f32x4::<0b11_01_11_01>(b[4 + k], b[12 + k])),
                ];
                for (column, value) in columns {
                    _mm512_storeu_ps(dst.add(column * dst_stride), value);
                }
            }
        }
    }
}
