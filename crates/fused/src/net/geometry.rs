//! Which taps connect which positions: segments for the micro-kernels, and ranges for weight gradients.

use crate::kernels::gather::Segment;
use crate::net::plan::{Stage, Window};
use crate::net::taps::Taps;
use crate::simd::lanes::WIDTH;

/// Channels that matter, position by position; unstable ones first.
#[derive(Default)]
pub struct Live {
    /// Channels per position.
    pub channels: usize,
    /// `[position][channels]`: unstable channels, then stably active ones; the rest is unused.
    pub list: Vec<u16>,
    /// Unstable channels per position.
    pub unstable: Vec<u16>,
    /// Unstable and active channels per position.
    pub count: Vec<u16>,
}

impl Live {
    /// The live channels at a position.
    pub fn at(&self, position: usize) -> &[u16] {
        &self.list[position * self.channels..][..usize::from(self.count[position])]
    }

    /// The unstable channels at a position.
    pub fn unstable_at(&self, position: usize) -> &[u16] {
        &self.list[position * self.channels..][..usize::from(self.unstable[position])]
    }
}

/// Which input channels a sum runs over.
#[derive(Clone, Copy)]
pub enum Inputs<'a> {
    /// All of them; the slice is 0, 1, 2, … for at least a row of taps.
    All(&'a [u16]),
    /// The live ones, all vectors of each.
    Live(&'a Live),
    /// The live ones; where a position of the field is not spread, stably active ones have only the first half of their
    /// vectors (the Q plane is zero).
    Spread(&'a Live, &'a [bool]),
}

/// A feature map in memory: the part `window`, `[position][channel][vp][16]`.
#[derive(Clone, Copy)]
pub struct Field {
    pub data: *const f32,
    pub window: Window,
}

/// `place` is the position in the field, `position` that in the map, both of which must exist.
#[inline(always)]
unsafe fn segment(
    inputs: Inputs<'_>,
    [place, position]: [usize; 2],
    field: *const f32,
    weight: *const f32,
    channels: usize,
) -> Segment {
    let live = match inputs {
        Inputs::All(list) => return Segment { input: field, weight, list: list.as_ptr(), full: channels, half: 0 },
        Inputs::Live(live) | Inputs::Spread(live, _) => live,
    };
    // SAFETY: the caller's position.
    unsafe {
        let list = live.list.as_ptr().add(position * live.channels);
        let count = usize::from(*live.count.get_unchecked(position));
        let full = match inputs {
            Inputs::Spread(_, spread) if !spread.get_unchecked(place) => {
                usize::from(*live.unstable.get_unchecked(position))
            }
            _ => count,
        };
        Segment { input: field, weight, list, full, half: count - full }
    }
}

/// Segments of output (`y`, `x`) of the layer itself; `tap` lies between the weights of two taps, `weight` being
/// `[tap][c_in][c_out padded]`, or, for live inputs, `[tap][c_out][c_in padded]`.
///
/// The field must hold everything the output reads inside the map.
pub fn apply_segments(
    stage: &Stage,
    weight: *const f32,
    tap: usize,
    input: Field,
    vp: usize,
    [y, x]: [usize; 2],
    inputs: Inputs<'_>,
    segments: &mut Vec<Segment>,
) {
    segments.clear();
    let side = stage.input_side();
    let offset = stage.offset();
    let channels = stage.input.c;
    let [kh, kw] = stage.kernel;
    let reach = |start: usize, axis: usize, step: usize| {
        (start * stage.stride[axis] + step * stage.dilation[axis])
            .checked_sub(offset[axis])
            .filter(|&place| place < side[axis])
    };
    let place = |qy: usize, qx: usize| (qy - input.window.y) * input.window.w + (qx - input.window.x);
    let merged = stage.dilation[1] == 1 && matches!(inputs, Inputs::All(_));
    for ky in 0..kh {
        let Some(qy) = reach(y, 0, ky) else { continue };
        if merged {
            // A row of taps reads consecutive positions, and its weights are consecutive too.
            let first = offset[1].saturating_sub(x * stage.stride[1]).min(kw);
            let last = (side[1] + offset[1]).saturating_sub(x * stage.stride[1]).min(kw);
            if first < last {
                let qx = x * stage.stride[1] + first - offset[1];
                // SAFETY: the field holds what the output reads.
                unsafe {
                    let data = input.data.add(place(qy, qx) * channels * vp * WIDTH);
                    let weight = weight.add((ky * kw + first) * tap);
                    segments.push(segment(inputs, [0, 0], data, weight, channels * (last - first)));
                }
            }
            continue;
        }
        for kx in 0..kw {
            let Some(qx) = reach(x, 1, kx) else { continue };
            let place = place(qy, qx);
            // SAFETY: as above.
            unsafe {
                let data = input.data.add(place * channels * vp * WIDTH);
                let weight = weight.add((ky * kw + kx) * tap);
                segments.push(segment(inputs, [place, qy * side[1] + qx], data, weight, channels));
            }
        }
    }
}

/// Segments of input (`y`, `x`) of the layer's transpose; `weight` is `[tap][c_out][stride]`.
///
/// `output` holds a window of the outputs; those outside it are taken as zero. Not for first stages.
pub fn transpose_segments(
    stage: &Stage,
    taps: &Taps,
    weight: *const f32,
    stride: usize,
    output: Field,
    vp: usize,
    [y, x]: [usize; 2],
    inputs: Inputs<'_>,
    segments: &mut Vec<Segment>,
) {
    segments.clear();
    let channels = stage.output.c;
    let window = output.window;
    for (py, ky) in taps.outputs(stage, 0, y) {
        if py < window.y || py >= window.y + window.h {
            continue;
        }
        let (places, positions, row) = ((py - window.y) * window.w, py * stage.output.w, ky * stage.kernel[1]);
        for (px, kx) in taps.outputs(stage, 1, x) {
            if px < window.x || px >= window.x + window.w {
                continue;
            }
            let (place, tap) = (places + px - window.x, row + kx);
            // SAFETY: the place lies in the window that the field holds, the position in the map.
            unsafe {
                let data = output.data.add(place * channels * vp * WIDTH);
                let weight = weight.add(tap * channels * stride);
                segments.push(segment(inputs, [place, positions + px], data, weight, channels));
            }
        }
    }
}

/// The outputs inside `outputs` for which one tap reads inside `inputs`, along one axis, relative to
/// the windows: (first output, count, its input).
pub fn tap_range(
    stage: &Stage,
    axis: usize,
    tap: usize,
    (out_start, out_count): (usize, usize),
    (in_start, in_count): (usize, usize),
) -> (usize, usize, usize) {
    let offset = stage.offset()[axis];
    let read = |p: usize| (out_start + p) * stage.stride[axis] + tap * stage.dilation[axis];
    let inside = |p: usize| read(p) >= in_start + offset && read(p) < in_start + in_count + offset;
    let first = (0..out_count).find(|&p| inside(p)).unwrap_or(out_count);
    let count = (first..out_count).take_while(|&p| inside(p)).count();
    (first, count, if count == 0 { 0 } else { read(first) - offset - in_start })
}

/// Place of every output of a first stage's patch relative to the patch's corner, in positions times channels.
pub fn patch_offsets(stage: &Stage, row: usize) -> Vec<u32> {
    let mut offsets = Vec::with_capacity(stage.taps() * stage.input.c);
    for ky in 0..stage.kernel[0] {
        for kx in 0..stage.kernel[1] {
            let position = ky * stage.dilation[0] * row + kx * stage.dilation[1];
            offsets.extend((0..stage.input.c).map(|i| (position * stage.input.c + i) as u32));
        }
    }
    offsets
}
