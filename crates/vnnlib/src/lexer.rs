//! Cuts VNN-LIB text into parentheses and symbols, without comments.

use std::time::Instant;

/// Something wrong at a byte of the text.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    pub offset: usize,
    pub problem: String,
    /// Nothing is wrong but that the time is out.
    pub late: bool,
}

impl Fault {
    pub(crate) fn new(offset: usize, problem: impl Into<String>) -> Self {
        Fault { offset, problem: problem.into(), late: false }
    }

    /// Fails at `offset` once `deadline`, if there is one, has passed.
    pub(crate) fn after(deadline: Option<Instant>, offset: usize) -> Result<(), Fault> {
        match deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            true => Err(Fault { offset, problem: String::new(), late: true }),
            false => Ok(()),
        }
    }
}

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Comma,
    /// A number, name, operator or quoted text.
    Symbol(&'a str),
    End,
}

/// Reads tokens one at a time, so that memory does not grow with the text.
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    next: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        // A byte-order mark is no part of the text.
        let next = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        Lexer { text, next }
    }

    /// The next token and where it begins.
    pub(crate) fn token(&mut self) -> Result<(Token<'a>, usize), Fault> {
        self.skip();
        let start = self.next;
        let Some(&byte) = self.text.get(start) else { return Ok((Token::End, start)) };
        self.next += 1;
        let token = match byte {
            b'(' => Token::Open,
            b')' => Token::Close,
            b'[' => Token::OpenBracket,
            b']' => Token::CloseBracket,
            b',' => Token::Comma,
            b'"' | b'|' => {
                let Some(length) = self.text[self.next..].iter().position(|&other| other == byte) else {
                    return Err(Fault::new(start, format!("no closing `{}` follows; add it", char::from(byte))));
                };
                self.next += length + 1;
                // |X_0| is the name X_0, a "text" keeps its quotes.
                let cut = usize::from(byte == b'|');
                Token::Symbol(self.utf8(start + cut, self.next - cut)?)
            }
            _ => {
                while self.text.get(self.next).is_some_and(|&byte| !ends_symbol(byte)) {
                    self.next += 1;
                }
                Token::Symbol(self.utf8(start, self.next)?)
            }
        };
        Ok((token, start))
    }

    fn utf8(&self, start: usize, end: usize) -> Result<&'a str, Fault> {
        std::str::from_utf8(&self.text[start..end])
            .map_err(|_| Fault::new(start, "is no UTF-8 text; give a VNN-LIB property, unpacked"))
    }

    fn skip(&mut self) {
        while let Some(&byte) = self.text.get(self.next) {
            match byte {
                b';' => {
                    let length = self.text[self.next..].iter().position(|&byte| byte == b'\n');
                    self.next = length.map_or(self.text.len(), |length| self.next + length + 1);
                }
                _ if byte.is_ascii_whitespace() => self.next += 1,
                _ => return,
            }
        }
    }
}

fn ends_symbol(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'(' | b')' | b'[' | b']' | b',' | b';' | b'"' | b'|')
}

#[cfg(test)]
mod tests {
    use super::{Lexer, Token};

    #[test]
    fn comments_quotes_and_positions() {
        let text = b"; first (\n(<= |X_0| -1e-3); last";
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        loop {
            let (token, offset) = lexer.token().unwrap();
            tokens.push((token, offset));
            if token == Token::End {
                break;
            }
        }
        let symbol = Token::Symbol;
        let expected = [
            (Token::Open, 10),
            (symbol("<="), 11),
            (symbol("X_0"), 14),
            (symbol("-1e-3"), 20),
            (Token::Close, 25),
            (Token::End, text.len()),
        ];
        assert_eq!(tokens, expected);
        assert_eq!(Lexer::new(b" |X").token().unwrap_err().offset, 1);
        assert!(Lexer::new(b"\xff").token().unwrap_err().problem.contains("UTF-8"));
    }
}
