//! The sums of walks over whole maps, tabulated once for all tiles of an image.
//!
//! Rows of a dense layer reach every position of every map, so that all their tiles sum over the same places and live
//! channels: only the coefficients differ. A table of terms spares each tile the segments, and the kernel the end of every
//! segment's loop, which is mispredicted more often than not because the lists differ in length.

use crate::backward::rows::lines::Lines;
use crate::kernels::gather::{Segment, Term, Terms};
use crate::net::Net;
use crate::net::geometry::{Field, Inputs, apply_segments, transpose_segments};
use crate::net::plan::Window;
use crate::net::weights::padded;
use crate::simd::lanes::WIDTH;

/// Most terms of a table: a megabyte. Where there are more, a sum is long enough not to need one.
const MOST: usize = 1 << 18;

/// True if so many terms are worth a table, and it can name that many channels of the field and vectors of the weights.
fn fits(terms: usize, field: usize, weights: usize) -> bool {
    terms <= MOST && field.max(weights) <= 1 << 16
}

/// Sums at all positions of one map.
#[derive(Default)]
struct Table {
    terms: Vec<Term>,
    /// Per position: its first term, its first half term (see [`Segment::half`]).
    starts: Vec<[u32; 2]>,
    /// True if there would be too many terms.
    refused: bool,
}

impl Table {
    /// Appends the sum of the next position.
    ///
    /// # Safety
    /// The segments' lists are valid, and their pointers lie behind `field` and `weight`.
    unsafe fn push(&mut self, segments: &[Segment], pitch: usize, [field, weight]: [*const f32; 2], stride: usize) {
        let start = self.terms.len() as u32;
        let mut half = start;
        for part in 0..2 {
            for segment in segments {
                // SAFETY: the caller's word.
                unsafe {
                    let (input, row) = (segment.input.offset_from(field), segment.weight.offset_from(weight));
                    let range = if part == 0 { 0..segment.full } else { segment.full..segment.full + segment.half };
                    for i in range {
                        let channel = usize::from(*segment.list.add(i));
                        let place = input as usize / (pitch * WIDTH) + channel;
                        let Some(term) = Term::new(place, (row as usize + channel * stride) / WIDTH) else {
                            unreachable!("`fits` knows the largest")
                        };
                        self.terms.push(term);
                    }
                }
            }
            if part == 0 {
                half = self.terms.len() as u32;
            }
        }
        self.starts.push([start, half]);
    }

    fn at(&self, position: usize, input: *const f32, weight: *const f32) -> Terms<'_> {
        let [start, half] = self.starts[position].map(|n| n as usize);
        let end = self.starts.get(position + 1).map_or(self.terms.len(), |next| next[0] as usize);
        Terms { input, weight, full: &self.terms[start..half], half: &self.terms[half..end] }
    }
}

/// Tables of one image and width of tile; empty until they are wanted.
#[derive(Default)]
pub struct WholeMaps {
    /// Planes times vectors that the tables are for; 0 for none.
    pitch: usize,
    /// Per stage, the transposed stage above it.
    down: Vec<Table>,
    /// Per stage, the stage itself.
    up: Vec<Table>,
}

impl WholeMaps {
    /// Forgets all tables; from now on they are for tiles of so many planes times vectors, with the same lines.
    pub fn start(&mut self, pitch: usize) {
        self.stop();
        self.pitch = pitch;
    }

    /// Forgets all tables, which are not wanted any more: the lines will change.
    pub fn stop(&mut self) {
        self.pitch = 0;
        for table in self.down.iter_mut().chain(&mut self.up) {
            table.terms.clear();
            table.starts.clear();
            table.refused = false;
        }
    }

    /// True if tiles with these windows and so many planes times vectors use tables.
    pub fn serve(&self, net: &Net<'_>, windows: &[Window], pitch: usize) -> bool {
        let stages = net.plan.stages.iter().zip(windows);
        self.pitch == pitch && stages.into_iter().all(|(stage, window)| *window == Window::all(stage.output))
    }

    /// Makes sure of the table for the transposed stage above `index`, whose output lies at `field`; false if there is none.
    ///
    /// # Safety
    /// The field holds the whole map.
    pub unsafe fn prepare_down(
        &mut self,
        net: &Net<'_>,
        lines: &[Lines],
        index: usize,
        field: *const f32,
        spread: &[bool],
        segments: &mut Vec<Segment>,
    ) -> bool {
        let stage = &net.plan.stages[index + 1];
        self.down.resize_with(net.plan.stages.len(), Table::default);
        let table = &mut self.down[index];
        if !table.starts.is_empty() || table.refused {
            return !table.refused;
        }
        let terms = stage.output.len() * stage.taps();
        let weights = stage.taps() * stage.output.c * padded(stage.input.c) / WIDTH;
        if !fits(terms, stage.output.len(), weights) {
            table.refused = true;
            return false;
        }
        let stride = padded(stage.input.c);
        let weight = net.weights.signed[index + 1].transposed.as_ptr();
        let output = Field { data: field, window: Window::all(stage.output) };
        let inputs = Inputs::Spread(&lines[index + 1].live, spread);
        let taps = &net.taps[index + 1];
        for y in 0..stage.input.h {
            for x in 0..stage.input.w {
                transpose_segments(stage, taps, weight, stride, output, self.pitch, [y, x], inputs, segments);
                // SAFETY: the segments were just made from these.
                unsafe { table.push(segments, self.pitch, [field, weight], stride) };
            }
        }
        true
    }

    /// Makes sure of the table for stage `index` itself, whose input lies at `field`; false if there is none.
    ///
    /// # Safety
    /// The field holds the whole map.
    pub unsafe fn prepare_up(
        &mut self,
        net: &Net<'_>,
        lines: &[Lines],
        index: usize,
        field: *const f32,
        segments: &mut Vec<Segment>,
    ) -> bool {
        let stage = &net.plan.stages[index];
        self.up.resize_with(net.plan.stages.len(), Table::default);
        let table = &mut self.up[index];
        if !table.starts.is_empty() || table.refused {
            return !table.refused;
        }
        // The first stage reads rows of pixels, in long segments all alike.
        let terms = stage.output.positions() * stage.taps() * stage.input.c;
        let weights = stage.taps() * stage.input.c * padded(stage.output.c) / WIDTH;
        if index == 0 || !fits(terms, stage.input.len(), weights) {
            table.refused = true;
            return false;
        }
        let stride = padded(stage.output.c);
        let weight = net.weights.signed[index].forward.as_ptr();
        let input = Field { data: field, window: Window::all(stage.input) };
        let inputs = Inputs::Live(&lines[index - 1].live);
        for y in 0..stage.output.h {
            for x in 0..stage.output.w {
                apply_segments(stage, weight, stage.input.c * stride, input, self.pitch, [y, x], inputs, segments);
                // SAFETY: the segments were just made from these.
                unsafe { table.push(segments, self.pitch, [field, weight], stride) };
            }
        }
        true
    }

    /// The sum of the transposed stage above `index` at a position of its input.
    pub fn down(&self, index: usize, position: usize, input: *const f32, weight: *const f32) -> Terms<'_> {
        self.down[index].at(position, input, weight)
    }

    /// The sum of stage `index` at a position of its output.
    pub fn up(&self, index: usize, position: usize, input: *const f32, weight: *const f32) -> Terms<'_> {
        self.up[index].at(position, input, weight)
    }
}
