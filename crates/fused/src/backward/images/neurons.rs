//! Back-substitution of the neurons of a narrow stage for a packet: sixteen images in lanes.
//!
//! The rows of a position with two channels fill two of sixteen lanes if rows lie in lanes. With images in lanes they fill
//! all, whatever the number of channels; in exchange a bound costs a vector, and a neuron is skipped only if it is inactive in
//! all sixteen images. The upper bound of a neuron is the negated lower bound of its negated row, so that a channel is two
//! lower bounds, walked like margins over the windows that the position sees.

use crate::backward::images::constants::{Constants, PLAIN};
use crate::backward::images::walk::{Coefficients, PacketWalk, Scene, TOGETHER, extremes, relax_channels};
use crate::net::geometry::Field;
use crate::net::plan::Window;
use crate::net::weights::padded;
use crate::simd::buffer::SLACK;
use crate::simd::lanes::{Lanes, WIDTH};

/// Channels `first ..` of one position of a stage.
#[derive(Clone, Copy)]
pub struct Neurons {
    pub stage: usize,
    pub position: [usize; 2],
    pub first: usize,
}

impl PacketWalk {
    /// Minima of the rows of VP / 2 channels and, after each, of its negation, without the stage's own bias.
    ///
    /// # Safety
    /// The machine has `S`; lines of all stages before and input of the scene are in place, and the channels exist.
    pub unsafe fn neurons<S: Lanes, const VP: usize>(
        &mut self,
        scene: Scene<'_>,
        neurons: Neurons,
        coefficients: &mut Coefficients,
    ) -> [[f32; WIDTH]; TOGETHER] {
        let net = scene.net;
        let stages = &net.plan.stages;
        let [y, x] = neurons.position;
        let mut window = Window { y, x, h: 1, w: 1 };
        self.windows.resize(neurons.stage.max(self.windows.len()), window);
        for below in (0..neurons.stage).rev() {
            window = stages[below + 1].input_window(window);
            self.windows[below] = window;
        }
        let pixel_window = stages[0].input_window(window);
        self.prepare(net, VP, pixel_window);
        let Coefficients { stages: kept, pixels } = coefficients;
        kept.resize_with(neurons.stage.max(kept.len()), Default::default);
        let len = pixel_window.positions() * stages[0].input.c * VP * WIDTH;
        pixels.at_least(len + SLACK)[..len].fill(0.0);
        let mut constants = Constants::zero();
        for index in (0..neurons.stage).rev() {
            let stage = &stages[index];
            let size = stage.output.c * VP * WIDTH;
            let window = self.windows[index];
            let (below, above) = kept.split_at_mut(index + 1);
            // Those of the first stage go on to the pixels at once.
            let places = if index > 0 { window.positions() } else { 1 };
            let base = below[index].at_least(places * size + SLACK).as_mut_ptr();
            let bias = &net.weights.signed[index].bias;
            let (mut sums, mut plain) = ([[0.0; WIDTH]; VP], 0);
            for place in 0..window.positions() {
                let [y, x] = [window.y + place / window.w, window.x + place % window.w];
                let position = y * stage.output.w + x;
                let live = scene.lines[index].live.at(position);
                // SAFETY: windows bound all places; lists name channels of the stage.
                unsafe {
                    let spot = if index > 0 { base.add(place * size) } else { base };
                    if index + 1 == neurons.stage {
                        S::run(|| load::<S, VP>(scene, neurons, [y, x], live, spot));
                    } else {
                        let above = Field { data: above[0].as_ptr(), window: self.windows[index + 1] };
                        self.transposed::<S, VP>(scene, index, [y, x], live, above, spot);
                    }
                    let line = scene.lines[index].line.as_ptr().add(position * stage.output.c * 2 * WIDTH);
                    S::run(|| relax::<S, VP>(line, bias, live, spot, &mut sums));
                    if index == 0 {
                        self.scatter::<S, VP>(scene, position, spot, pixels.as_mut_ptr(), pixel_window);
                    }
                }
                plain += live.len();
                if plain >= PLAIN || place + 1 == window.positions() {
                    // SAFETY: the machine is the caller's word.
                    unsafe { S::run(|| add::<S, VP>(&mut sums, &mut constants)) };
                    plain = 0;
                }
            }
        }
        // SAFETY: the pixels hold the window.
        unsafe { S::run(|| extremes::<S, VP>(scene, pixels.as_ptr(), pixel_window, &mut constants)) };
        constants.total()
    }
}

/// The rows' coefficients at one position of the stage below theirs, the same for all images.
#[inline(always)]
unsafe fn load<S: Lanes, const VP: usize>(
    scene: Scene<'_>,
    neurons: Neurons,
    [y, x]: [usize; 2],
    live: &[u16],
    spot: *mut f32,
) {
    let stage = &scene.net.plan.stages[neurons.stage];
    let taps = &scene.net.taps[neurons.stage];
    let tap = |axis: usize, place: usize| {
        let mut outputs = taps.outputs(stage, axis, place);
        outputs.find_map(|(output, tap)| (output == neurons.position[axis]).then_some(tap))
    };
    let (Some(ky), Some(kx)) = (tap(0, y), tap(1, x)) else { unreachable!("a window holds what its position reads") };
    let stride = padded(stage.input.c);
    let weights = scene.net.weights.signed[neurons.stage].transposed.as_ptr();
    // SAFETY: the tap, the channels and the rows exist.
    unsafe {
        let weights = weights.add(((ky * stage.kernel[1] + kx) * stage.output.c + neurons.first) * stride);
        for &channel in live {
            let channel = usize::from(channel);
            for row in 0..VP / 2 {
                let weight = S::splat(*weights.add(row * stride + channel));
                let place = spot.add((channel * VP + 2 * row) * WIDTH);
                S::store(place, weight);
                S::store(place.add(WIDTH), S::sub(S::zero(), weight));
            }
        }
    }
}

/// The relaxation at one position, in place; what the constants gain is added to `sums`.
#[inline(always)]
unsafe fn relax<S: Lanes, const VP: usize>(
    line: *const f32,
    bias: &[f32],
    live: &[u16],
    spot: *mut f32,
    sums: &mut [[f32; WIDTH]; VP],
) {
    // SAFETY: lists name channels of the position.
    unsafe {
        let mut own = [S::zero(); VP];
        for v in 0..VP {
            own[v] = S::load_any(sums[v].as_ptr());
        }
        relax_channels::<S, VP>(line, bias, live, spot, &mut own);
        for v in 0..VP {
            S::store_any(sums[v].as_mut_ptr(), own[v]);
        }
    }
}

/// Adds what was summed plainly to the constants.
#[inline(always)]
unsafe fn add<S: Lanes, const VP: usize>(sums: &mut [[f32; WIDTH]; VP], constants: &mut Constants) {
    // SAFETY: the machine is the caller's word.
    unsafe {
        let mut terms = [S::zero(); VP];
        for v in 0..VP {
            terms[v] = S::load_any(sums[v].as_ptr());
        }
        constants.add::<S, VP>(terms);
    }
    *sums = [[0.0; WIDTH]; VP];
}
