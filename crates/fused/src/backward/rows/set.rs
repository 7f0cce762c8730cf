//! Which rows of a stage a walk takes together, and where their weights lie.

use crate::backward::rows::tile::Tile;
use crate::net::Net;
use crate::net::gradients::StageGradient;
use crate::net::weights::padded;
use crate::simd::buffer::Buffer;
use crate::simd::lanes::WIDTH;

/// Up to sixteen or thirty-two output channels at one position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowSet {
    /// Channels `start .. start + 16` (or 32 if `tall`), as the packed weights hold them.
    Block { position: usize, start: usize, tall: bool },
    /// Chosen channels: only those that need a bound, or that have a cotangent.
    Chosen { position: usize, channels: Vec<u16> },
}

impl RowSet {
    /// The tiles of stage `index`, of at most `groups` vectors of rows each, for the channels of each position
    /// that `wanted` picks.
    ///
    /// Channels are compacted into fewer vectors where that saves an eighth; whole blocks need no copying.
    pub fn tiles(net: &Net<'_>, index: usize, groups: usize, wanted: impl Fn(usize, usize) -> bool) -> Vec<RowSet> {
        let output = net.plan.stages[index].output;
        let most = groups * WIDTH;
        let mut sets = Vec::new();
        let mut channels = Vec::new();
        for position in 0..output.positions() {
            channels.clear();
            channels.extend((0..output.c).filter(|&c| wanted(position, c)).map(|c| c as u16));
            let touched = (0..output.c).step_by(WIDTH).filter(|&start| {
                let end = start + WIDTH;
                let from = channels.partition_point(|&c| usize::from(c) < start);
                channels.get(from).is_some_and(|&c| usize::from(c) < end)
            });
            if channels.len().div_ceil(WIDTH) * 8 <= touched.count() * 7 {
                let chosen = channels.chunks(most).map(<[u16]>::to_vec);
                sets.extend(chosen.map(|channels| RowSet::Chosen { position, channels }));
                continue;
            }
            let mut rest = channels.as_slice();
            while let Some(&first) = rest.first() {
                let start = usize::from(first) / WIDTH * WIDTH;
                let inside = rest.partition_point(|&c| usize::from(c) < start + most);
                let tall = usize::from(rest[inside - 1]) >= start + WIDTH;
                sets.push(RowSet::Block { position, start, tall });
                rest = &rest[inside..];
            }
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
            RowSet::Block { start, tall, .. } => {
                let rows = if *tall { 2 * WIDTH } else { WIDTH };
                (*start..channels.min(start + rows)).for_each(|channel| visit(channel - start, channel));
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
            RowSet::Block { start, tall, .. } => {
                Tile { stage: index, position, rows: weights[*start..].as_ptr(), stride, tall: *tall }
            }
            RowSet::Chosen { channels, .. } => {
                let elements = stage.taps() * stage.input.c;
                let width = self.width();
                let target = rows.at_least(elements * width);
                for e in 0..elements {
                    let target = &mut target[e * width..(e + 1) * width];
                    for (target, &channel) in target.iter_mut().zip(channels) {
                        *target = weights[e * stride + usize::from(channel)];
                    }
                    target[channels.len()..].fill(0.0);
                }
                Tile { stage: index, position, rows: rows.as_ptr(), stride: width, tall: width > WIDTH }
            }
        }
    }

    /// Lanes of the tile: 16 or 32.
    pub fn width(&self) -> usize {
        let tall = match self {
            RowSet::Block { tall, .. } => *tall,
            RowSet::Chosen { channels, .. } => channels.len() > WIDTH,
        };
        if tall { 2 * WIDTH } else { WIDTH }
    }

    /// Adds the cotangents of chosen rows (`[element][width]`) to the stage's gradient.
    pub fn scatter(&self, net: &Net<'_>, index: usize, cotangents: &[f32], sums: &mut StageGradient) {
        let RowSet::Chosen { channels, .. } = self else { return };
        let stage = &net.plan.stages[index];
        let (stride, width) = (padded(stage.output.c), self.width());
        for e in 0..stage.taps() * stage.input.c {
            for (&g, &channel) in cotangents[e * width..(e + 1) * width].iter().zip(channels) {
                sums.signed[e * stride + usize::from(channel)] += g;
            }
        }
    }
}
