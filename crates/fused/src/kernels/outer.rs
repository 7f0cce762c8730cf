//! The micro-kernel of weight gradients: a register block of outer products summed over positions.
//!
//! Both forms share one loop. *Lanes kept*: both factors are vectors, each weight keeps sixteen
//! partial sums that are added up once per batch; for small kernels. *Lanes summed*: the first
//! factor is transposed so that its output channels lie in lanes, the second is broadcast lane by
//! lane, and the sum over lanes becomes part of the loop; for large kernels, whose sixteen-fold
//! partial sums would not fit a cache.

use crate::simd::lanes::Lanes;

/// Strides (in f32) and counts of the positions and lanes summed over.
#[derive(Clone, Copy)]
pub struct Sum {
    /// First factor: vectors.
    pub left: *const f32,
    /// Second factor: vectors, or scalars to broadcast.
    pub right: *const f32,
    /// Sums, added to.
    pub output: *mut f32,
    /// Rows, columns and inner steps.
    pub count: [usize; 3],
    /// Strides of the first factor along rows, columns and inner steps.
    pub left_stride: [usize; 3],
    /// Strides of the second factor.
    pub right_stride: [usize; 3],
    /// From one vector of the first factor to the next.
    pub left_next: usize,
    /// From one sum to the next along the first factor.
    pub output_next: usize,
}

/// output[i][j] += Σ left[i] · right[j], i below `lefts`, j over the offsets `(right, output)`.
///
/// # Safety
/// The machine has `S`; all places that the strides and counts reach are valid, vectors aligned.
pub unsafe fn outer<S: Lanes, const BROADCAST: bool>(sum: &Sum, lefts: usize, rights: &[(u32, u32)]) {
    if sum.count.contains(&0) {
        return;
    }
    let mut i = 0;
    while i < lefts {
        let rest = lefts - i;
        // SAFETY: passed on from the caller.
        unsafe {
            let part =
                Sum { left: sum.left.add(i * sum.left_next), output: sum.output.add(i * sum.output_next), ..*sum };
            if rest >= 4 && S::BLOCK[1] >= 8 {
                columns::<S, BROADCAST, 4>(&part, rights, 6);
                i += 4;
            } else if rest >= 2 && S::BLOCK[1] >= 2 {
                columns::<S, BROADCAST, 2>(&part, rights, if S::BLOCK[1] >= 8 { 12 } else { 2 });
                i += 2;
            } else {
                columns::<S, BROADCAST, 1>(&part, rights, if S::BLOCK[1] >= 8 { 12 } else { 4 });
                i += 1;
            }
        }
    }
}

unsafe fn columns<S: Lanes, const BROADCAST: bool, const NI: usize>(sum: &Sum, rights: &[(u32, u32)], most: usize) {
    let blocks = rights.len().div_ceil(most).max(1);
    let (size, larger) = (rights.len() / blocks, rights.len() % blocks);
    let mut start = 0;
    for block in 0..blocks {
        let n = size + usize::from(block < larger);
        let rights = &rights[start..start + n];
        macro_rules! dispatch {
            ($($n:literal)*) => {
                match n {
                    0 => {}
                    $($n => run_block::<S, BROADCAST, NI, $n>(sum, rights),)*
                    _ => unreachable!("blocks have at most 12 columns"),
                }
            };
        }
        // SAFETY: passed on from the caller.
        unsafe { if NI == 4 { dispatch!(1 2 3 4 5 6) } else { dispatch!(1 2 3 4 5 6 7 8 9 10 11 12) } }
        start += n;
    }
}

#[inline(never)]
unsafe fn run_block<S: Lanes, const BROADCAST: bool, const NI: usize, const NJ: usize>(
    sum: &Sum,
    rights: &[(u32, u32)],
) {
    // SAFETY: the caller of `outer` vouches for the machine and the memory.
    unsafe { S::run(|| block::<S, BROADCAST, NI, NJ>(sum, rights)) }
}

#[inline(always)]
unsafe fn block<S: Lanes, const BROADCAST: bool, const NI: usize, const NJ: usize>(sum: &Sum, rights: &[(u32, u32)]) {
    // SAFETY: the caller of `outer` vouches for the machine and the memory.
    unsafe {
        let mut offset = [0_usize; NJ];
        for j in 0..NJ {
            offset[j] = rights[j].0 as usize;
        }
        let mut sums = [[S::zero(); NJ]; NI];
        for y in 0..sum.count[0] {
            for x in 0..sum.count[1] {
                let mut left = sum.left.add(y * sum.left_stride[0] + x * sum.left_stride[1]);
                let mut right = sum.right.add(y * sum.right_stride[0] + x * sum.right_stride[1]);
                for _ in 0..sum.count[2] {
                    let mut values = [S::zero(); NI];
                    for i in 0..NI {
                        values[i] = S::load(left.add(i * sum.left_next));
                    }
                    for j in 0..NJ {
                        let place = right.add(offset[j]);
                        let factor = if BROADCAST { S::splat(*place) } else { S::load(place) };
                        for i in 0..NI {
                            sums[i][j] = S::fma(values[i], factor, sums[i][j]);
                        }
                    }
                    left = left.add(sum.left_stride[2]);
                    right = right.add(sum.right_stride[2]);
                }
            }
        }
        for i in 0..NI {
            for j in 0..NJ {
                let place = sum.output.add(i * sum.output_next + rights[j].1 as usize);
                S::store(place, S::add(S::load(place), sums[i][j]));
            }
        }
    }
}
