//! The declared variables: X_i and Y_i of VNN-LIB 1.0, one input and one output tensor of VNN-LIB 2.0.

use std::collections::{BTreeMap, BTreeSet};

use crate::element::Element;
use crate::lexer::Fault;
use crate::linear::Variable;

/// Largest index of a variable. A property of [`MAX_BYTES`](crate::MAX_BYTES) cannot bound more inputs from both sides, and
/// one of a few bytes that declares more must not take gigabytes.
pub(crate) const MAX_INDEX: u32 = (1 << 22) - 1;

/// All inputs, or all outputs.
#[derive(Debug)]
pub(crate) struct Group {
    /// Number of variables.
    pub count: usize,
    /// The tensor's name, or the letter.
    name: String,
    /// The tensor's shape; none for numbered variables.
    shape: Option<Vec<usize>>,
    /// Where each is declared; once for a tensor.
    places: Vec<usize>,
    /// What the variables are.
    pub element: Element,
}

impl Group {
    /// Variable `index` as the file writes it.
    pub(crate) fn name(&self, index: usize) -> String {
        let Some(shape) = &self.shape else { return format!("{}_{index}", self.name) };
        let mut rest = index;
        let mut position: Vec<String> = shape
            .iter()
            .rev()
            .map(|&side| {
                let digit = rest % side;
                rest /= side;
                digit.to_string()
            })
            .collect();
        position.reverse();
        if shape.is_empty() { self.name.clone() } else { format!("{}[{}]", self.name, position.join(",")) }
    }

    /// Where variable `index` is declared.
    pub(crate) fn place(&self, index: usize) -> usize {
        self.places.get(index).or(self.places.first()).copied().unwrap_or(0)
    }
}

/// Variables as they are being declared.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    /// Index of each declared X_i, and where it is declared; a short text must not claim much by a large index.
    inputs: BTreeMap<u32, usize>,
    /// The same of Y_i.
    outputs: BTreeMap<u32, usize>,
    /// Input and output tensor.
    tensors: [Option<Group>; 2],
    /// Names of hidden tensors, which may be declared but not used.
    hidden: BTreeSet<String>,
    /// True after (vnnlib-version <2.0>) or (declare-network …).
    pub second_version: bool,
    /// Whether a network is declared.
    has_network: bool,
}

impl Variables {
    /// Declares X_i or Y_i.
    pub(crate) fn declare(&mut self, name: &str, at: usize) -> Result<(), Fault> {
        let Some(variable) = numbered(name) else {
            return Err(Fault::new(
                at,
                format!(
                    "`{}` is no variable of a network; inputs are X_0, X_1, …, outputs Y_0, Y_1, … (at most {MAX_INDEX})",
                    shorten(name)
                ),
            ));
        };
        let (list, index) = match variable {
            Variable::Input(index) => (&mut self.inputs, index),
            Variable::Output(index) => (&mut self.outputs, index),
        };
        match list.insert(index, at) {
            Some(_) => Err(Fault::new(at, format!("`{name}` is declared twice; remove one declaration"))),
            None => Ok(()),
        }
    }

    /// Takes note of (vnnlib-version …).
    pub(crate) fn begin_version(&mut self, version: &str, at: usize) -> Result<(), Fault> {
        match version {
            "<1.0>" if !self.second_version => {}
            _ if version.starts_with("<2.") && version.ends_with('>') => self.begin_second(at)?,
            _ => return Err(Fault::new(at, format!("version `{}` is unknown; use <2.0>", shorten(version)))),
        }
        Ok(())
    }

    /// Takes note of (declare-network …), which is of the second version.
    pub(crate) fn begin_network(&mut self, at: usize) -> Result<(), Fault> {
        self.begin_second(at)?;
        if std::mem::replace(&mut self.has_network, true) {
            return Err(Fault::new(at, "a second network is not supported; write properties of one network"));
        }
        Ok(())
    }

    fn begin_second(&mut self, at: usize) -> Result<(), Fault> {
        if !self.inputs.is_empty() || !self.outputs.is_empty() {
            return Err(Fault::new(
                at,
                "belongs to VNN-LIB 2.0; begin the file with (vnnlib-version <2.0>) and use no declare-const",
            ));
        }
        self.second_version = true;
        Ok(())
    }

    /// Declares a hidden tensor.
    pub(crate) fn declare_hidden(&mut self, name: &str, at: usize) -> Result<(), Fault> {
        self.check_free(name, at)?;
        self.hidden.insert(name.into());
        Ok(())
    }

    /// Fails if a tensor has this name.
    fn check_free(&self, name: &str, at: usize) -> Result<(), Fault> {
        match self.tensors.iter().flatten().any(|tensor| tensor.name == name) || self.hidden.contains(name) {
            true => {
                Err(Fault::new(at, format!("`{}` is declared twice; give the tensors different names", shorten(name))))
            }
            false => Ok(()),
        }
    }

    /// Declares the input or output tensor.
    pub(crate) fn declare_tensor(
        &mut self,
        output: bool,
        name: &str,
        element: Element,
        shape: Vec<usize>,
        at: usize,
    ) -> Result<(), Fault> {
        let count = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        let Some(count) = count.filter(|count| (1..=MAX_INDEX as usize + 1).contains(count)) else {
            return Err(Fault::new(
                at,
                format!("a tensor of shape {shape:?} must have between 1 and {} elements", MAX_INDEX + 1),
            ));
        };
        self.check_free(name, at)?;
        let what = if output { "output" } else { "input" };
        let place = &mut self.tensors[usize::from(output)];
        if place.is_some() {
            return Err(Fault::new(
                at,
                format!("a second {what} tensor is not supported; use networks with one of each"),
            ));
        }
        *place = Some(Group { count, name: name.into(), shape: Some(shape), places: vec![at], element });
        Ok(())
    }

    /// The variable `name`, with `indices` if it is written as a tensor element.
    pub(crate) fn find(&self, name: &str, indices: Option<&[usize]>, at: usize) -> Result<Option<Variable>, Fault> {
        let tensors = self.tensors.iter().enumerate();
        let found = tensors.filter_map(|(i, t)| t.as_ref().map(|t| (i, t))).find(|(_, tensor)| tensor.name == name);
        if let Some((output, tensor)) = found {
            let shape = tensor.shape.as_deref().unwrap_or(&[]);
            let indices = indices.unwrap_or(&[]);
            if indices.len() != shape.len() || indices.iter().zip(shape).any(|(index, side)| index >= side) {
                return Err(Fault::new(at, format!("{name}{indices:?} is no element of a tensor of shape {shape:?}")));
            }
            let flat = indices.iter().zip(shape).fold(0, |flat, (index, side)| flat * side + index) as u32;
            return Ok(Some(if output == 1 { Variable::Output(flat) } else { Variable::Input(flat) }));
        }
        if self.hidden.contains(name) {
            let problem = format!(
                "`{}` is a hidden tensor, which cannot be constrained; cut the network there to make it the output",
                shorten(name)
            );
            return Err(Fault::new(at, problem));
        }
        let Some(variable) = numbered(name) else {
            return match indices {
                Some(_) => Err(Fault::new(at, format!("no tensor `{}` is declared", shorten(name)))),
                None => Ok(None),
            };
        };
        let known = match variable {
            Variable::Input(index) => self.inputs.contains_key(&index),
            Variable::Output(index) => self.outputs.contains_key(&index),
        };
        match (known, indices) {
            (true, None) => Ok(Some(variable)),
            (true, Some(_)) => Err(Fault::new(at, format!("`{name}` is a number, not a tensor; remove [ ]"))),
            _ => Err(Fault::new(at, format!("`{name}` is not declared; add (declare-const {name} Real) before"))),
        }
    }

    /// Inputs and outputs; `end` is the end of the text.
    pub(crate) fn finish(self, end: usize) -> Result<[Group; 2], Fault> {
        let [input, output] = self.tensors;
        if self.second_version {
            let missing =
                |what: &str| Fault::new(end, format!("no {what} tensor is declared; add (declare-network …)"));
            return Ok([input.ok_or_else(|| missing("input"))?, output.ok_or_else(|| missing("output"))?]);
        }
        Ok([without_gaps(self.inputs, "X", "input", end)?, without_gaps(self.outputs, "Y", "output", end)?])
    }
}

fn without_gaps(found: BTreeMap<u32, usize>, letter: &str, what: &str, end: usize) -> Result<Group, Fault> {
    let Some((&last, &place)) = found.last_key_value() else {
        return Err(Fault::new(end, format!("no {what} is declared; add (declare-const {letter}_0 Real)")));
    };
    if let Some((missing, _)) = (0..).zip(found.keys()).find(|(expected, index)| expected != *index) {
        let problem =
            format!("{letter}_{last} is declared, {letter}_{missing} is not; declare every {what} from {letter}_0 on",);
        return Err(Fault::new(place, problem));
    }
    let (count, places) = (found.len(), found.into_values().collect());
    Ok(Group { count, name: letter.into(), shape: None, places, element: Element::Real })
}

/// The variable that X_i or Y_i stands for.
fn numbered(name: &str) -> Option<Variable> {
    let (kind, digits) = name.split_at_checked(2)?;
    let plain = !digits.is_empty() && digits.len() <= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    // X_01 would be a second name of X_1.
    if !plain || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    let index = digits.parse().ok().filter(|&index| index <= MAX_INDEX)?;
    match kind {
        "X_" => Some(Variable::Input(index)),
        "Y_" => Some(Variable::Output(index)),
        _ => None,
    }
}

/// A symbol as messages show it.
pub(crate) fn shorten(symbol: &str) -> String {
    match symbol.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", symbol[..end].escape_debug()),
        None => symbol.escape_debug().to_string(),
    }
}
