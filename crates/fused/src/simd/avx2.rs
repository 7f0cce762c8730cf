//! AVX2 lanes: two registers.

use std::arch::x86_64::*;

use super::lanes::{Lanes, Task, WIDTH, transpose_plain, tree_sum};

/// Two ymm registers; needs AVX2, FMA and BMI2.
#[derive(Clone, Copy)]
pub struct Avx2;

/// Lanes 0–7 and 8–15.
#[derive(Clone, Copy)]
pub struct Pair(__m256, __m256);

/// Lane numbers for lanes 0–7 and 8–15.
#[derive(Clone, Copy)]
pub struct Lanes16(__m256i, __m256i);

/// The one function compiled with the features; `f` is inlined into it.
#[target_feature(enable = "avx2,fma,bmi2")]
#[inline]
unsafe fn with_features<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// [`with_features`] for a task, whose own attributes see to it that it is inlined however large it is.
#[target_feature(enable = "avx2,fma,bmi2")]
unsafe fn task_with_features<K: Task>(task: K) {
    unsafe { task.run::<Avx2>() }
}

impl Lanes for Avx2 {
    type V = Pair;
    type Index = Lanes16;
    const CLASSES: usize = 3;
    const BLOCK: [usize; 4] = [4, 2, 1, 1];
    const PICKED: [usize; 4] = [4, 2, 1, 1];
    const PATCH: [usize; 2] = [3, 3];
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
    unsafe fn prefetch(p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Pair {
        unsafe { Pair(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Pair {
        unsafe { Pair(_mm256_load_ps(p), _mm256_load_ps(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn load_any(p: *const f32) -> Pair {
        unsafe { Pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn add(a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn sub(a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn mul(a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn div(a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn fma(a: Pair, b: Pair, c: Pair) -> Pair {
        unsafe { Pair(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
    }
    #[inline(always)]
    unsafe fn fnma(a: Pair, b: Pair, c: Pair) -> Pair {
        unsafe { Pair(_mm256_fnmadd_ps(a.0, b.0, c.0), _mm256_fnmadd_ps(a.1, b.1, c.1)) }
    }
    #[inline(always)]
    unsafe fn max(a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn min(a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: Pair) -> Pair {
        unsafe { Pair(_mm256_sqrt_ps(a.0), _mm256_sqrt_ps(a.1)) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: Pair) {
        unsafe {
            _mm256_store_ps(p, x.0);
            _mm256_store_ps(p.add(8), x.1);
        }
    }
    #[inline(always)]
    unsafe fn store_any(p: *mut f32, x: Pair) {
        unsafe {
            _mm256_storeu_ps(p, x.0);
            _mm256_storeu_ps(p.add(8), x.1);
        }
    }
    #[inline(always)]
    unsafe fn abs(a: Pair) -> Pair {
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Pair(_mm256_andnot_ps(sign, a.0), _mm256_andnot_ps(sign, a.1))
        }
    }
    #[inline(always)]
    unsafe fn where_negative(a: Pair, x: Pair, y: Pair) -> Pair {
        unsafe {
            let zero = _mm256_setzero_ps();
            Pair(
                _mm256_blendv_ps(y.0, x.0, _mm256_cmp_ps::<_CMP_LT_OQ>(a.0, zero)),
                _mm256_blendv_ps(y.1, x.1, _mm256_cmp_ps::<_CMP_LT_OQ>(a.1, zero)),
            )
        }
    }
    #[inline(always)]
    unsafe fn where_positive(a: Pair, x: Pair, y: Pair) -> Pair {
        unsafe {
            let zero = _mm256_setzero_ps();
            Pair(
                _mm256_blendv_ps(y.0, x.0, _mm256_cmp_ps::<_CMP_GT_OQ>(a.0, zero)),
                _mm256_blendv_ps(y.1, x.1, _mm256_cmp_ps::<_CMP_GT_OQ>(a.1, zero)),
            )
        }
    }
    #[inline(always)]
    unsafe fn negative_mask(a: Pair) -> u16 {
        unsafe {
            let zero = _mm256_setzero_ps();
            let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(a.0, zero));
            let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(a.1, zero));
            (low | high << 8) as u16
        }
    }
    #[inline(always)]
    unsafe fn positive_mask(a: Pair) -> u16 {
        unsafe {
            let zero = _mm256_setzero_ps();
            let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a.0, zero));
            let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a.1, zero));
            (low | high << 8) as u16
        }
    }
    #[inline(always)]
    unsafe fn select(mask: u16, x: Pair, y: Pair) -> Pair {
        unsafe {
            let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let pick = |mask: u16, x: __m256, y: __m256| {
                let named = _mm256_and_si256(_mm256_set1_epi32(mask.into()), bits);
                _mm256_blendv_ps(y, x, _mm256_castsi256_ps(_mm256_cmpeq_epi32(named, bits)))
            };
            Pair(pick(mask & 255, x.0, y.0), pick(mask >> 8, x.1, y.1))
        }
    }
    #[inline(always)]
    unsafe fn extract(word: u16, mask: u16) -> u16 {
        unsafe { _pext_u32(word.into(), mask.into()) as u16 }
    }
    #[inline(always)]
    unsafe fn index(lanes: &[u8; WIDTH]) -> Lanes16 {
        unsafe {
            let low = _mm_loadl_epi64(lanes.as_ptr().cast());
            let high = _mm_loadl_epi64(lanes.as_ptr().add(8).cast());
            Lanes16(_mm256_cvtepu8_epi32(low), _mm256_cvtepu8_epi32(high))
        }
    }
    #[inline(always)]
    unsafe fn pick(table: Pair, index: Lanes16) -> Pair {
        unsafe {
            let pick = |index: __m256i| {
                let low = _mm256_permutevar8x32_ps(table.0, index);
                let high = _mm256_permutevar8x32_ps(table.1, index);
                // Bit 3 of the lane number, moved to the sign, tells the half.
                _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index)))
            };
            Pair(pick(index.0), pick(index.1))
        }
    }
    #[inline(always)]
    unsafe fn sum(a: Pair) -> f32 {
        let mut lanes = [0.0; WIDTH];
        unsafe { Self::store_any(lanes.as_mut_ptr(), a) };
        tree_sum(lanes)
    }
    #[inline(always)]
    unsafe fn transpose(src: *const f32, src_stride: usize, dst: *mut f32, dst_stride: usize) {
        unsafe { transpose_plain(src, src_stride, dst, dst_stride) }
    }
}
