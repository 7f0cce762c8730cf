//! Resize and Upsample to the nearest element.

use super::arrange::{index, positions};
use super::graph::Importer;
use super::node::Node;
use super::shape::axis;
use crate::error::Problem;

/// One axis that is resized.
struct Axis<'s> {
    /// Elements before and behind.
    side: usize,
    wide: usize,
    /// Elements behind per element before: as the file or its sizes state it in single precision, and the sizes' own ratio.
    scale: f32,
    ratio: f64,
    /// `coordinate_transformation_mode` and `nearest_mode`.
    how: &'s str,
    rounding: &'s str,
}

/// What is not settled about a place.
enum Unsettled {
    /// The mode is not known.
    Mode,
    /// The position lies between two elements so nearly in the middle that runtimes take the one or the other.
    Tie,
}

impl Axis<'_> {
    /// The coordinate before of position `at` behind, `over` being the quotient by the scale; none for an unknown mode.
    fn original(&self, at: usize, over: impl Fn(f32) -> f32) -> Option<f32> {
        let x = at as f32;
        let half = || over(x + 0.5) - 0.5;
        Some(match self.how {
            "asymmetric" => over(x),
            "half_pixel" => half(),
            "pytorch_half_pixel" if self.wide > 1 => half(),
            "pytorch_half_pixel" => 0.0,
            "half_pixel_symmetric" => {
                let adjustment = self.wide as f32 / (self.scale * self.side as f32);
                let centre = self.side as f32 / 2.0;
                centre * (1.0 - adjustment) + half()
            }
            "tf_half_pixel_for_nn" => over(x + 0.5),
            "align_corners" if self.wide > 1 => x * (self.side as f32 - 1.0) / (self.wide as f32 - 1.0),
            "align_corners" => 0.0,
            _ => return None,
        })
    }

    /// The element nearest to a coordinate.
    fn nearest(&self, original: f64) -> Option<usize> {
        let nearest = match self.rounding {
            "floor" => original.floor(),
            "ceil" => original.ceil(),
            // Halves go down …
            "round_prefer_floor" => (original - 0.5).ceil(),
            // … or up.
            "round_prefer_ceil" => (original + 0.5).floor(),
            _ => return None,
        };
        Some((nearest.max(0.0) as usize).min(self.side - 1))
    }

    /// The element that position `at` takes. Runtimes compute in single precision, in one order or another: where the
    /// quotient is exact they agree, elsewhere only if rounding does not decide.
    fn place(&self, at: usize) -> Result<usize, Unsettled> {
        let place =
            |original: Option<f32>| original.and_then(|original| self.nearest(original.into())).ok_or(Unsettled::Mode);
        let exact = |x: f32| {
            let quotient = x / self.scale;
            f64::from(quotient) * f64::from(self.scale) == f64::from(x)
        };
        let own = place(self.original(at, |x| x / self.scale))?;
        let numerator = if self.how == "asymmetric" { at as f32 } else { at as f32 + 0.5 };
        if self.how == "half_pixel_symmetric" && self.scale.log2().fract() != 0.0 {
            // Its centre is rounded as well.
            let original = self.original(at, |x| x / self.scale).unwrap_or_default();
            let error = 4e-6 * self.side as f64;
            let ends = [-error, error].map(|error| self.nearest(f64::from(original) + error));
            return if ends == [Some(own); 2] { Ok(own) } else { Err(Unsettled::Tie) };
        }
        if self.how == "align_corners" || exact(numerator) {
            return Ok(own);
        }
        let inverse = 1.0 / self.scale;
        let others = [
            self.original(at, |x| x * inverse).map(f64::from),
            self.original(at, |x| x).map(|_| match self.how {
                "asymmetric" => at as f64 / self.ratio,
                "tf_half_pixel_for_nn" => (at as f64 + 0.5) / self.ratio,
                "pytorch_half_pixel" if self.wide == 1 => 0.0,
                _ => (at as f64 + 0.5) / self.ratio - 0.5,
            }),
        ];
        let agree = others.into_iter().all(|other| other.and_then(|other| self.nearest(other)) == Some(own));
        if agree { Ok(own) } else { Err(Unsettled::Tie) }
    }
}

impl<'a> Importer<'a> {
    pub fn resize(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        let is_upsample = node.proto.op_type == "Upsample";
        // Early forms have scales alone, and positions that are floors of quotients.
        let is_early = is_upsample || self.opset < 11;
        node.check_arity(1, 4)?;
        let operand = self.operand(node, 0)?;
        let own = operand.dims().to_vec();
        let mode = node.string("mode")?.unwrap_or_else(|| "nearest".into());
        if mode != "nearest" {
            return Err(node.problem(format!(
                "mode = {mode} is not supported; resize to the nearest element, or put a Conv with the weights of the \
                 interpolation in its place"
            )));
        }
        let how = node.string("coordinate_transformation_mode")?.unwrap_or_else(|| "half_pixel".into());
        let rounding = node.string("nearest_mode")?.unwrap_or_else(|| "round_prefer_floor".into());
        let (how, rounding) = if is_early { ("asymmetric".into(), "floor".into()) } else { (how, rounding) };
        node.float("cubic_coeff_a", 0.0)?;
        node.float("extrapolation_value", 0.0)?;
        node.int("exclude_outside", 0)?;
        node.int("antialias", 0)?;
        if node.string("keep_aspect_ratio_policy")?.is_some_and(|policy| policy != "stretch") {
            return Err(node.problem("keeps an aspect ratio; export the model with the sizes that it leads to"));
        }
        let axes: Vec<usize> = match node.ints("axes")? {
            None => (0..own.len()).collect(),
            Some(axes) => axes.iter().map(|&given| axis(node, given, own.len())).collect::<Result<_, _>>()?,
        };
        let place_of_scales = if is_early { 1 } else { 2 };
        let mut scales: Vec<f32> = match node.floats("scales")? {
            Some(scales) => scales.to_vec(),
            None => self.floats(node, place_of_scales)?,
        };
        let mut dims = own.clone();
        let has_sizes = scales.is_empty() && !is_early && node.input(3).is_some();
        if has_sizes {
            let sizes = self.constant_operand(node, 3)?;
            let sizes = self.lengths_of(node, &sizes)?;
            if sizes.len() == axes.len() {
                axes.iter().zip(&sizes).for_each(|(&axis, &size)| dims[axis] = size);
                scales = axes.iter().map(|&axis| dims[axis] as f32 / own[axis] as f32).collect();
            }
        } else {
            let sides = axes.iter().zip(&scales).map(|(&axis, &scale)| (axis, own[axis] as f32 * scale));
            sides.for_each(|(axis, side)| dims[axis] = side.floor().max(0.0) as usize);
        }
        if scales.len() != axes.len()
            || !scales.iter().all(|&scale| scale.is_finite() && scale > 0.0)
            || dims.contains(&0)
        {
            return Err(node.problem(format!("its scales {scales:?} or sizes do not fit the shape {own:?}")));
        }
        self.check_room(node, &dims)?;
        if dims == own {
            // Whatever the scales say: runtimes copy.
            return self.bind_operand(node, 0, operand);
        }
        let mut places: Vec<Vec<usize>> = own.iter().map(|&side| (0..side).collect()).collect();
        for (&axis, &scale) in axes.iter().zip(&scales) {
            if scale == 1.0 && dims[axis] == own[axis] {
                continue;
            }
            let (side, wide) = (own[axis], dims[axis]);
            let ratio = if has_sizes { wide as f64 / side as f64 } else { f64::from(scale) };
            let resized = Axis { side, wide, scale, ratio, how: &how, rounding: &rounding };
            places[axis] = (0..wide)
                .map(|at| resized.place(at).map_err(|unsettled| (at, unsettled)))
                .collect::<Result<Vec<usize>, _>>()
                .map_err(|(at, unsettled)| match unsettled {
                    Unsettled::Mode => node.problem(format!(
                        "coordinate_transformation_mode = {how} with nearest_mode = {rounding} is not supported; use \
                         asymmetric and floor"
                    )),
                    Unsettled::Tie => node.problem(format!(
                        "position {at} on axis {axis}, {side} resized to {wide} with {how} and {rounding}, lies at the \
                         border of two elements, of which runtimes take the one or the other by rounding; use asymmetric \
                         and floor with a whole number as scale"
                    )),
                })?;
        }
        let source = |position: Vec<usize>| {
            let from: Vec<usize> = position.iter().zip(&places).map(|(&at, places)| places[at]).collect();
            index(&own, &from) as u32
        };
        let sources = positions(&dims).map(source).collect();
        let operand = self.picked(node, &operand, dims, sources)?;
        self.bind_operand(node, 0, operand)
    }

    /// The numbers of an optional constant input; none where it is absent or empty.
    fn floats(&mut self, node: &Node<'a>, input: usize) -> Result<Vec<f32>, Problem> {
        if node.input(input).is_none() {
            return Ok(Vec::new());
        }
        let tensor = self.constant_operand(node, input)?;
        Ok(tensor.reals()?.iter().map(|&value| value as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{Axis, Unsettled};

    /// The places of an axis; none if one is a tie.
    fn places(side: usize, wide: usize, scale: f32, how: &str, rounding: &str) -> Option<Vec<usize>> {
        let axis = Axis { side, wide, scale, ratio: wide as f64 / side as f64, how, rounding };
        let place = |at| match axis.place(at) {
            Ok(place) => Some(place),
            Err(Unsettled::Tie) => None,
            Err(Unsettled::Mode) => panic!("{how} {rounding}"),
        };
        (0..wide).map(place).collect()
    }

    /// As onnxruntime has them.
    #[test]
    fn places_are_those_of_a_runtime() {
        let floor = |side, wide, scale| places(side, wide, scale, "asymmetric", "floor").unwrap();
        assert_eq!(floor(2, 4, 2.0), [0, 0, 1, 1]);
        assert_eq!(floor(3, 9, 3.0), [0, 0, 0, 1, 1, 1, 2, 2, 2]);
        assert_eq!(floor(7, 49, 7.0), (0..49).map(|at| at / 7).collect::<Vec<_>>());
        assert_eq!(places(2, 4, 2.0, "half_pixel", "round_prefer_floor").unwrap(), [0, 0, 1, 1]);
        // Exact halves are no ties for rounding errors.
        assert_eq!(places(4, 2, 0.5, "half_pixel", "round_prefer_floor").unwrap(), [0, 2]);
        assert_eq!(places(4, 2, 0.5, "half_pixel", "round_prefer_ceil").unwrap(), [1, 3]);
        assert_eq!(places(4, 7, 1.75, "align_corners", "round_prefer_ceil").unwrap(), [0, 1, 1, 2, 2, 3, 3]);
    }

    /// 9 · 10/12 is 7.5, 9 / 1.2 in single precision is less.
    #[test]
    fn borders_that_rounding_decides_are_told() {
        assert_eq!(places(10, 12, 1.2, "asymmetric", "round_prefer_ceil"), None);
        assert_eq!(places(6, 2, 1.0 / 3.0, "half_pixel_symmetric", "floor"), None);
    }
}
