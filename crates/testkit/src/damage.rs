//! Damaged copies of files, the same for a seed.

use std::ops::Range;

use crate::random::Rng;

/// Longest damaged file, in bytes.
const LONGEST: usize = 1 << 18;
/// Most bytes that one damage repeats.
const MOST_REPEATED: usize = 1 << 17;

/// How many damaged files of each format the suites feed: `TIGHTROPE_MUTATIONS`, or `usual`.
pub fn mutations(usual: u64) -> u64 {
    from_environment("TIGHTROPE_MUTATIONS").unwrap_or(usual)
}

/// The first seed of them: `TIGHTROPE_MUTATION_SEED`, or 0.
pub fn first_seed() -> u64 {
    from_environment("TIGHTROPE_MUTATION_SEED").unwrap_or(0)
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value}: give a whole number")))
}

/// Damage to files.
pub struct Damage(Rng);

impl Damage {
    /// The damage of a seed.
    pub fn new(seed: u64) -> Self {
        Damage(Rng::new(seed))
    }

    fn below(&self, count: usize) -> usize {
        self.0.below(count.max(1))
    }

    /// Some consecutive bytes of `length`, at most `most`.
    fn part(&self, length: usize, most: usize) -> Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        let start = a.min(b);
        start..a.max(b).min(start + most)
    }

    /// One of `files`, mostly of the first `whole`, with one to four kinds of damage.
    pub fn file(&self, files: &[Vec<u8>], whole: usize) -> Vec<u8> {
        let among = if self.below(4) > 0 { whole } else { files.len() };
        let mut data = files[self.below(among)].clone();
        for _ in 0..[1, 1, 1, 2, 4][self.below(5)] {
            self.apply(&mut data, files);
        }
        data.truncate(LONGEST);
        data
    }

    fn apply(&self, data: &mut Vec<u8>, files: &[Vec<u8>]) {
        let at = self.below(data.len());
        match self.below(10) {
            0 if !data.is_empty() => data[at] ^= 1 << self.below(8),
            1 if !data.is_empty() => data[at] = [0, 1, 0x7f, 0x80, 0xff, b'-', b'9', b'('][self.below(8)],
            2 => data.truncate(at),
            3 => drop(data.drain(self.part(data.len(), 64))),
            4 => {
                let other = &files[self.below(files.len())];
                let from = self.below(other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
            // A piece again and again: nesting, long lists, many layers.
            5 => {
                let piece = data[self.part(data.len(), 200)].to_vec();
                let times = 1 << self.below(12);
                data.splice(at..at, piece.repeat(times).into_iter().take(MOST_REPEATED));
            }
            6 => {
                let many = 1 << self.below(16);
                let open =
                    [&b"("[..], b"[", b"{", b"(and ", b"(- ", b"[[", b"{\"layers\":", b"\x0a\xff\x01"][self.below(8)];
                data.splice(at..at, open.repeat(many).into_iter().take(MOST_REPEATED));
            }
            // Numbers as text.
            7 => {
                let digit = data[at..].iter().position(u8::is_ascii_digit).map_or(at, |step| at + step);
                let run = data[digit..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let huge = [
                    &b"0"[..],
                    b"4294967296",
                    b"18446744073709551615",
                    b"99999999999999999999",
                    b"-1",
                    b"1e308",
                    b"1e-320",
                    b"16777215",
                    b"3000000000",
                    b"0.1e",
                ][self.below(10)];
                data.splice(digit..digit + run, huge.iter().copied());
            }
            // Numbers in seven-bit groups, and lengths that lie.
            8 => {
                let huge = [
                    &b"\xff\xff\xff\xff\x0f"[..],
                    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                    b"\x80\x80\x80\x80\x10",
                    b"\xff\xff\xff\x07",
                    b"\x80\x00",
                    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
                ][self.below(6)];
                let end = (at + self.below(3)).min(data.len());
                data.splice(at..end, huge.iter().copied());
            }
            _ => {
                let piece = data[self.part(data.len(), 64)].to_vec();
                data.splice(at..at, piece);
            }
        }
    }
}
