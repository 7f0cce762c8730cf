//! The lane abstraction: sixteen f32 that every kernel is written for, whatever the machine.
//!
//! A logical vector always has sixteen lanes: one AVX-512 register, two AVX2 registers, four NEON
//! registers, or an array that the compiler may vectorise as it likes. Fixing the width keeps one memory layout, one set of
//! loops and one summation order on every machine; only the block sizes of the micro-kernels differ,
//! because the register files do.
//!
//! Kernels are generic functions marked `#[inline(always)]`; [`Lanes::run`] is the only function
//! compiled with the machine's features, and everything called from its closure is inlined into it.

/// Lanes of a vector.
pub const WIDTH: usize = 16;

/// Most rows, the neurons or margins being bounded, that are taken at once; see [`Lanes::GROUPS`].
pub const TALL: usize = 2 * WIDTH;

/// One value per bound (minimum, maximum) and row.
pub type RowValues = [[f32; TALL]; 2];

/// Sixteen-lane f32 arithmetic of one instruction set.
///
/// # Safety
/// All functions may be called only on a machine with the instruction set; pointers must be valid
/// for sixteen values. `load` and `store` need 64-byte alignment, the `_any` forms none.
pub trait Lanes: Copy + Send + Sync + 'static {
    /// Sixteen values.
    type V: Copy;

    /// Sixteen lane numbers.
    type Index: Copy;

    /// Most classes per block of the margins' kernel: two accumulators each.
    const CLASSES: usize;

    /// Most output channels per micro-kernel block for one, two, four and five vectors per channel: as many
    /// accumulators as fit the register file beside the operands.
    const BLOCK: [usize; 4];

    /// The same where outputs are picked from a list, which takes an address register for each.
    const PICKED: [usize; 4];

    /// Most rows and columns of taps per block of the weight gradients' kernel over patches.
    const PATCH: [usize; 2];

    /// Vectors of rows that a walk takes at once, 1 or 2: with two, whatever is done per position and channel
    /// serves thirty-two rows, if the register file holds a useful block of them.
    const GROUPS: usize;

    /// Runs `f` in code compiled for the instruction set.
    unsafe fn run<R>(f: impl FnOnce() -> R) -> R;
    /// Runs `task` in code compiled for the instruction set: for what is too large to be inlined as a closure.
    unsafe fn run_task<K: Task>(task: K);
    /// Asks for the cache line at `p`, which need not exist.
    #[inline(always)]
    unsafe fn prefetch(_p: *const f32) {}
    /// Sixteen copies of `x`.
    unsafe fn splat(x: f32) -> Self::V;
    /// Aligned load.
    unsafe fn load(p: *const f32) -> Self::V;
    /// Unaligned load.
    unsafe fn load_any(p: *const f32) -> Self::V;
    /// Aligned store.
    unsafe fn store(p: *mut f32, x: Self::V);
    /// Unaligned store.
    unsafe fn store_any(p: *mut f32, x: Self::V);
    /// a + b.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// a − b.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// a·b.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// a/b.
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// a·b + c.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// c − a·b.
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// |a|.
    unsafe fn abs(a: Self::V) -> Self::V;
    /// Larger of two; `b` if either is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// Smaller of two; `b` if either is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// √a.
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// x where a < 0, y elsewhere (−0 is not negative).
    unsafe fn where_negative(a: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// x where a > 0, y elsewhere.
    unsafe fn where_positive(a: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// b with the sign of a·b, for a ≠ 0; 0 where a = 0.
    #[inline(always)]
    unsafe fn signed_by(a: Self::V, b: Self::V) -> Self::V {
        unsafe { Self::where_positive(a, b, Self::where_negative(a, Self::sub(Self::zero(), b), Self::zero())) }
    }
    /// Bit l says that lane l is below 0 (−0 and NaN are not).
    unsafe fn negative_mask(a: Self::V) -> u16;
    /// Bit l says that lane l is above 0.
    unsafe fn positive_mask(a: Self::V) -> u16;
    /// x in the lanes of `mask`, y elsewhere.
    unsafe fn select(mask: u16, x: Self::V, y: Self::V) -> Self::V;
    /// The bits of `word` that `mask` names, moved together to the low end.
    #[inline(always)]
    unsafe fn extract(word: u16, mask: u16) -> u16 {
        let (mut result, mut count, mut rest) = (0, 0, mask);
        while rest != 0 {
            result |= (word >> rest.trailing_zeros() & 1) << count;
            count += 1;
            rest &= rest - 1;
        }
        result
    }
    /// Lane numbers, each below sixteen.
    unsafe fn index(lanes: &[u8; WIDTH]) -> Self::Index;
    /// Lane l of the result is lane `index[l]` of `table`.
    unsafe fn pick(table: Self::V, index: Self::Index) -> Self::V;
    /// Lane r of the result is the sum of row r's lanes, in a fixed order.
    #[inline(always)]
    unsafe fn sum_rows(rows: &[Self::V; WIDTH]) -> Self::V {
        let mut sums = [0.0; WIDTH];
        for r in 0..WIDTH {
            // SAFETY: the machine is the caller's word.
            sums[r] = unsafe { Self::sum(rows[r]) };
        }
        unsafe { Self::load_any(sums.as_ptr()) }
    }
    /// Sum of the lanes in a fixed order.
    unsafe fn sum(a: Self::V) -> f32;
    /// dst[l][r] = src[r][l]: sixteen rows `src_stride` apart to sixteen rows `dst_stride` apart.
    unsafe fn transpose(src: *const f32, src_stride: usize, dst: *mut f32, dst_stride: usize);

    /// Zero.
    #[inline(always)]
    unsafe fn zero() -> Self::V {
        unsafe { Self::splat(0.0) }
    }
}

/// Work for [`Lanes::run_task`].
pub trait Task {
    /// The work; implementations must be `#[inline(always)]`, or the compiler may leave the instruction set behind.
    ///
    /// # Safety
    /// The machine has `S`.
    unsafe fn run<S: Lanes>(self);
}

/// Pairwise sum of sixteen lanes, the same tree on every instruction set.
#[inline(always)]
pub(crate) fn tree_sum(mut x: [f32; WIDTH]) -> f32 {
    let mut half = WIDTH / 2;
    while half > 0 {
        for i in 0..half {
            x[i] += x[i + half];
        }
        half /= 2;
    }
    x[0]
}

/// Transposition through memory, for instruction sets without a shuffle network of their own.
#[inline(always)]
pub(crate) unsafe fn transpose_plain(src: *const f32, src_stride: usize, dst: *mut f32, dst_stride: usize) {
    for r in 0..WIDTH {
        for l in 0..WIDTH {
            // SAFETY: the caller gives sixteen rows of sixteen values on both sides.
            unsafe { *dst.add(l * dst_stride + r) = *src.add(r * src_stride + l) };
        }
    }
}
