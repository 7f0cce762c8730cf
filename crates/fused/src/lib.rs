//! The default engine: f32 SIMD kernels with hand-written adjoints.
//!
//! [`Fused`] implements [`tightrope_engine::Engine`] for networks that are sequences of convolutions,
//! linear layers, per-channel affine layers and ReLUs; other networks go to the reference engine.
//!
//! From the bottom up: `lanes` is sixteen f32 on any instruction set; `block`, `product`, `outer` and `walk_products` are
//! the micro-kernels; `geometry` and `taps` say which taps connect which positions; `plan`, `weights` and `net` are
//! a network prepared for the kernels. `clean` and `interval` put images into lanes, `dense` their large dense layers;
//! `lines`, `relax`, `walk` and `walk_adjoint` put rows into lanes (back-substitution), with `signs` kept between the two
//! and `terms` shared by the tiles of dense layers, `packet_walk` margins of sixteen images; `bound` and `pullback` compose
//! them into the named relaxations, `chunks` over a batch; `slopes` are lower slopes from outside; `population` evaluates
//! perturbed members; `peak` is the yardstick.

mod backward;
mod bound;
mod clean;
mod engine;
mod interval;
mod kernels;
mod loaded;
mod net;
mod packed;
mod population;
mod scratch;
mod simd;
mod tape;

pub use engine::Fused;
pub use kernels::peak::{Operands, peak};
pub use simd::isa::{ISA_VARIABLE, Isa};
