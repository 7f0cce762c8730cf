//! A look at a file before it is decoded: what is tiny there may be large in memory.

use super::graph::MAX_NODES;
use crate::error::Problem;

/// Most initializers, inputs and outputs together.
const MAX_TENSORS: usize = 200_000;
/// Most attributes, names and other small parts of them all together.
const MAX_PARTS: usize = 400_000;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Node,
    Tensor,
    Part,
    /// A message that comes once.
    Single,
}

/// The fields of a message that are looked at: number, what an entry counts as, and its own fields (the ONNX schema).
struct Message(&'static [(u64, Entry, Message)]);

const PLAIN: Message = Message(&[]);
const TENSOR: Message = Message(&[(13, Entry::Part, PLAIN)]);
const VALUE: Message =
    Message(&[(2, Entry::Single, Message(&[(1, Entry::Single, Message(&[(2, Entry::Single, SHAPE)]))]))]);
const SHAPE: Message = Message(&[(1, Entry::Part, PLAIN)]);
const NODE: Message = Message(&[
    (1, Entry::Part, PLAIN),
    (2, Entry::Part, PLAIN),
    (5, Entry::Part, Message(&[(5, Entry::Single, TENSOR)])),
]);
const GRAPH: Message = Message(&[
    (1, Entry::Node, NODE),
    (5, Entry::Tensor, TENSOR),
    (11, Entry::Tensor, VALUE),
    (12, Entry::Tensor, VALUE),
]);
const MODEL: Message = Message(&[(7, Entry::Single, GRAPH), (8, Entry::Part, PLAIN)]);

/// Fails if the model has more entries than any network that is read: empty ones take two bytes in the file and a hundred
/// times that in memory. What is no such file at all is left to the decoder.
pub fn check(bytes: &[u8]) -> Result<(), Problem> {
    let mut counts = Counts::default();
    counts.count(bytes, &MODEL);
    let Counts { nodes, tensors, parts } = counts;
    let too_many = |count: usize, what: &str, most: usize| {
        Err(Problem::Model(format!("its graph has {count} {what}; at most {most} are read")))
    };
    if nodes > MAX_NODES {
        return too_many(nodes, "nodes", MAX_NODES);
    }
    if tensors > MAX_TENSORS {
        return too_many(tensors, "tensors", MAX_TENSORS);
    }
    if parts > MAX_PARTS {
        return too_many(parts, "attributes, names and dimensions", MAX_PARTS);
    }
    Ok(())
}

/// How many entries there are of each sort.
#[derive(Default)]
struct Counts {
    nodes: usize,
    tensors: usize,
    parts: usize,
}

impl Counts {
    /// Adds those in `bytes`, the content of a `message`.
    fn count(&mut self, bytes: &[u8], message: &Message) {
        for (number, content) in Fields(bytes) {
            let Some((_, entry, inner)) = message.0.iter().find(|(known, ..)| *known == number) else { continue };
            match entry {
                Entry::Node => self.nodes += 1,
                Entry::Tensor => self.tensors += 1,
                Entry::Part => self.parts += 1,
                Entry::Single => {}
            }
            self.count(content, inner);
        }
    }
}

/// The fields of a message, (number, content), the content empty for plain numbers; ends where the bytes make no sense.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (content, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(content)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let content = match key & 7 {
            0 => {
                self.varint()?;
                &[]
            }
            1 => self.take(8)?,
            2 => {
                let length = self.varint()?;
                self.take(length)?
            }
            5 => self.take(4)?,
            _ => return None,
        };
        Some((key >> 3, content))
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    /// A message with one field of this content.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(content);
        bytes
    }

    /// A model whose graph has `count` empty entries of one field.
    fn model(number: u8, count: usize) -> Vec<u8> {
        field(7, &[number << 3 | 2, 0].repeat(count))
    }

    #[test]
    fn many_empty_parts_are_counted_wherever_they_are() {
        let empty = |number: u8, count: usize| [number << 3 | 2, 0].repeat(count);
        let nested =
            |path: &[u8], content: Vec<u8>| path.iter().rev().fold(content, |inner, &number| field(number, &inner));
        // Attributes, names, external data of initializers and of attributes, dimensions; versions of operators.
        for (path, number) in [(&[7, 1][..], 5), (&[7, 1], 1), (&[7, 1], 2), (&[7, 5], 13), (&[7, 1, 5, 5], 13)]
            .into_iter()
            .chain([(&[7, 11, 2, 1, 2][..], 1), (&[7, 12, 2, 1, 2], 1), (&[], 8)])
        {
            assert!(check(&nested(path, empty(number, 300_000))).is_ok(), "{path:?}");
            let message = check(&nested(path, empty(number, 16_000_000))).unwrap_err().to_string();
            assert!(message.contains("at most 400000 are read"), "{path:?}: {message}");
        }
    }

    #[test]
    fn many_empty_entries_are_counted_before_they_are_made() {
        assert!(check(&model(1, 20_000)).is_ok());
        assert!(check(&model(1, 20_001)).unwrap_err().to_string().contains("20001 nodes"));
        assert!(check(&model(5, 16_000_000)).unwrap_err().to_string().contains("16000000 tensors"));
        for cut in 0..40 {
            assert!(check(&model(1, 30)[..cut]).is_ok());
        }
        assert!(check(&[0xff; 100]).is_ok());
    }
}
