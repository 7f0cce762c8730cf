//! The machine: sixteen f32 on any instruction set, and memory for them.

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
pub mod buffer;
pub mod isa;
pub mod lanes;
#[cfg(target_arch = "aarch64")]
pub mod neon;
pub mod pool;
pub mod scalar;
