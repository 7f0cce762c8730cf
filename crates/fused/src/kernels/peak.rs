//! The yardstick of the kernels: how many multiply–adds one core does in a second, by where their operands lie.

use std::time::Instant;

use crate::simd::buffer::Buffer;
use crate::simd::isa::{Isa, on_isa};
use crate::simd::lanes::{Lanes, WIDTH};

/// Where the multiply–adds of [`peak`] find their second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    /// In a register: the machine's peak.
    Registers,
    /// One number in the first-level cache, put into all lanes: how the kernels read weights.
    Broadcasts,
    /// A vector in the first-level cache: how they read everything else.
    Vectors,
    /// As in a block of half as many outputs as there are sums: a step loads two vectors, and a broadcast for two of them.
    Block,
}

impl Operands {
    /// All of them.
    pub const ALL: [Operands; 4] = [Operands::Registers, Operands::Broadcasts, Operands::Vectors, Operands::Block];

    /// A word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Operands::Registers => "registers",
            Operands::Broadcasts => "broadcasts",
            Operands::Vectors => "vectors",
            Operands::Block => "block",
        }
    }
}

/// Multiply–adds in each of the sums that a run keeps.
const STEPS: usize = 1 << 14;
/// Runs, of which the fastest counts.
const RUNS: usize = 100;
/// Places in the cache that the steps take in turn.
const PLACES: usize = 8;

/// GFLOP/s (10⁹ multiplications and additions per second) of one core in a loop of nothing but f32 multiply–adds on `isa`,
/// with as many sums as the kernels' blocks have: the fastest of many short runs.
///
/// # Panics
/// If the machine lacks `isa`.
pub fn peak(isa: Isa, operands: Operands) -> f64 {
    assert!(isa.available(), "this machine lacks {}", isa.name());
    on_isa!(isa, measure, operands)
}

unsafe fn measure<S: Lanes>(operands: Operands) -> f64 {
    // SAFETY: passed on from `peak`.
    unsafe {
        match S::BLOCK[0] {
            16.. => best::<S, 16>(operands),
            6.. => best::<S, 6>(operands),
            4.. => best::<S, 4>(operands),
            _ => best::<S, 2>(operands),
        }
    }
}

unsafe fn best<S: Lanes, const N: usize>(operands: Operands) -> f64 {
    let data = Buffer::zeroed((N + PLACES) * WIDTH);
    let mut seconds = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        // SAFETY: the buffer holds what the steps read; the machine has `S`.
        unsafe {
            match operands {
                Operands::Registers => S::run(|| steps::<S, N, 0>(data.as_ptr())),
                Operands::Broadcasts => S::run(|| steps::<S, N, 1>(data.as_ptr())),
                Operands::Vectors => S::run(|| steps::<S, N, 2>(data.as_ptr())),
                Operands::Block => S::run(|| steps::<S, N, 3>(data.as_ptr())),
            }
        }
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    (2 * N * STEPS * WIDTH) as f64 / seconds * 1e-9
}

/// N sums of `STEPS` products; the operands as [`Operands`] counts them.
#[inline(always)]
unsafe fn steps<S: Lanes, const N: usize, const OPERANDS: usize>(data: *const f32) {
    // SAFETY: passed on from `best`.
    unsafe {
        let mut sums = [S::zero(); N];
        let factor = S::load(std::hint::black_box(data));
        for step in 0..STEPS {
            let place = data.add(step % PLACES * WIDTH);
            let vectors = [S::load(place), S::load(place.add(WIDTH))];
            for (i, sum) in sums.iter_mut().enumerate() {
                let (first, second) = match OPERANDS {
                    0 => (factor, factor),
                    1 => (factor, S::splat(*place.add(i))),
                    2 => (factor, S::load(place.add(i * WIDTH))),
                    _ => (vectors[i % 2], S::splat(*place.add(i / 2))),
                };
                *sum = S::fma(first, second, *sum);
            }
        }
        let total = sums.iter().fold(S::zero(), |total, &sum| S::add(total, sum));
        std::hint::black_box(S::sum(total));
    }
}
