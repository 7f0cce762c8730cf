//! Resize and Upsample to the nearest element.

use super::arrange::{index, positions};
use super::graph::Importer;
use super::node::Node;
use super::shape::axis;
use crate::error::Problem;

/// The place along an axis of `side` that position `at` of `wide` takes, as runtimes compute it: in single precision.
fn place(at: usize, side: usize, wide: usize, scale: f32, how: &str, rounding: &str) -> Option<usize> {
    let x = at as f32;
    let original = match how {
        "asymmetric" => x / scale,
        "half_pixel" => (x + 0.5) / scale - 0.5,
        "pytorch_half_pixel" if wide > 1 => (x + 0.5) / scale - 0.5,
        "pytorch_half_pixel" => 0.0,
        "half_pixel_symmetric" => {
            let adjustment = wide as f32 / (scale * side as f32);
            let centre = side as f32 / 2.0;
            centre * (1.0 - adjustment) + (x + 0.5) / scale - 0.5
        }
        "tf_half_pixel_for_nn" => (x + 0.5) / scale,
        "align_corners" if wide > 1 => x * (side as f32 - 1.0) / (wide as f32 - 1.0),
        "align_corners" => 0.0,
        _ => return None,
    };
    let nearest = match rounding {
        "floor" => original.floor(),
        "ceil" => original.ceil(),
        // Halves go down …
        "round_prefer_floor" => (original - 0.5).ceil(),
        // … or up.
        "round_prefer_ceil" => (original + 0.5).floor(),
        _ => return None,
    };
    Some((nearest.max(0.0) as usize).min(side - 1))
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
        if scales.is_empty() && !is_early && node.input(3).is_some() {
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
        let mut places: Vec<Vec<usize>> = own.iter().map(|&side| (0..side).collect()).collect();
        for (&axis, &scale) in axes.iter().zip(&scales) {
            if scale == 1.0 && dims[axis] == own[axis] {
                continue;
            }
            let along = (0..dims[axis]).map(|at| place(at, own[axis], dims[axis], scale, &how, &rounding));
            places[axis] = along.collect::<Option<Vec<usize>>>().ok_or_else(|| {
                node.problem(format!(
                    "coordinate_transformation_mode = {how} with nearest_mode = {rounding} is not supported; use asymmetric \
                     and floor"
                ))
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
