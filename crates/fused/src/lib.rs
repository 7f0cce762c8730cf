//! The default engine: f32 SIMD kernels with hand-written adjoints.
//!
//! [`Fused`] implements [`tightrope_engine::Engine`] for networks that are sequences of convolutions,
//! linear layers, per-channel affine layers and ReLUs; other networks go to the reference engine.
//!
//! From the bottom up: `lanes` is sixteen f32 on any instruction set; `block`, `product`, `outer` and `walk_products` are
//! the micro-kernels; `geometry` and `taps` say which taps connect which positions; `plan`, `weights` and `net` are
//! a network prepared for the kernels. `clean` and `interval` put images into lanes, `dense` their large dense layers;
//! `lines`, `relax`, `walk` and `walk_adjoint` put rows into lanes (back-substitution), with `signs` kept between the two
//! and `terms` shared by the tiles of dense layers, `batch_walk` margins of sixteen images; `bound` and `pullback` compose
//! them into the named relaxations, `chunks` over a batch; `slopes` are lower slopes from outside; `population` evaluates
//! perturbed members; `peak` is the yardstick.

mod accumulate;
mod ball;
mod batch;
mod batch_lines;
mod batch_walk;
mod batch_walk_adjoint;
mod block;
mod bound;
mod buffer;
mod chunks;
mod clean;
mod clean_batch;
mod dense;
mod engine;
mod exchange;
mod finish;
mod geometry;
mod input;
mod interval;
mod interval_ball;
mod interval_batch;
mod interval_rows;
mod isa;
mod lanes;
mod lines;
mod margins;
mod net;
mod outer;
mod peak;
mod plan;
mod population;
mod product;
mod pullback;
mod relax;
mod rows;
mod signs;
mod slopes;
mod specification;
mod sweep;
mod taps;
mod terms;
mod walk;
mod walk_adjoint;
mod walk_products;
mod weights;

pub use engine::Fused;
pub use isa::{ISA_VARIABLE, Isa};
pub use peak::{Operands, peak};
