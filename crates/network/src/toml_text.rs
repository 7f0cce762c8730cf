//! TOML texts from outside, whose nesting nobody has looked at yet.

use serde::de::{DeserializeOwned, Error as _};
use toml::de::Error;

use crate::text::bytes_text;

/// Longest text that is read: networks of tens of thousands of layers.
const LONGEST: usize = 8 << 20;
/// Texts up to this length are read on the stack at hand.
const SHORT: usize = 4 << 10;
/// Bytes of stack for each byte of text. The parser follows tables that are never closed beyond its own limit of depth, at up
/// to 27 bytes of stack a byte as measured.
const STACK: usize = 128;

/// What the TOML `text` holds.
///
/// # Errors
/// If it is no TOML, holds something else, or has more than 8 MiB.
pub fn parse_toml<T: DeserializeOwned + Send>(text: &str) -> Result<T, Error> {
    if text.len() <= SHORT {
        return toml::from_str(text);
    }
    if text.len() > LONGEST {
        let problem = format!(
            "holds {}, more than any such text needs; {} are read",
            bytes_text(text.len()),
            bytes_text(LONGEST)
        );
        return Err(Error::custom(problem));
    }
    let stack = STACK * text.len() + (1 << 20);
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(stack).spawn_scoped(scope, || toml::from_str(text));
        match reader.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(read)) => read,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(problem) => Err(Error::custom(format!(
                "needs {} of address space to be read ({problem}); free memory or raise its limit",
                bytes_text(stack)
            ))),
        }
    })
}

#[cfg(test)]
mod tests {
    use toml::Table;

    use super::{LONGEST, parse_toml};

    #[test]
    fn tables_that_are_never_closed_take_no_stack_beyond_its_end() {
        // Each unit opens a table within the one before; the quote that is out of step hides that from the parser's guard.
        let unit = "{.002/ibp, rgs\" = { skip = true }\n\"0.002/deeppoly, rgs\" = ";
        for times in [1, 10, 2_000, 50_000] {
            assert!(parse_toml::<Table>(&format!("a = {}", unit.repeat(times))).is_err(), "{times}");
        }
        let nested = "[".repeat(100_000);
        assert!(parse_toml::<Table>(&format!("a = {nested}")).is_err());
    }

    #[test]
    fn long_texts_are_read_as_short_ones() {
        let text: String = (0..2_000).map(|i| format!("key{i} = {i}\n")).collect();
        let read: Table = parse_toml(&text).unwrap();
        assert_eq!((read.len(), read["key1999"].as_integer()), (2_000, Some(1999)));
        let error = parse_toml::<Table>(&" ".repeat(LONGEST + 1)).unwrap_err().to_string();
        assert!(error.contains("more than any such text needs"), "{error}");
    }
}
