//! The numbers that passes over a batch hold at once, as the engines cut it.

use tightrope_engine::{Final, Intermediate, Relaxation};

use super::sizes::{LANES, Sizes};

/// Images in lanes of passes that fill them twice.
const WIDE: usize = 2 * LANES;
/// Chunks that pass large linear layers together.
const TOGETHER: usize = 8;
/// Chunks of walks, at most.
const CHUNKS: usize = 16;
/// Rows of coefficients that are walked at a time.
const ROWS: usize = 32;
/// Most coefficients that a margin's walk keeps of an image for its adjoint.
const KEPT: usize = 1 << 18;
/// Parameters from which on a batch's margins are divided among fewer parts.
const MANY: usize = 1 << 20;
/// Samples that the reference engine takes at a time.
const GROUP: usize = 16;
/// Coefficients that it walks at a time.
const CACHED: usize = 1 << 18;

/// Numbers in memory, of whatever precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Of the layers' values, in memory that the next pass takes over.
    pub shared: usize,
    /// All else.
    pub own: usize,
}

impl Numbers {
    /// One pass and then another.
    pub fn then(self, next: Numbers) -> Numbers {
        Numbers { shared: self.shared.max(next.shared), own: self.own.saturating_add(next.own) }
    }

    /// All of them.
    pub fn total(self) -> usize {
        self.shared.saturating_add(self.own)
    }
}

/// Images of whole chunks.
fn lanes(batch: usize) -> (usize, usize) {
    let chunk = if batch > LANES { WIDE } else { LANES };
    (batch.next_multiple_of(chunk), chunk)
}

impl Sizes {
    /// A pass without bounds over `batch` samples, with its adjoint if `taped`.
    pub fn clean(&self, batch: usize, taped: bool) -> Numbers {
        if !self.fused {
            return self.plain(batch, taped, 1);
        }
        let (images, chunk) = lanes(batch);
        match taped {
            true => {
                let sums = self.slots(images / chunk) * self.packed();
                Numbers { shared: 0, own: images * (self.read + self.widest) + sums }
            }
            false => Numbers { shared: 0, own: self.at_once(images, chunk) * self.read },
        }
    }

    /// Images whose values are there together where none are kept.
    fn at_once(&self, images: usize, chunk: usize) -> usize {
        let chunks = if self.dense > 0 { TOGETHER.max(self.threads) } else { self.threads };
        images.min(chunks * chunk)
    }

    /// Bounds of the margins of `batch` samples by `relaxation`, with their adjoint if `taped`.
    pub fn bounds(&self, relaxation: Relaxation, batch: usize, taped: bool) -> Numbers {
        match (self.fused, relaxation.last(), relaxation.intermediate()) {
            (false, Final::Interval, _) => self.plain(batch, taped, 2),
            (false, Final::Backward, Intermediate::Interval) => self.plain(batch, taped, 2),
            (
                false,
                Final::Backward,
                Intermediate::Backward | Intermediate::Intersection | Intermediate::BackwardIfUnstable,
            ) => self.plain_walks(batch, taped),
            (true, Final::Interval, _) => {
                let (images, chunk) = lanes(batch);
                self.intervals(images, chunk, taped)
            }
            (true, Final::Backward, Intermediate::Interval) => self.margins(batch, taped),
            (true, Final::Backward, Intermediate::Backward) => self.walks(batch, taped, false),
            (true, Final::Backward, Intermediate::Intersection | Intermediate::BackwardIfUnstable) => {
                self.walks(batch, taped, true)
            }
        }
    }

    /// Interval passes: centre and radius of what each layer reads; their adjoint has cotangents on both ends of all
    /// neurons and of the last activations.
    fn intervals(&self, images: usize, chunk: usize, taped: bool) -> Numbers {
        let live = if taped { images } else { self.at_once(images, chunk) };
        let pulled = match (taped, self.dense > 0) {
            (false, _) => 0,
            // Large layers take all chunks' cotangents together.
            (true, true) => images,
            (true, false) => images.min((self.threads + 1) * chunk),
        };
        let sums = if taped { 2 * self.slots(images / chunk) * self.packed() } else { 0 };
        Numbers { shared: live * 2 * self.read, own: pulled * 2 * (self.neurons + self.widest) + sums }
    }

    /// An interval pass, then the margins walked back sixteen images at a time.
    fn margins(&self, batch: usize, taped: bool) -> Numbers {
        let images = batch.next_multiple_of(LANES);
        let chunks = images / LANES;
        let later = self.neurons.saturating_sub(self.widest) + self.input;
        let walked = self.threads * LANES * self.classes * self.widest;
        let intervals = self.intervals(images, LANES, taped);
        if !taped {
            return Numbers { own: intervals.own + walked, ..intervals };
        }
        let kept = if later * self.classes <= KEPT { images * later * self.classes } else { 0 };
        let linear = images * self.classes * 2 * self.dense_read + self.dense * 3 / 2;
        let parts = self.parts(chunks, if self.parameters > MANY { 2 } else { 3 });
        let sums = 2 * self.slots(chunks) * (parts - 1) * self.packed();
        Numbers { own: intervals.own + kept + 2 * walked + linear + sums, ..intervals }
    }

    /// All layers' rows walked back, image by image; `whole` with an interval pass before.
    fn walks(&self, batch: usize, taped: bool, whole: bool) -> Numbers {
        let chunk = if batch >= TOGETHER * LANES { LANES } else { batch.div_ceil(CHUNKS).clamp(1, LANES) };
        let chunks = batch.div_ceil(chunk);
        let working = self.threads.min(chunks.max(1));
        let interval = if whole { 2 * (self.read + self.neurons) } else { 2 * (self.input + self.widest) };
        let rows = ROWS * self.neurons;
        let scratch = working * (rows + chunk * 4 * self.neurons + LANES * interval);
        if !taped {
            return Numbers { shared: 0, own: scratch };
        }
        let parts = self.parts(chunks, usize::MAX);
        let sums = 2 * self.slots(chunks) * parts * self.parameters;
        // Bounds that are kept with the signs of their walks, and what the adjoint makes of them.
        let kept = batch * 8 * self.neurons;
        Numbers { shared: 0, own: scratch + working * 3 * rows + kept + sums }
    }

    /// A pass of the reference engine, of `ends` values for each of a node's; nothing stays behind.
    fn plain(&self, batch: usize, taped: bool, ends: usize) -> Numbers {
        let working = batch.min(self.threads * GROUP) * (4 * ends - 2) * self.nodes;
        let kept = if taped { batch * ends * self.nodes } else { 0 };
        let sums = if taped { self.slots(batch.div_ceil(GROUP)) * ends * self.parameters } else { 0 };
        Numbers { shared: working + kept + sums, own: 0 }
    }

    /// Walks by the reference engine, of as many rows at a time as a cache holds.
    fn plain_walks(&self, batch: usize, taped: bool) -> Numbers {
        let kept = if taped { batch * 2 * self.nodes } else { 0 };
        let sums = if taped { self.threads * 2 * self.parameters } else { 0 };
        Numbers { shared: self.threads * 2 * CACHED + kept + sums, own: 0 }
    }
}
