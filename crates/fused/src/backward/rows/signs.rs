//! The signs of the input coefficients of an image's walks, kept for the adjoint in place of the coefficients.
//!
//! Over a box the cotangent of an input coefficient a is g·(x ∓ r·sign a), so that two bits per coefficient save the
//! adjoint the walk's dearest step, the last one.

use tightrope_engine::{Intermediate, Region, Relaxation};

use crate::backward::rows::set::RowSet;
use crate::backward::rows::tile::Sign;
use crate::net::plan::{Plan, Window};
use crate::simd::lanes::{Lanes, WIDTH};

/// Most signs per image; networks that have more walk to the pixels again.
const MOST: usize = 1 << 17;

/// Where the signs of each walk lie, stage by stage: `[position][vector of sixteen channels][element of the window]`.
pub struct SignLayout {
    stages: Vec<StageLayout>,
}

/// The first stage is not walked and has none, nor have the narrow ones, which are walked with images in lanes.
#[derive(Default)]
struct StageLayout {
    /// First sign of every position, and the end.
    starts: Vec<usize>,
    /// Vectors of channels.
    vectors: usize,
}

impl StageLayout {
    /// Elements of the window of a position's rows.
    fn elements(&self, position: usize) -> usize {
        (self.starts[position + 1] - self.starts[position]) / self.vectors
    }
}

impl SignLayout {
    /// The layout for walks of all rows of `plan` but those of its first `narrow` stages over boxes, unless it is too large.
    pub fn wanted(plan: &Plan, relaxation: Relaxation, region: &Region<f32>, narrow: usize) -> Option<Self> {
        let all_rows = match relaxation.intermediate() {
            Intermediate::Backward | Intermediate::Intersection => true,
            Intermediate::Interval | Intermediate::BackwardIfUnstable => false,
        };
        if !all_rows || region.ball.is_some() {
            return None;
        }
        let mut stages = Vec::new();
        stages.resize_with(narrow.max(1), StageLayout::default);
        let mut all = 0;
        for index in narrow.max(1)..plan.hidden() {
            let output = plan.stages[index].output;
            let mut stage = StageLayout { starts: vec![0], vectors: output.c.div_ceil(WIDTH) };
            let mut total = 0;
            for position in 0..output.positions() {
                total += stage.vectors * elements(plan, index, position);
                stage.starts.push(total);
            }
            all += total;
            stages.push(stage);
        }
        (all <= MOST).then_some(SignLayout { stages })
    }

    /// Makes room for all stages' signs; the walks write every one.
    pub fn make_room(&self, stages: &mut Vec<Vec<Sign>>) {
        stages.resize_with(self.stages.len(), Vec::new);
        for (signs, layout) in stages.iter_mut().zip(&self.stages) {
            signs.resize(layout.starts.last().copied().unwrap_or(0), Sign::default());
        }
    }

    /// `signs` of a stage divided among its tiles, which are whole blocks and cover it in order.
    pub fn divide<'a>(&self, index: usize, tiles: &[RowSet], mut signs: &'a mut [Sign]) -> Vec<&'a mut [Sign]> {
        let share = |tile: &RowSet| {
            let part = self.stages[index].elements(tile.position()) * tile.width() / WIDTH;
            let (part, rest) = std::mem::take(&mut signs).split_at_mut(part);
            signs = rest;
            part
        };
        tiles.iter().map(share).collect()
    }

    /// The signs of the rows of `set`, `[vector][element]`: where they lie, or chosen ones in `target`.
    ///
    /// # Safety
    /// The machine has `S`.
    pub unsafe fn collect<'a, S: Lanes>(
        &self,
        index: usize,
        set: &RowSet,
        signs: &'a [Sign],
        target: &'a mut Vec<Sign>,
    ) -> &'a [Sign] {
        let (position, stage) = (set.position(), &self.stages[index]);
        let (signs, elements) = (&signs[stage.starts[position]..stage.starts[position + 1]], stage.elements(position));
        let channels = match set {
            RowSet::Block { start, .. } => {
                return &signs[start / WIDTH * elements..(start + set.width()) / WIDTH * elements];
            }
            RowSet::Chosen { channels, .. } => channels,
        };
        target.clear();
        for rows in channels.chunks(WIDTH) {
            let begin = target.len();
            target.resize(begin + elements, Sign::default());
            let target = &mut target[begin..];
            // The rows come from one or more vectors of channels, in order.
            let (mut rest, mut lane) = (rows, 0);
            while let Some(&first) = rest.first() {
                let vector = usize::from(first) / WIDTH;
                let here = rest.partition_point(|&c| usize::from(c) / WIDTH == vector);
                let mask = rest[..here].iter().fold(0_u16, |mask, &c| mask | 1 << (usize::from(c) % WIDTH));
                let source = &signs[vector * elements..][..elements];
                // SAFETY: the machine is the caller's word.
                unsafe {
                    S::run(|| {
                        for (target, source) in target.iter_mut().zip(source) {
                            for (target, &word) in target.iter_mut().zip(source) {
                                *target |= S::extract(word, mask) << lane;
                            }
                        }
                    });
                }
                lane += here;
                rest = &rest[here..];
            }
        }
        // A tall tile has two vectors even if its rows fill one.
        target.resize(set.width() / WIDTH * elements, Sign::default());
        target
    }
}

/// Input elements that the rows at a position of stage `index` reach.
fn elements(plan: &Plan, index: usize, position: usize) -> usize {
    let width = plan.stages[index].output.w;
    let mut window = Window { y: position / width, x: position % width, h: 1, w: 1 };
    for stage in plan.stages[..=index].iter().rev() {
        window = stage.input_window(window);
    }
    window.positions() * plan.stages[0].input.c
}
