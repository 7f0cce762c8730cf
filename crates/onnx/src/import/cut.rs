//! Slice, Split, Concat, Gather and Pad: parts of activations, and activations joined.

use std::rc::Rc;

use super::arrange::{Selection, index, positions};
use super::draft::{Activation, Operation};
use super::graph::{Importer, Operand};
use super::node::Node;
use super::shape::axis;
use crate::error::Problem;
use crate::tensor::{self, Data};

/// Start, number of steps and step along an axis of length `side`, as slices of arrays are counted.
fn steps(start: i64, end: i64, step: i64, side: usize) -> (i64, usize) {
    let side = side as i64;
    let from_end = |place: i64| if place < 0 { place.saturating_add(side) } else { place };
    let (least, most) = if step > 0 { (0, side) } else { (-1, side - 1) };
    let (start, end) = (from_end(start).clamp(least, most), from_end(end));
    // An end before the first element is beyond it for negative steps.
    let end = end.clamp(least, most);
    let distance = if step > 0 { end - start } else { start - end };
    (start, distance.max(0).unsigned_abs().div_ceil(step.unsigned_abs()) as usize)
}

impl<'a> Importer<'a> {
    pub fn slice(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 5)?;
        let operand = self.operand(node, 0)?;
        let own = operand.dims().to_vec();
        let mut list = |importer: &mut Self, name: &'static str, input: usize| -> Result<Option<Vec<i64>>, Problem> {
            if let Some(values) = node.ints(name)? {
                return Ok(Some(values.to_vec()));
            }
            match node.input(input) {
                Some(_) => Ok(Some(importer.constant_operand(node, input)?.integers()?.to_vec())),
                None => Ok(None),
            }
        };
        let (starts, ends) = (list(self, "starts", 1)?, list(self, "ends", 2)?);
        let (axes, by) = (list(self, "axes", 3)?, list(self, "steps", 4)?);
        let (Some(starts), Some(ends)) = (starts, ends) else { return Err(node.problem("has no starts or ends")) };
        let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let by = by.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), by.len()].iter().any(|&length| length != starts.len()) {
            return Err(node.problem("has starts, ends, axes and steps of different lengths"));
        }
        let mut dims = own.clone();
        let mut places: Vec<(i64, i64)> = vec![(0, 1); own.len()];
        for (i, &given) in axes.iter().enumerate() {
            let at = axis(node, given, own.len())?;
            if by[i] == 0 || by[i] == i64::MIN {
                return Err(node.problem("has a step of 0"));
            }
            let (start, count) = steps(starts[i], ends[i], by[i], own[at]);
            (places[at], dims[at]) = ((start, by[i]), count);
        }
        let source = |position: Vec<usize>| {
            let from = position.iter().zip(&places).map(|(&at, &(start, step))| (start + at as i64 * step) as usize);
            index(&own, &from.collect::<Vec<_>>()) as u32
        };
        self.check_room(node, &dims)?;
        let sources = positions(&dims).map(source).collect();
        let operand = self.picked(node, &operand, dims, sources)?;
        self.bind_operand(node, 0, operand)
    }

    pub fn split(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        let count = node.proto.output.len();
        let operand = self.operand(node, 0)?;
        let own = operand.dims().to_vec();
        let at = node.int("axis", 0)?;
        let at = axis(node, at, own.len())?;
        let stated = match node.ints("split")? {
            Some(lengths) => Some(lengths.to_vec()),
            None if node.input(1).is_some() => Some(self.constant_operand(node, 1)?.integers()?.to_vec()),
            None => None,
        };
        let parts = usize::try_from(node.int("num_outputs", count as i64)?).unwrap_or(0);
        let lengths: Vec<usize> = match stated {
            Some(lengths) => match lengths.iter().map(|&length| usize::try_from(length).ok()).collect() {
                Some(lengths) => lengths,
                None => return Err(node.problem(format!("has negative lengths: {lengths:?}"))),
            },
            // The last part is shorter where they cannot be equal.
            None => {
                let each = own[at].div_ceil(parts.max(1));
                (0..parts).map(|part| own[at].saturating_sub(part * each).min(each)).collect()
            }
        };
        let sum = lengths.iter().try_fold(0_usize, |sum, &length| sum.checked_add(length));
        if sum != Some(own[at]) || lengths.len() != count {
            return Err(node.problem(format!("cannot split axis {at} of {own:?} into {count} parts of {lengths:?}")));
        }
        let mut first = 0;
        for (output, &length) in lengths.iter().enumerate() {
            if node.used.contains(&output) {
                let mut dims = own.clone();
                dims[at] = length;
                let source = |mut position: Vec<usize>| {
                    position[at] += first;
                    index(&own, &position) as u32
                };
                let sources = positions(&dims).map(source).collect();
                let part = self.picked(node, &operand, dims, sources)?;
                self.bind_operand(node, output, part)?;
            }
            first += length;
        }
        Ok(())
    }

    pub fn gather(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        let operand = self.operand(node, 0)?;
        let own = operand.dims().to_vec();
        let at = node.int("axis", 0)?;
        let at = axis(node, at, own.len())?;
        let indices = self.constant_operand(node, 1)?;
        let side = own[at] as i64;
        let place = |&given: &i64| {
            let counted = if given < 0 { given.saturating_add(side) } else { given };
            usize::try_from(counted).ok().filter(|_| counted < side)
        };
        let Some(places) = indices.integers()?.iter().map(place).collect::<Option<Vec<usize>>>() else {
            return Err(node.problem(format!("an index in `{}` is beyond axis {at} of {own:?}", indices.name)));
        };
        let dims = [&own[..at], &indices.dims, &own[at + 1..]].concat();
        self.check_room(node, &dims)?;
        let (outer, inner): (usize, usize) = (own[..at].iter().product(), own[at + 1..].iter().product());
        let mut sources = Vec::with_capacity(outer * places.len() * inner);
        for o in 0..outer {
            for &place in &places {
                let first = (o * own[at] + place) * inner;
                sources.extend((first..first + inner).map(|source| source as u32));
            }
        }
        let operand = self.picked(node, &operand, dims, sources)?;
        self.bind_operand(node, 0, operand)
    }

    /// Parts of a tensor by constant positions along its first axes.
    pub fn gather_nd(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(2, 2)?;
        if node.int("batch_dims", 0)? != 0 {
            return Err(node.problem("has batch_dims; only 0 is supported, so index along one axis with Gather"));
        }
        let operand = self.operand(node, 0)?;
        let own = operand.dims().to_vec();
        let indices = self.constant_operand(node, 1)?;
        let Some((&depth, lead)) = indices.dims.split_last().filter(|&(&depth, _)| (1..=own.len()).contains(&depth))
        else {
            return Err(node.problem(format!("its positions of shape {:?} do not fit {own:?}", indices.dims)));
        };
        let dims = [lead, &own[depth..]].concat();
        self.check_room(node, &dims)?;
        let inner: usize = own[depth..].iter().product();
        let mut sources = Vec::with_capacity(dims.iter().product());
        for position in indices.integers()?.chunks(depth) {
            let counted = position.iter().zip(&own).map(|(&given, &side)| {
                let counted = if given < 0 { given.saturating_add(side as i64) } else { given };
                usize::try_from(counted).ok().filter(|&counted| counted < side)
            });
            let Some(place) = counted.collect::<Option<Vec<usize>>>() else {
                return Err(node.problem(format!("a position in `{}` is beyond {own:?}", indices.name)));
            };
            let first = index(&own[..depth], &place) * inner;
            sources.extend((first..first + inner).map(|source| source as u32));
        }
        let operand = self.picked(node, &operand, dims, sources)?;
        self.bind_operand(node, 0, operand)
    }

    pub fn concat(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, usize::MAX)?;
        let parts: Vec<Operand> =
            (0..node.proto.input.len()).map(|index| self.operand(node, index)).collect::<Result<_, _>>()?;
        let own = parts[0].dims().to_vec();
        let at = node.int("axis", 1)?;
        let at = axis(node, at, own.len())?;
        let mut dims = own.clone();
        dims[at] = 0;
        for part in &parts {
            let others = |dims: &[usize]| [&dims[..at], &dims[at + 1..]].concat();
            if part.dims().len() != own.len() || others(part.dims()) != others(&own) {
                return Err(node.problem(format!("cannot join {own:?} and {:?} along axis {at}", part.dims())));
            }
            dims[at] = dims[at].saturating_add(part.dims()[at]);
        }
        self.check_room(node, &dims)?;
        // Which part each element comes from, and which of its elements it is.
        let mut origins = Vec::with_capacity(dims.iter().product());
        for o in 0..dims[..at].iter().product() {
            for (part, operand) in parts.iter().enumerate() {
                let length = operand.dims()[at] * dims[at + 1..].iter().product::<usize>();
                origins.extend((o * length..(o + 1) * length).map(|index| (part as u32, index as u32)));
            }
        }
        tensor::spend(&mut self.budget, 2 * origins.len(), node.label())?;
        let joint = self.assembled(node, &parts, dims, &origins)?;
        self.bind_operand(node, 0, joint)
    }

    /// The elements `origins` (part, element of it) of several parts as one activation of shape `dims`, with 0 for those of
    /// constants.
    pub fn joint(
        &mut self,
        node: &Node<'a>,
        parts: &[Operand],
        dims: &[usize],
        origins: &[(u32, u32)],
    ) -> Result<Activation, Problem> {
        let mut sum: Option<Activation> = None;
        let mut done = vec![false; parts.len()];
        for (number, part) in parts.iter().enumerate() {
            let Operand::Activation(activation) = part else { continue };
            if std::mem::replace(&mut done[number], true) {
                continue;
            }
            // Parts of one layer come in one step.
            let mut bases: Vec<Option<Vec<Option<u32>>>> = vec![None; parts.len()];
            let (base, own) = self.base(activation);
            bases[number] = Some(own);
            for (other, part) in parts.iter().enumerate().skip(number + 1) {
                if let Operand::Activation(activation) = part
                    && !done[other]
                    && let (same, own) = self.base(activation)
                    && same == base
                {
                    (bases[other], done[other]) = (Some(own), true);
                }
            }
            let source = |&(part, index): &(u32, u32)| {
                bases[part as usize].as_ref()?[index as usize].map(|source| source as usize)
            };
            let selection = Selection::or_zero(dims.to_vec(), origins.iter().map(source));
            let whole = self.drafts.get(base).shape.clone();
            let whole = Activation { draft: base, dims: whole.into(), order: None, sole: false };
            let term = self.select(node, &whole, selection)?;
            sum = Some(match sum {
                None => term,
                Some(sum) => self.add(node, &[sum, term])?,
            });
        }
        sum.ok_or_else(|| node.problem("joins nothing"))
    }

    /// The layer that an activation comes from, through gathers of single elements, and which of its elements it has.
    fn base(&self, activation: &Activation) -> (usize, Vec<Option<u32>>) {
        let mut draft = activation.draft;
        let mut own: Vec<Option<u32>> =
            (0..activation.len()).map(|index| Some(activation.source(index) as u32)).collect();
        while let Operation::Gather(gather) = &self.drafts.get(draft).operation {
            let outputs: usize = gather.shape().iter().product();
            if gather.terms() > outputs || (0..outputs).any(|i| gather.sources(i).len() > 1) {
                break;
            }
            own.iter_mut()
                .for_each(|source| *source = source.and_then(|i| gather.sources(i as usize).first().copied()));
            draft = self.drafts.get(draft).inputs[0];
        }
        (draft, own)
    }

    pub fn pad(&mut self, node: &mut Node<'a>) -> Result<(), Problem> {
        node.check_arity(1, 4)?;
        let operand = self.operand(node, 0)?;
        let own = operand.dims().to_vec();
        let mode = node.string("mode")?.unwrap_or_else(|| "constant".into());
        let pads = match node.ints("pads")? {
            Some(pads) => pads.to_vec(),
            None => self.constant_operand(node, 1)?.integers()?.to_vec(),
        };
        let value = if node.has("value") {
            f64::from(node.float("value", 0.0)?)
        } else if node.input(2).is_some() {
            self.constant_operand(node, 2)?.reals()?.first().copied().unwrap_or(0.0)
        } else {
            0.0
        };
        let axes: Vec<usize> = match node.input(3) {
            None => (0..own.len()).collect(),
            Some(_) => {
                let axes = self.constant_operand(node, 3)?;
                axes.integers()?.iter().map(|&given| axis(node, given, own.len())).collect::<Result<_, _>>()?
            }
        };
        if pads.len() != 2 * axes.len() {
            return Err(node.problem(format!(
                "has {} pads for {} axes; it needs two for each",
                pads.len(),
                axes.len()
            )));
        }
        let mut dims = own.clone();
        let mut before = vec![0_i64; own.len()];
        for (i, &at) in axes.iter().enumerate() {
            let side = (own[at] as i64).checked_add(pads[i]).and_then(|side| side.checked_add(pads[i + axes.len()]));
            let Some(side) = side.and_then(|side| usize::try_from(side).ok()).filter(|&side| side > 0) else {
                return Err(node.problem(format!("pads = {pads:?} leave nothing of the shape {own:?}")));
            };
            (dims[at], before[at]) = (side, pads[i]);
        }
        self.check_room(node, &dims)?;
        let place = |at: i64, side: usize| -> Option<usize> {
            let side = side as i64;
            let inside = match mode.as_str() {
                "edge" => at.clamp(0, side - 1),
                "wrap" => at.rem_euclid(side),
                "reflect" if side == 1 => 0,
                "reflect" => {
                    let period = 2 * (side - 1);
                    let folded = at.rem_euclid(period);
                    folded.min(period - folded)
                }
                _ => at,
            };
            usize::try_from(inside).ok().filter(|_| inside < side)
        };
        if !["constant", "edge", "wrap", "reflect"].contains(&mode.as_str()) {
            return Err(node.problem(format!("mode = {mode} is not known; use constant, reflect, edge or wrap")));
        }
        let source = |position: Vec<usize>| {
            let from = position.iter().enumerate().map(|(axis, &at)| place(at as i64 - before[axis], own[axis]));
            from.collect::<Option<Vec<usize>>>().map(|from| index(&own, &from))
        };
        tensor::spend(&mut self.budget, dims.iter().product(), node.label())?;
        let sources: Vec<Option<usize>> = positions(&dims).map(source).collect();
        match operand {
            Operand::Constant(tensor) => {
                let mut padded =
                    tensor.picked(dims, &sources.iter().map(|s| s.unwrap_or(0) as u32).collect::<Vec<_>>());
                for (element, _) in sources.iter().enumerate().filter(|(_, source)| source.is_none()) {
                    match &mut padded.data {
                        Data::Real(values) => values[element] = value,
                        Data::Integer(values) => values[element] = value as i64,
                    }
                }
                self.bind_operand(node, 0, Operand::Constant(Rc::new(padded)))
            }
            Operand::Activation(activation) => {
                let outside: Vec<f64> = sources.iter().map(|s| if s.is_none() { value } else { 0.0 }).collect();
                let mut padded = self.select(node, &activation, Selection::or_zero(dims, sources.into_iter()))?;
                if outside.iter().any(|&value| value != 0.0) {
                    padded = self.shifted(node, &padded, outside)?;
                }
                self.alias(node, padded)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::steps;

    #[test]
    fn slices_are_counted_as_arrays_do() {
        assert_eq!(steps(1, 4, 1, 7), (1, 3));
        assert_eq!(steps(-3, i64::MAX, 1, 7), (4, 3));
        assert_eq!(steps(-1, i64::MIN, -1, 7), (6, 7));
        assert_eq!(steps(-1, -8, -2, 7), (6, 4));
        assert_eq!(steps(5, 0, -2, 7), (5, 3));
        assert_eq!(steps(4, 2, 1, 7), (4, 0));
        assert_eq!(steps(100, 200, 3, 7), (7, 0));
        assert_eq!(steps(0, 7, 3, 7), (0, 3));
    }
}
