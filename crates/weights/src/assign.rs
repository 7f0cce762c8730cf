//! Which tensor of a file becomes which of a network.

use tightrope_network::{Model, Network, nearest_name};

use crate::order::{in_order, role};
use crate::{NamedTensor, WeightsError};

/// How tensors find their places: first by what is said here, then by equal names, then by their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Names in the file and names in the network; a pair that ends with `.` stands for all names that begin so.
    pub names: Vec<(String, String)>,
    /// Names in the file that are left out; one that ends with `.` stands for all names that begin so.
    pub ignored: Vec<String>,
}

/// A network with a file's numbers.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The network.
    pub model: Model,
    /// Names in the file and in the network of the tensors that were taken in order.
    pub by_order: Vec<(String, String)>,
}

/// A tensor of the network: where it lies, and in which vector.
struct Place {
    name: String,
    shape: Vec<usize>,
    range: std::ops::Range<usize>,
    buffer: bool,
}

/// PyTorch's counter of minibatches, which no network here has.
const COUNTER: &str = "num_batches_tracked";

impl Mapping {
    /// The network with the numbers of `tensors`.
    ///
    /// Tensors that no name assigns are taken in order, if as many are left in the file as in the network and their shapes
    /// agree one by one, and so do what their names say they are to their layers: weight, bias, mean or variance. Of names that
    /// are sorted, as in safetensors, only numbers tell an order. Counters of minibatches are left out.
    ///
    /// # Errors
    /// If a tensor is left over, missing, named twice, of another shape, has no order, or holds numbers that a network cannot
    /// have.
    pub fn model(&self, network: Network, tensors: &[NamedTensor]) -> Result<Fitted, WeightsError> {
        let places = places(&network);
        let fit = |problem: String| WeightsError::Fit(problem);
        for (from, _) in &self.names {
            if !tensors.iter().any(|tensor| matches(from, &tensor.name)) {
                return Err(fit(format!(
                    "the file holds no `{from}`{}",
                    nearest(from, tensors.iter().map(|t| &*t.name))
                )));
            }
        }
        let wanted: Vec<&NamedTensor> = tensors.iter().filter(|tensor| !self.leaves_out(&tensor.name)).collect();
        let mut taken: Vec<Option<&NamedTensor>> = vec![None; places.len()];
        let mut left = Vec::new();
        for tensor in wanted {
            let (name, said) = self.renamed(&tensor.name);
            let Some(place) = places.iter().position(|place| place.name == name) else {
                if said {
                    let near = nearest(&name, places.iter().map(|place| &*place.name));
                    return Err(fit(format!(
                        "the network has no `{name}`, which `{}` is mapped to{near}",
                        tensor.name
                    )));
                }
                left.push(tensor);
                continue;
            };
            if let Some(other) = taken[place].replace(tensor) {
                return Err(fit(format!("`{}` and `{}` both go to `{name}`", other.name, tensor.name)));
            }
        }
        let open: Vec<usize> = (0..places.len()).filter(|&place| taken[place].is_none()).collect();
        if left.len() != open.len() {
            return Err(fit(leftovers(&left, &open, &places)));
        }
        let left = in_order(tensors, left).map_err(|[a, b]| {
            fit(format!(
                "the order of `{a}` and `{b}` is not known, as the file's tensors are sorted by name; say what belongs together \
                 with --map FILE_NAME=NAME (`FILE_PREFIX.=PREFIX.` for all names that begin so)"
            ))
        })?;
        let mut by_order = Vec::new();
        for (&place, tensor) in open.iter().zip(&left) {
            let own = &places[place];
            let same_role = role(&own.name).zip(role(&tensor.name)).is_none_or(|(own, given)| own == given);
            if !same_shape(&own.shape, &tensor.shape) || !same_role {
                return Err(fit(leftovers(&left, &open, &places)));
            }
            by_order.push((tensor.name.clone(), own.name.clone()));
            taken[place] = Some(tensor);
        }
        let mut theta = vec![0.0; network.parameters().total()];
        let mut buffers = network.initial_buffers();
        for (place, tensor) in places.iter().zip(taken.into_iter().flatten()) {
            if !same_shape(&place.shape, &tensor.shape) {
                return Err(fit(format!(
                    "`{}` has the shape {:?}, and `{}` of the network {:?}",
                    tensor.name, tensor.shape, place.name, place.shape
                )));
            }
            let vector = if place.buffer { &mut buffers } else { &mut theta };
            vector[place.range.clone()].copy_from_slice(&tensor.values);
        }
        network.check_theta(&theta)?;
        network.check_buffers(&buffers)?;
        Ok(Fitted { model: Model { buffers, ..Model::new(network, theta) }, by_order })
    }

    fn leaves_out(&self, name: &str) -> bool {
        name.rsplit('.').next() == Some(COUNTER) || self.ignored.iter().any(|ignored| matches(ignored, name))
    }

    /// The name in the network, and whether the mapping says it.
    fn renamed(&self, name: &str) -> (String, bool) {
        match self.names.iter().find(|(from, _)| matches(from, name)) {
            Some((from, to)) => (format!("{to}{}", &name[from.len()..]), true),
            None => (name.into(), false),
        }
    }
}

/// True if `pattern` is `name`, or the beginning of it that ends with a point.
fn matches(pattern: &str, name: &str) -> bool {
    pattern == name || pattern.ends_with('.') && name.starts_with(pattern)
}

/// Vectors fit scales and shifts, whichever sides of one they have been given.
fn same_shape(a: &[usize], b: &[usize]) -> bool {
    let sides = |shape: &[usize]| shape.iter().copied().filter(|&side| side != 1).collect::<Vec<_>>();
    a == b || a.iter().product::<usize>() == b.iter().product::<usize>() && sides(a) == sides(b)
}

/// The tensors of a network in the order in which PyTorch has them: layer by layer, weight, bias, then statistics.
fn places(network: &Network) -> Vec<Place> {
    let mut places = Vec::new();
    for node in network.nodes() {
        for id in node.layer.parameters().iter() {
            let info = network.parameters().get(id);
            places.push(Place {
                name: info.name.clone(),
                shape: info.shape.clone(),
                range: info.range(),
                buffer: false,
            });
        }
        for id in node.layer.buffers() {
            let info = network.buffers().get(id);
            places.push(Place {
                name: info.name.clone(),
                shape: info.shape.clone(),
                range: info.range(),
                buffer: true,
            });
        }
    }
    places
}

fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    nearest_name(name, known).map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

/// What is left on both sides, side by side.
fn leftovers(left: &[&NamedTensor], open: &[usize], places: &[Place]) -> String {
    const SHOWN: usize = 12;
    let file = left.iter().map(|tensor| format!("`{}` {:?}", tensor.name, tensor.shape));
    let own = open.iter().map(|&place| format!("`{}` {:?}", places[place].name, places[place].shape));
    let list = |names: Vec<String>| match names.len() {
        0 => "nothing".into(),
        count if count > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
        _ => names.join(", "),
    };
    format!(
        "left over in the file: {}; left open in the network: {}; say what belongs together with --map FILE_NAME=NAME, and what \
         to leave out with --ignore FILE_NAME",
        list(file.collect()),
        list(own.collect())
    )
}
