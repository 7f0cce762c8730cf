//! A tile, the rows that a walk takes together, and what is asked of its walk.

use crate::net::Net;

/// Sixteen rows' signs at one input element, a bit per row: A_L < 0, A_L > 0, A_U < 0, A_U > 0.
pub type Sign = [u16; 4];

/// Rows on the output of a stage.
#[derive(Clone, Copy)]
pub struct Tile {
    /// The rows' stage; its weights are the rows.
    pub stage: usize,
    /// Their position.
    pub position: [usize; 2],
    /// Coefficients `[tap][c_in][stride]`, the first 16·T of each being the rows.
    pub rows: *const f32,
    pub stride: usize,
    /// True for T = 2, thirty-two rows.
    pub tall: bool,
}

impl Tile {
    /// First coefficient of input position (`y`, `x`) in `rows`, in units of `stride`.
    pub fn element(&self, net: &Net<'_>, [y, x]: [usize; 2]) -> usize {
        let stage = &net.plan.stages[self.stage];
        let ty = y + stage.pad[0] - self.position[0] * stage.stride[0];
        let tx = x + stage.pad[1] - self.position[1] * stage.stride[1];
        (ty * stage.kernel[1] + tx) * stage.input.c
    }
}

/// What becomes of the pixels.
pub enum Pixels<'a> {
    /// The rows' extremes are computed.
    Bound,
    /// The same, and the signs of the coefficients are stored, `[T][element]`.
    Record(&'a mut [Sign]),
    /// Nothing: the walk ends before the first stage, whose coefficients are made band by band.
    Skip,
}

/// What stays of a walk for its adjoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// The coefficients after each relaxation and those of the pixels, with zeros for dead neurons where the weight
    /// gradients read them.
    Results,
}
