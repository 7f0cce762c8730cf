//! A look at a file before it is decoded: what is tiny there may be large in memory.

use super::graph::MAX_NODES;
use crate::error::Problem;

/// Most initializers, inputs and outputs together.
const MAX_TENSORS: usize = 200_000;
/// Number of the graph in a model, and of nodes, initializers, inputs and outputs in a graph (the ONNX schema).
const GRAPH: u64 = 7;
const NODE: u64 = 1;
const OTHERS: [u64; 3] = [5, 11, 12];

/// Fails if the graph has more entries than any network that is read: empty ones take two bytes in the file and a hundred
/// times that in memory. What is no such file at all is left to the decoder.
pub fn check(bytes: &[u8]) -> Result<(), Problem> {
    let (mut nodes, mut tensors) = (0, 0);
    for (field, content) in Fields(bytes) {
        if field != GRAPH {
            continue;
        }
        for (field, _) in Fields(content) {
            nodes += usize::from(field == NODE);
            tensors += usize::from(OTHERS.contains(&field));
        }
    }
    if nodes > MAX_NODES {
        return Err(Problem::Model(format!("its graph has {nodes} nodes; at most {MAX_NODES} are read")));
    }
    if tensors > MAX_TENSORS {
        return Err(Problem::Model(format!("its graph has {tensors} tensors; at most {MAX_TENSORS} are read")));
    }
    Ok(())
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

    /// A model whose graph has `count` empty entries of one field.
    fn model(field: u8, count: usize) -> Vec<u8> {
        let graph: Vec<u8> = [field << 3 | 2, 0].repeat(count);
        let mut bytes = vec![7 << 3 | 2];
        let mut length = graph.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(graph);
        bytes
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
