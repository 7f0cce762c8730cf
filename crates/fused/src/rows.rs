//! Which rows of a stage a walk takes together, and where their weights lie.

use crate::buffer::Buffer;
use crate::lanes::WIDTH;
use crate::net::Net;
use crate::walk::Tile;
use crate::weights::{StageGradient, padded};

/// Up to sixteen output channels at one position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowSet {
    /// Channels `start .. start + 16`, as the packed weights hold them.
    Block { position: usize, start: usize },
    /// Chosen channels: only those that need a bound, or that have a cotangent.
    Chosen { position: usize, channels: Vec<u16> },
}

impl RowSet {
    /// The tiles of stage `index` for the channels of each position that `wanted` picks.
    ///
    /// Channels are compacted into fewer tiles where that saves one; whole blocks need no copying.
    pub fn tiles(net: &Net<'_>, index: usize, wanted: impl Fn(usize, usize) -> bool) -> Vec<RowSet> {
        let output = net.plan.stages[index].output;
        let mut sets = Vec::new();
        for position in 0..output.positions() {
            let blocks: Vec<usize> = (0..output.c)
                .step_by(WIDTH)
                .filter(|&start| (start..output.c.min(start + WIDTH)).any(|c| wanted(position, c)))
                .collect();
            if blocks.len() > 1 {
                let channels: Vec<u16> = (0..output.c).filter(|&c| wanted(position, c)).map(|c| c as u16).collect();
                if channels.len().div_ceil(WIDTH) < blocks.len() {
                    let chosen = channels.chunks(WIDTH).map(<[u16]>::to_vec);
                    sets.extend(chosen.map(|channels| RowSet::Chosen { position, channels }));
                    continue;
                }
            }
            sets.extend(blocks.into_iter().map(|start| RowSet::Block { position, start }));
        }
        sets
    }

    /// The tile's position.
    pub fn position(&self) -> usize {
        match self {
            RowSet::Block { position, .. } | RowSet::Chosen { position, .. } => *position,
        }
    }

    /// Calls `visit` with every (lane, channel).
    pub fn each(&self, channels: usize, mut visit: impl FnMut(usize, usize)) {
        match self {
            RowSet::Block { start, .. } => {
                (*start..channels.min(start + WIDTH)).for_each(|channel| visit(channel - start, channel));
            }
            RowSet::Chosen { channels, .. } => {
                channels.iter().enumerate().for_each(|(lane, &channel)| visit(lane, usize::from(channel)));
            }
        }
    }

    /// The tile; chosen rows are copied into `rows`.
    pub fn tile(&self, net: &Net<'_>, index: usize, rows: &mut Buffer) -> Tile {
        let stage = &net.plan.stages[index];
        let position = [self.position() / stage.output.w, self.position() % stage.output.w];
        let (stride, weights) = (padded(stage.output.c), &net.weights.signed[index].forward);
        match self {
            RowSet::Block { start, .. } => Tile { stage: index, position, rows: weights[*start..].as_ptr(), stride },
            RowSet::Chosen { channels, .. } => {
                let elements = stage.taps() * stage.input.c;
                let target = rows.at_least(elements * WIDTH);
                for e in 0..elements {
                    let target = &mut target[e * WIDTH..(e + 1) * WIDTH];
                    for (target, &channel) in target.iter_mut().zip(channels) {
                        *target = weights[e * stride + usize::from(channel)];
                    }
                    target[channels.len()..].fill(0.0);
                }
                Tile { stage: index, position, rows: rows.as_ptr(), stride: WIDTH }
            }
        }
    }

    /// Adds the cotangents of chosen rows (`[element][16]`) to the stage's gradient.
    pub fn scatter(&self, net: &Net<'_>, index: usize, cotangents: &[f32], sums: &mut StageGradient) {
        let RowSet::Chosen { channels, .. } = self else { return };
        let stage = &net.plan.stages[index];
        let stride = padded(stage.output.c);
        for e in 0..stage.taps() * stage.input.c {
            for (&g, &channel) in cotangents[e * WIDTH..(e + 1) * WIDTH].iter().zip(channels) {
                sums.signed[e * stride + usize::from(channel)] += g;
            }
        }
    }
}
