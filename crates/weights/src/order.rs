//! The order of a file's tensors, where names do not say which place they belong to.
//!
//! PyTorch's state dicts keep the order in which a module made its parts. Safetensors are sorted by name: bias before weight,
//! layer 10 before layer 2, and `classifier` before `features`. There only numbers tell an order.

use std::cmp::Ordering;

use crate::NamedTensor;

/// What a tensor is to its layer, by the last part of its name; none if that says nothing.
pub(crate) fn role(name: &str) -> Option<usize> {
    match leaf(name).1 {
        "weight" | "scale" | "gamma" => Some(0),
        "bias" | "shift" | "beta" => Some(1),
        "running_mean" => Some(2),
        "running_var" => Some(3),
        _ => None,
    }
}

/// A tensor's layer and its own part of the name.
fn leaf(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

/// `left` in the order of the network's layers, each with weight, bias and statistics in that order; `all` are the tensors of the
/// file.
///
/// # Errors
/// Two tensors whose order nothing tells.
pub(crate) fn in_order<'t>(
    all: &[NamedTensor],
    mut left: Vec<&'t NamedTensor>,
) -> Result<Vec<&'t NamedTensor>, [&'t str; 2]> {
    if !all.is_sorted_by(|a, b| a.name <= b.name) || left.len() < 2 {
        return Ok(left);
    }
    for (i, a) in left.iter().enumerate() {
        if let Some(b) = left[i + 1..].iter().find(|b| compare(&a.name, &b.name).is_none()) {
            return Err([&a.name, &b.name]);
        }
    }
    left.sort_by(|a, b| compare(&a.name, &b.name).unwrap_or(Ordering::Equal));
    Ok(left)
}

/// Which of two tensors comes first; none if their names do not tell.
fn compare(a: &str, b: &str) -> Option<Ordering> {
    if a == b {
        return Some(Ordering::Equal);
    }
    let ((layer, _), (other, _)) = (leaf(a), leaf(b));
    if layer == other {
        return Some(role(a)?.cmp(&role(b)?));
    }
    let (left, right) = layer.split('.').zip(other.split('.')).find(|(left, right)| left != right)?;
    Some(left.parse::<u64>().ok()?.cmp(&right.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(names: &[&str]) -> Result<Vec<String>, [String; 2]> {
        let mut all: Vec<_> =
            names.iter().map(|name| NamedTensor { name: (*name).into(), shape: vec![], values: vec![0.0] }).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let names = |list: Vec<&NamedTensor>| list.into_iter().map(|tensor| tensor.name.clone()).collect();
        in_order(&all, all.iter().collect()).map(names).map_err(|pair| pair.map(str::to_string))
    }

    #[test]
    fn numbers_and_roles_tell_the_order_of_sorted_names() {
        let names = ["0.weight", "0.bias", "2.weight", "2.bias", "2.running_mean", "2.running_var", "10.weight"];
        assert_eq!(sorted(&names).unwrap(), names);
        let nested = ["net.0.conv.weight", "net.1.conv.weight", "net.1.conv.bias", "net.11.weight"];
        assert_eq!(sorted(&nested).unwrap(), nested);
    }

    #[test]
    fn words_do_not() {
        assert_eq!(sorted(&["conv.weight", "fc.weight"]).unwrap_err(), ["conv.weight", "fc.weight"]);
        assert!(sorted(&["0.weight", "0.kernel"]).is_err());
        assert!(sorted(&["0.weight", "0.inner.weight"]).is_err());
        // The order of a file that has one is kept.
        let tensor = |name: &str| NamedTensor { name: name.into(), shape: vec![], values: vec![0.0] };
        let file = [tensor("fc.weight"), tensor("conv.weight")];
        assert_eq!(in_order(&file, file.iter().collect()).unwrap()[0].name, "fc.weight");
    }
}
