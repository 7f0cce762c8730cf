//! Products of two factors in every domain: values, interval image and lines, with adjoints.
//!
//! For x in [l, u] and y in [l', u'] with middles m, m′ and radii r, r′ the product is x·y = m′·x + m·y − m·m′ + (x − m)(y − m′),
//! where the last term is between −r·r′ and r·r′. The planes with these two constants are the means of McCormick's two lower
//! and of his two upper ones: as tight on average, twice as tight where they are worst, and parallel. Constant lines are the
//! least and the largest of the products of the ends.

use crate::reference::Pair;
use crate::{LowerSlope, Real};

/// What one product node computes: the elements of the first half of its input times those of the second.
#[derive(Debug)]
pub struct Product {
    /// Elements of each half.
    half: usize,
}

/// Lines of one product node for some sets of bounds, `[sets, outputs]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProductLines<T> {
    /// Outputs of the node, half as many as inputs.
    outputs: usize,
    planes: Vec<Plane<T>>,
    /// What is between them.
    rooms: Vec<Room<T>>,
    /// Whether both planes of each output are the one in their middle.
    centred: bool,
}

/// Two parallel planes x·slopes\[0\] + y·slopes\[1\] + constant, below and above x·y.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Plane<T> {
    slopes: [T; 2],
    floor: T,
    ceiling: T,
}

/// What is between the planes of one output.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Room<T> {
    /// The wider factor: 0 or 1.
    wider: usize,
    /// Height between the planes; 0 where one of the factors is known.
    gap: T,
}

/// Bounds of both factors.
#[derive(Clone, Copy)]
struct Factors<T> {
    lower: [T; 2],
    upper: [T; 2],
}

/// Units of rounding of |x|·|y| that planes give way by: more than the roundings of slopes, constants and their products.
const ROUNDINGS: f64 = 16.0;

impl<T: Real> Factors<T> {
    /// max |x| and max |y|.
    fn magnitudes(self) -> [T; 2] {
        [0, 1].map(|i| self.lower[i].abs().max(self.upper[i].abs()))
    }

    fn middles(self) -> [T; 2] {
        [0, 1].map(|i| self.lower[i] + (self.upper[i] - self.lower[i]) * T::from_f64(0.5))
    }

    fn radii(self) -> [T; 2] {
        [0, 1].map(|i| ((self.upper[i] - self.lower[i]) * T::from_f64(0.5)).max(T::ZERO))
    }

    fn room(self) -> Room<T> {
        let [r, s] = self.radii();
        Room { wider: usize::from(s > r), gap: T::from_f64(2.0) * r * s }
    }

    /// The products of the ends: of lower and lower, lower and upper, upper and lower, upper and upper.
    fn corners(self) -> [T; 4] {
        let ([l, m], [u, v]) = (self.lower, self.upper);
        [l * m, l * v, u * m, u * v]
    }

    /// Which of the corners are the least and the largest; none if one is not a number.
    fn extremes(self) -> Option<[usize; 2]> {
        let corners = self.corners();
        if corners.iter().any(|corner| corner.partial_cmp(corner).is_none()) {
            return None;
        }
        let (mut least, mut largest) = (0, 0);
        for i in 1..4 {
            if corners[i] < corners[least] {
                least = i;
            }
            if corners[i] > corners[largest] {
                largest = i;
            }
        }
        Some([least, largest])
    }

    /// The least and the largest product; NaN if one is not a number.
    fn image(self) -> (T, T) {
        match self.extremes() {
            Some([least, largest]) => (self.corners()[least], self.corners()[largest]),
            None => (T::NAN, T::NAN),
        }
    }

    /// Adds the cotangents of the image to `g_lower` and `g_upper`, those of both factors' bounds.
    fn image_adjoint(self, (g_low, g_high): (T, T), g_lower: &mut [T; 2], g_upper: &mut [T; 2]) {
        let Some(extremes) = self.extremes() else { return };
        for (corner, g) in extremes.into_iter().zip([g_low, g_high]).filter(|(_, g)| *g != T::ZERO) {
            // Bit 1 says whether the first factor is at its upper end, bit 0 whether the second is.
            let is_upper = [corner >= 2, corner % 2 == 1];
            let ends = [0, 1].map(|i| if is_upper[i] { self.upper[i] } else { self.lower[i] });
            for i in 0..2 {
                let target = if is_upper[i] { &mut g_upper[i] } else { &mut g_lower[i] };
                *target += ends[1 - i] * g;
            }
        }
    }

    /// The planes; with NaN where a bound is not finite, so that bounds which overflowed do not pass for others.
    fn plane(self, rule: LowerSlope) -> Plane<T> {
        let ([m, n], [r, s]) = (self.middles(), self.radii());
        let plane = match rule {
            LowerSlope::Adaptive | LowerSlope::Parallel => {
                Plane { slopes: [n, m], floor: -(m * n) - r * s, ceiling: r * s - m * n }
            }
            LowerSlope::Constant => {
                let (floor, ceiling) = self.image();
                Plane { slopes: [T::ZERO; 2], floor, ceiling }
            }
        };
        let [x, y] = self.magnitudes();
        let margin = T::from_f64(ROUNDINGS) * T::EPSILON * (x * y) + T::MIN_POSITIVE;
        let plane = Plane { floor: plane.floor - margin, ceiling: plane.ceiling + margin, ..plane };
        if plane.floor.is_finite() && plane.ceiling.is_finite() && (r + s).is_finite() {
            plane
        } else {
            Plane { slopes: [T::NAN; 2], floor: T::NAN, ceiling: T::NAN }
        }
    }

    /// Adds the cotangents `g` of the planes to `g_lower` and `g_upper`, those of both factors' bounds.
    fn plane_adjoint(self, rule: LowerSlope, g: Plane<T>, g_lower: &mut [T; 2], g_upper: &mut [T; 2]) {
        match rule {
            LowerSlope::Adaptive | LowerSlope::Parallel => {
                let (middles, radii, half) = (self.middles(), self.radii(), T::from_f64(0.5));
                let (on_product, on_room) = (-(g.floor + g.ceiling), g.ceiling - g.floor);
                for i in 0..2 {
                    let on_middle = g.slopes[1 - i] + middles[1 - i] * on_product;
                    let on_radius = radii[1 - i] * on_room;
                    g_lower[i] += half * (on_middle - on_radius);
                    g_upper[i] += half * (on_middle + on_radius);
                }
            }
            LowerSlope::Constant => self.image_adjoint((g.floor, g.ceiling), g_lower, g_upper),
        }
    }
}

/// The product of the magnitudes of both factors.
fn reach<T: Real>(factors: Factors<T>) -> T {
    let [x, y] = factors.magnitudes();
    x * y
}

impl Product {
    pub(crate) fn new(outputs: usize) -> Self {
        Product { half: outputs }
    }

    /// The positions in a batch `[batch, 2·half]` of both factors of each output.
    fn places(&self, elements: usize) -> impl Iterator<Item = [usize; 2]> + use<> {
        let half = self.half;
        (0..elements).step_by(2 * half).flat_map(move |start| (start..start + half).map(move |x| [x, x + half]))
    }

    fn factors<'a, T: Real>(&self, lower: &'a [T], upper: &'a [T]) -> impl Iterator<Item = Factors<T>> + use<'a, T> {
        let of = |places: [usize; 2]| Factors { lower: places.map(|i| lower[i]), upper: places.map(|i| upper[i]) };
        self.places(lower.len()).map(of)
    }

    /// x·y of each output; `x` is `[batch, n]`.
    pub(crate) fn values<T: Real>(&self, x: &[T]) -> Vec<T> {
        self.places(x.len()).map(|[a, b]| x[a] * x[b]).collect()
    }

    /// The adjoint of [`Product::values`] at `x`: adds to `target`; where the cotangent is 0 nothing passes.
    pub(crate) fn pull_back<T: Real>(&self, x: &[T], g: &[T], target: &mut [T]) {
        for ([a, b], &g) in self.places(x.len()).zip(g).filter(|(_, g)| **g != T::ZERO) {
            target[a] += x[b] * g;
            target[b] += x[a] * g;
        }
    }

    /// The least and the largest values for bounds `[batch, n]`.
    pub(crate) fn images<T: Real>(&self, lower: &[T], upper: &[T]) -> (Vec<T>, Vec<T>) {
        self.factors(lower, upper).map(Factors::image).unzip()
    }

    /// The adjoint of [`Product::images`]: adds to the cotangents of the bounds.
    pub(crate) fn pull_back_images<T: Real>(&self, known: &Pair<T>, g: &Pair<T>, target: &mut Pair<T>) {
        let all = self.places(known.lower.len()).zip(self.factors(&known.lower, &known.upper));
        for ((places, factors), (&low, &high)) in all.zip(g.lower.iter().zip(&g.upper)) {
            let (mut on_lower, mut on_upper) = ([T::ZERO; 2], [T::ZERO; 2]);
            factors.image_adjoint((low, high), &mut on_lower, &mut on_upper);
            for (i, place) in places.into_iter().enumerate() {
                target.lower[place] += on_lower[i];
                target.upper[place] += on_upper[i];
            }
        }
    }

    /// max |x|·max |y| for bounds `[batch, n]`: of that size are values, the parts of planes and their constants.
    pub(crate) fn reaches<T: Real>(&self, lower: &[T], upper: &[T]) -> Vec<T> {
        self.factors(lower, upper).map(reach).collect()
    }

    /// The lines for bounds `[n]` of one sample's inputs.
    pub(crate) fn lines<T: Real>(&self, lower: &[T], upper: &[T], rule: LowerSlope) -> ProductLines<T> {
        let planes = self.factors(lower, upper).map(|factors| factors.plane(rule)).collect();
        let rooms = self.factors(lower, upper).map(Factors::room).collect();
        ProductLines { outputs: self.half, planes, rooms, centred: false }
    }

    /// Appends the lines for one more set of bounds `[n]`: infinite constants where they are not finite.
    pub(crate) fn extend<T: Real>(&self, lines: &mut ProductLines<T>, lower: &[T], upper: &[T]) {
        lines.outputs = self.half;
        lines.rooms.extend(self.factors(lower, upper).map(Factors::room));
        lines.planes.extend(self.factors(lower, upper).map(|factors| {
            let plane = factors.plane(LowerSlope::Adaptive);
            match plane.floor.is_finite() {
                true => plane,
                false => Plane { slopes: [T::ZERO; 2], floor: -T::INFINITY, ceiling: T::INFINITY },
            }
        }));
    }

    /// The adjoint of [`Product::lines`] for the cotangents `g` of planes: adds to those of the bounds `known` of one sample.
    fn lines_adjoint<T: Real>(&self, known: &Pair<T>, rule: LowerSlope, g: &[Plane<T>], bounds: &mut Pair<T>) {
        let all = self.places(known.lower.len()).zip(self.factors(&known.lower, &known.upper));
        for ((places, factors), &g) in all.zip(g) {
            let (mut on_lower, mut on_upper) = ([T::ZERO; 2], [T::ZERO; 2]);
            factors.plane_adjoint(rule, g, &mut on_lower, &mut on_upper);
            for (i, place) in places.into_iter().enumerate() {
                bounds.lower[place] += on_lower[i];
                bounds.upper[place] += on_upper[i];
            }
        }
    }
}

impl<T: Real> Plane<T> {
    const ZERO: Self = Plane { slopes: [T::ZERO; 2], floor: T::ZERO, ceiling: T::ZERO };

    /// The constant that a coefficient of this sign takes.
    fn constant(self, is_negative: bool, centred: bool) -> T {
        match (centred, is_negative) {
            (true, _) => (self.floor + self.ceiling) * T::from_f64(0.5),
            (false, true) => self.ceiling,
            (false, false) => self.floor,
        }
    }

    /// Adds a cotangent of that constant.
    fn add_on_constant(&mut self, is_negative: bool, centred: bool, g: T) {
        match (centred, is_negative) {
            (true, _) => {
                self.floor += g * T::from_f64(0.5);
                self.ceiling += g * T::from_f64(0.5);
            }
            (false, true) => self.ceiling += g,
            (false, false) => self.floor += g,
        }
    }
}

impl<T: Real> ProductLines<T> {
    /// Coefficients on the outputs to coefficients on the inputs, for lower bounds: a positive coefficient takes the lower
    /// plane, a negative one the upper plane. `set_of` says which set a row uses.
    pub(crate) fn substitute(&self, rows: &[T], constants: &mut [T], set_of: impl Fn(usize) -> usize) -> Vec<T> {
        let n = self.outputs;
        let mut result = vec![T::ZERO; 2 * rows.len()];
        for (index, ((row, target), constant)) in
            rows.chunks_exact(n).zip(result.chunks_exact_mut(2 * n)).zip(constants).enumerate()
        {
            let planes = &self.planes[set_of(index) * n..][..n];
            let (first, second) = target.split_at_mut(n);
            for (i, (&a, plane)) in row.iter().zip(planes).enumerate().filter(|(_, (a, _))| **a != T::ZERO) {
                first[i] = a * plane.slopes[0];
                second[i] = a * plane.slopes[1];
                *constant += a * plane.constant(a < T::ZERO, self.centred);
            }
        }
        result
    }

    /// The values that the planes chosen by the coefficients `row` of set `set` give for the inputs `z`.
    pub(crate) fn relaxed(&self, set: usize, row: &[T], z: &[T], values: &mut [T]) {
        let n = self.outputs;
        let planes = &self.planes[set * n..][..n];
        for (i, (value, (&a, plane))) in values.iter_mut().zip(row.iter().zip(planes)).enumerate() {
            let slopes = plane.slopes[0] * z[i] + plane.slopes[1] * z[n + i];
            *value = slopes + plane.constant(a < T::ZERO, self.centred);
        }
    }

    /// Of output `o` of a set the wider factor, as an input of the node, and the height between the planes; none where the
    /// product is a plane.
    pub fn open(&self, set: usize, o: usize) -> Option<(usize, T)> {
        let Room { wider, gap } = self.rooms[set * self.outputs + o];
        (gap > T::ZERO).then_some((wider * self.outputs + o, gap))
    }

    /// The adjoint of [`ProductLines::substitute`] for `rows`: from `g_inputs` on its result and `g_constants` to the
    /// cotangents of `rows`; adds those of the bounds `known` of the inputs to `bounds`.
    pub(crate) fn adjoint(
        &self,
        product: &Product,
        rule: LowerSlope,
        rows: &[T],
        (g_inputs, g_constants): (&[T], &[T]),
        (known, bounds): (&Pair<T>, &mut Pair<T>),
    ) -> Vec<T> {
        let n = self.outputs;
        let mut on_planes = vec![Plane::ZERO; n];
        let mut result = Vec::with_capacity(rows.len());
        for ((row, g_row), &g_constant) in rows.chunks_exact(n).zip(g_inputs.chunks_exact(2 * n)).zip(g_constants) {
            for (i, (&a, plane)) in row.iter().zip(&self.planes).enumerate() {
                let (on_first, on_second) = (g_row[i], g_row[n + i]);
                let constant = plane.constant(a < T::ZERO, self.centred);
                result.push(plane.slopes[0] * on_first + plane.slopes[1] * on_second + constant * g_constant);
                on_planes[i].slopes[0] += a * on_first;
                on_planes[i].slopes[1] += a * on_second;
                on_planes[i].add_on_constant(a < T::ZERO, self.centred, a * g_constant);
            }
        }
        product.lines_adjoint(known, rule, &on_planes, bounds);
        result
    }

    /// Replaces both planes by the one in their middle.
    pub(crate) fn centre(&mut self) {
        self.centred = true;
    }

    /// The radii of the outputs where those of the inputs are `radii`: what the slopes carry on, and half the distance of the
    /// planes.
    pub(crate) fn radii(&self, radii: &[T]) -> Vec<T> {
        let n = self.outputs;
        let of = |(i, plane): (usize, &Plane<T>)| {
            let carried = plane.slopes[0].abs() * radii[i] + plane.slopes[1].abs() * radii[n + i];
            carried + (plane.ceiling - plane.floor) * T::from_f64(0.5)
        };
        self.planes.iter().enumerate().map(of).collect()
    }

    /// The adjoint of [`ProductLines::radii`]: adds to the cotangents of the inputs' radii and of their bounds `known`.
    pub(crate) fn radii_adjoint(
        &self,
        product: &Product,
        rule: LowerSlope,
        g: &[T],
        (radii, g_radii): (&[T], &mut [T]),
        (known, bounds): (&Pair<T>, &mut Pair<T>),
    ) {
        let (n, half) = (self.outputs, T::from_f64(0.5));
        let mut on_planes = vec![Plane::ZERO; n];
        for (i, (&g, plane)) in g.iter().zip(&self.planes).enumerate() {
            for (factor, &slope) in plane.slopes.iter().enumerate() {
                let input = factor * n + i;
                g_radii[input] += slope.abs() * g;
                on_planes[i].slopes[factor] = slope.signum0() * radii[input] * g;
            }
            on_planes[i].floor = -half * g;
            on_planes[i].ceiling = half * g;
        }
        product.lines_adjoint(known, rule, &on_planes, bounds);
    }
}

impl ProductLines<f64> {
    /// The same in f32, for optimisation.
    pub(crate) fn narrowed(&self) -> ProductLines<f32> {
        let narrow = |plane: &Plane<f64>| Plane {
            slopes: plane.slopes.map(|slope| slope as f32),
            floor: plane.floor as f32,
            ceiling: plane.ceiling as f32,
        };
        let room = |room: &Room<f64>| Room { wider: room.wider, gap: room.gap as f32 };
        ProductLines {
            outputs: self.outputs,
            planes: self.planes.iter().map(narrow).collect(),
            rooms: self.rooms.iter().map(room).collect(),
            centred: self.centred,
        }
    }
}
