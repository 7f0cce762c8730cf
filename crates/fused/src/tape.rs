//! What taped calls leave behind for the adjoint.

use std::sync::Arc;

use tightrope_engine::{BoundRequest, EngineError, Region, Spec, Tape};
use tightrope_network::Network;

use crate::bound::scratch::{PacketTape, StageBounds};
use crate::clean::chunk::Activations;
use crate::interval::chunk::Interval;
use crate::normed::batch::BatchRecord;
use crate::scratch::Scratch;

/// Everything needed to bound again, unless passes are kept, and the bounds that walks found.
pub struct BoundRecord {
    pub region: Region<f32>,
    pub spec: Spec<f32>,
    pub request: BoundRequest,
    pub kept: Vec<Option<StageBounds>>,
    /// The interval passes of a batch that went from stage to stage as a whole, and the walks behind them.
    pub intervals: Vec<Interval>,
    pub packets: Vec<PacketTape>,
}

/// What a call recorded.
pub enum Record {
    /// Activations per chunk, and the batch.
    Clean {
        chunks: Vec<Activations>,
        batch: usize,
    },
    /// A pass on the batch's own statistics.
    Batch(BatchRecord),
    Bound(Box<BoundRecord>),
    /// A request left to the reference engine.
    Reference(Tape),
}

/// A record with the network it belongs to: the nodes' sizes and the length of θ.
pub struct FusedTape {
    signature: (Vec<usize>, usize),
    pub record: Record,
    scratch: Arc<Scratch>,
}

fn signature(network: &Network) -> (Vec<usize>, usize) {
    (network.nodes().iter().map(|node| node.len()).collect(), network.parameters().total())
}

impl FusedTape {
    /// A tape with what `record` says.
    pub fn tape(network: &Network, record: Record, scratch: &Arc<Scratch>) -> Tape {
        Tape(Box::new(FusedTape { signature: signature(network), record, scratch: Arc::clone(scratch) }))
    }

    /// The record in a tape of `network`.
    pub fn read<'a>(tape: &'a Tape, network: &Network) -> Result<&'a Record, EngineError> {
        let Some(tape) = tape.0.downcast_ref::<FusedTape>() else {
            return Err(EngineError::Usage("this tape was recorded by another engine or in another precision".into()));
        };
        if tape.signature != signature(network) {
            return Err(EngineError::Usage("this tape was recorded with another network; record it anew".into()));
        }
        Ok(&tape.record)
    }
}

impl Drop for FusedTape {
    /// Fresh memory costs more than a pass: a batch's maps serve the next batch.
    fn drop(&mut self) {
        match &mut self.record {
            Record::Clean { chunks, .. } => {
                chunks.drain(..).for_each(|chunk| self.scratch.clean.activations.give(chunk))
            }
            Record::Batch(record) => {
                record.chunks.drain(..).for_each(|chunk| self.scratch.normed.chunks.give(chunk));
            }
            Record::Bound(record) => {
                record.intervals.drain(..).for_each(|pass| self.scratch.bounds.intervals.give(pass));
                record.packets.drain(..).for_each(|packet| self.scratch.bounds.packets.give(packet));
                let signs = record.kept.drain(..).flatten().flat_map(|kept| kept.signs);
                signs.for_each(|signs| self.scratch.bounds.signs.give(signs));
            }
            Record::Reference(_) => {}
        }
    }
}
