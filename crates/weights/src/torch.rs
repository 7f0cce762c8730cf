//! State dicts as `torch.save` writes them: a zip archive with a pickle and one file for each storage.

use std::collections::HashMap;
use std::io::{Cursor, Read as _};
use std::path::Path;

use zip::ZipArchive;

use crate::pickle::{Pickle, Value};
use crate::{NamedTensor, WeightsError};

/// Keys under which checkpoints keep the state dict of a network.
const INNER: [&str; 7] = ["state_dict", "model_state_dict", "model", "net", "network", "params", "weights"];

/// The element types of storages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
}

impl Element {
    fn of_class(name: &str) -> Option<Element> {
        Some(match name {
            "DoubleStorage" => Element::F64,
            "FloatStorage" => Element::F32,
            "HalfStorage" => Element::F16,
            "BFloat16Storage" => Element::Bf16,
            "LongStorage" => Element::I64,
            "IntStorage" => Element::I32,
            "ShortStorage" => Element::I16,
            "CharStorage" => Element::I8,
            "ByteStorage" | "BoolStorage" => Element::U8,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Element::F64 | Element::I64 => 8,
            Element::F32 | Element::I32 => 4,
            Element::F16 | Element::Bf16 | Element::I16 => 2,
            Element::I8 | Element::U8 => 1,
        }
    }

    /// The value of `bytes`, little-endian.
    fn value(self, bytes: &[u8]) -> f32 {
        let word = bytes.iter().rev().fold(0_u64, |word, &byte| (word << 8) | u64::from(byte));
        match self {
            Element::F64 => f64::from_bits(word) as f32,
            Element::F32 => f32::from_bits(word as u32),
            Element::F16 => half(word as u16),
            Element::Bf16 => f32::from_bits((word as u32) << 16),
            Element::I64 => word as i64 as f32,
            Element::I32 => word as u32 as i32 as f32,
            Element::I16 => f32::from(word as u16 as i16),
            Element::I8 => f32::from(word as u8 as i8),
            Element::U8 => f32::from(word as u8),
        }
    }
}

/// A number of half precision.
fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (bits >> 15, (bits >> 10) & 0x1f, bits & 0x3ff);
    let size = match exponent {
        0 => f32::from(fraction) * 2.0_f32.powi(-24),
        31 if fraction == 0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + f32::from(fraction) / 1024.0) * 2.0_f32.powi(i32::from(exponent) - 15),
    };
    if sign == 1 { -size } else { size }
}

/// True for bytes that begin like a zip archive.
pub(crate) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// The tensors of the state dict in `bytes`, in its order.
pub(crate) fn tensors(path: &Path, bytes: &[u8]) -> Result<Vec<NamedTensor>, WeightsError> {
    let refuse = |problem: String| WeightsError::file(path, problem);
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|e| refuse(format!("no usable zip archive ({e})")))?;
    let pickle = archive.file_names().find(|name| *name == "data.pkl" || name.ends_with("/data.pkl")).map(String::from);
    let Some(pickle) = pickle else {
        return Err(refuse("holds no data.pkl; give what torch.save(model.state_dict(), file) writes".into()));
    };
    let root = pickle.trim_end_matches("data.pkl").to_string();
    let text = entry(&mut archive, &pickle).map_err(refuse)?;
    if let Ok(order) = entry(&mut archive, &format!("{root}byteorder"))
        && order.trim_ascii() != b"little"
    {
        return Err(refuse("was written on a big-endian machine; save it anew on a little-endian one".into()));
    }
    let (value, pickle) =
        Pickle::read(&text).map_err(|problem| refuse(format!("its pickle cannot be read: {problem}")))?;
    let Some(state) = state_dict(&pickle, &value) else {
        return Err(refuse(
            "holds no dictionary of tensors; save model.state_dict(), not the model itself, whose code would have to be run"
                .into(),
        ));
    };
    let mut storages = HashMap::new();
    let mut found = Vec::new();
    for (key, value) in state {
        let Value::Text(name) = key else { continue };
        let Some(layout) = Layout::of(&pickle, value) else { continue };
        let layout = layout.map_err(|problem| refuse(format!("tensor `{name}`: {problem}")))?;
        let storage = match storages.entry(layout.storage.clone()) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(empty) => {
                let bytes = entry(&mut archive, &format!("{root}data/{}", layout.storage)).map_err(refuse)?;
                empty.insert(bytes)
            }
        };
        let values = layout.values(storage).map_err(|problem| refuse(format!("tensor `{name}`: {problem}")))?;
        found.push(NamedTensor { name: name.to_string(), shape: layout.shape, values });
    }
    Ok(found)
}

/// The bytes of an entry.
fn entry(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<Vec<u8>, String> {
    let again = "save it anew by torch.save(model.state_dict(), FILE), which compresses nothing";
    let file = archive.by_name(name).map_err(|e| match e {
        zip::result::ZipError::UnsupportedArchive(problem) => {
            format!("its entry `{name}` is compressed or in another form that is not read ({problem}); {again}")
        }
        other => format!("its entry `{name}` cannot be read ({other}); {again}"),
    })?;
    let mut bytes = Vec::new();
    // What an entry claims to hold is no reason to reserve it.
    let most = file.size();
    file.take(most).read_to_end(&mut bytes).map_err(|e| format!("its entry `{name}` is damaged ({e})"))?;
    Ok(bytes)
}

/// The pairs of the state dict: those of `value` itself or of one inside that is named as such.
fn state_dict<'p>(pickle: &'p Pickle, value: &Value) -> Option<&'p [(Value, Value)]> {
    let pairs = pickle.pairs(value)?;
    if pairs.iter().any(|(_, value)| Layout::of(pickle, value).is_some()) {
        return Some(pairs);
    }
    INNER.iter().find_map(|name| {
        let (_, inner) = pairs.iter().find(|(key, _)| matches!(key, Value::Text(text) if &**text == *name))?;
        state_dict(pickle, inner)
    })
}

/// Where the elements of a tensor lie.
struct Layout {
    storage: String,
    element: Element,
    offset: usize,
    shape: Vec<usize>,
    stride: Vec<usize>,
}

impl Layout {
    /// The layout that a call of `torch._utils._rebuild_tensor_v2` (or of a parameter around it) describes; none if `value`
    /// is something else.
    fn of(pickle: &Pickle, value: &Value) -> Option<Result<Layout, String>> {
        let Value::Call(index) = value else { return None };
        let call = &pickle.calls[*index];
        let Value::Global(module, name) = &call.function else { return None };
        let arguments = pickle.items(&call.arguments)?;
        match (&**module, &**name) {
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Layout::of(pickle, arguments.first()?)
            }
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Some(Layout::read(pickle, arguments)),
            _ => None,
        }
    }

    fn read(pickle: &Pickle, arguments: &[Value]) -> Result<Layout, String> {
        let [Value::Persistent(storage), offset, shape, stride, ..] = arguments else {
            return Err("is not rebuilt from storage, offset, shape and strides".into());
        };
        let parts = pickle.items(storage).ok_or("has no storage")?;
        let [Value::Text(kind), Value::Global(_, class), Value::Text(key), ..] = parts else {
            return Err("has a storage of an unknown kind".into());
        };
        if &**kind != "storage" {
            return Err(format!("is kept in `{kind}`, which is no storage"));
        }
        let element = Element::of_class(class)
            .ok_or_else(|| format!("has elements of {class}, which are no real numbers; convert it with .float()"))?;
        let whole = |value: &Value| match value {
            Value::Int(number) => usize::try_from(*number).map_err(|_| format!("has a negative size {number}")),
            _ => Err("has a size that is no number".into()),
        };
        let list = |value: &Value| -> Result<Vec<usize>, String> {
            pickle.items(value).ok_or("has no shape")?.iter().map(whole).collect()
        };
        let (shape, stride) = (list(shape)?, list(stride)?);
        if shape.len() != stride.len() {
            return Err("has another number of strides than of sides".into());
        }
        Ok(Layout { storage: key.to_string(), element, offset: whole(offset)?, shape, stride })
    }

    /// The elements in row-major order.
    fn values(&self, storage: &[u8]) -> Result<Vec<f32>, String> {
        let size = self.element.size();
        let available = storage.len() / size;
        let outside = || format!("reaches beyond its storage of {available} elements; the file is damaged");
        let count = self.shape.iter().try_fold(1_usize, |count, &side| count.checked_mul(side)).ok_or_else(outside)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let reach = self
            .shape
            .iter()
            .zip(&self.stride)
            .try_fold(self.offset, |reach, (&side, &stride)| reach.checked_add((side - 1).checked_mul(stride)?));
        // Elements that share a place could claim any number of values.
        if reach.is_none_or(|last| last >= available) || count > available {
            return Err(outside());
        }
        let mut index = vec![0; self.shape.len()];
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            let place = self.offset + index.iter().zip(&self.stride).map(|(i, stride)| i * stride).sum::<usize>();
            values.push(self.element.value(&storage[place * size..(place + 1) * size]));
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::{Element, Layout, half};

    #[test]
    fn halves_are_exact() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_95), (0x0001, 5.960_464_5e-8), (0x7c00, f32::INFINITY)]
        {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn strides_and_offsets_are_followed() {
        let storage: Vec<u8> = (0..8_u16).flat_map(|i| f32::from(i).to_le_bytes()).collect();
        let layout = |offset, shape: &[usize], stride: &[usize]| Layout {
            storage: "0".into(),
            element: Element::F32,
            offset,
            shape: shape.into(),
            stride: stride.into(),
        };
        assert_eq!(layout(1, &[2, 3], &[1, 2]).values(&storage).unwrap(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        assert_eq!(layout(7, &[], &[]).values(&storage).unwrap(), [7.0]);
        assert!(layout(0, &[0, 9], &[9, 1]).values(&storage).unwrap().is_empty());
        for bad in [layout(3, &[2, 3], &[3, 1]), layout(0, &[usize::MAX, 2], &[1, 1]), layout(0, &[100], &[0])] {
            assert!(bad.values(&storage).unwrap_err().contains("beyond its storage"));
        }
    }
}
