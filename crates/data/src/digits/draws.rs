//! Sequential draws from one counter-based stream.

use tightrope_noise::{Stream, box_muller};

/// A cursor over the words of one stream; every image has its own.
pub(super) struct Draws {
    stream: Stream,
    block: u32,
    words: [u32; 4],
    used: usize,
    spare: Option<f32>,
}

impl Draws {
    pub(super) fn new(stream: Stream) -> Self {
        Draws { stream, block: 0, words: [0; 4], used: 4, spare: None }
    }

    /// The next raw 32-bit word.
    pub(super) fn word(&mut self) -> u32 {
        if self.used == 4 {
            self.words = self.stream.words(self.block);
            self.block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// Uniform in [0, 1), 24 bits.
    pub(super) fn uniform(&mut self) -> f32 {
        (self.word() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in [low, high).
    pub(super) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// True with this probability.
    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.uniform() < probability
    }

    /// A uniform integer below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((u64::from(self.word()) * bound as u64) >> 32) as usize
    }

    /// Normal with mean 0 and this deviation, cut at two deviations so that no digit is torn apart.
    pub(super) fn normal(&mut self, deviation: f32) -> f32 {
        let value = match self.spare.take() {
            Some(value) => value,
            None => {
                let (value, spare) = box_muller(self.word(), self.word());
                self.spare = Some(spare);
                value
            }
        };
        value.clamp(-2.0, 2.0) * deviation
    }
}
