//! The default engine: f32 SIMD kernels with hand-written adjoints.
//!
//! [`Fused`] implements [`tightrope_engine::Engine`] for networks that are sequences of convolutions,
//! linear layers, batch norms, per-channel affine layers and ReLUs; other networks go to the reference engine.
//!
//! From the bottom up, each folder importing only those before it:
//!
//! * `simd`: sixteen f32 on any instruction set, aligned memory, and pools of free memory;
//! * `kernels`: the micro-kernels, a register block of sums each, and `peak`, their yardstick;
//! * `net`: a network prepared for the kernels: its plan, packed weights and their gradients, which taps connect which
//!   positions, how a batch is split, and whole stages with images in lanes;
//! * `clean` and `interval`: points and boxes or balls forward, and their adjoints, images in lanes;
//! * `normed`: batch norms, folded into the stages before them or on the statistics of a batch;
//! * `backward`: back-substitution. `rows` has the rows of one image in lanes; `images` has a *packet*, sixteen images,
//!   in lanes, for margins;
//! * `bound`: the domains composed into the named relaxations, over chunks and batches.
//!
//! `loaded` is the handle of a network without batch norms, and `loaded_normed` that of one with, made of two of the former;
//! `population` evaluates perturbed members, `scratch` is all free memory, and `engine` implements the trait.

mod backward;
mod bound;
mod clean;
mod engine;
mod interval;
mod kernels;
mod loaded;
mod loaded_normed;
mod net;
mod normed;
mod packed;
mod population;
mod scratch;
mod simd;
mod tape;

pub use engine::Fused;
pub use kernels::peak::{Operands, peak};
pub use simd::isa::{ISA_VARIABLE, Isa};
