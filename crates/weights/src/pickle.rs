//! Pickles read as data: the values that a program of stack operations builds, with calls kept as records of what was called.
//!
//! Protocols 0 to 5 as PyTorch writes them; see Python's `pickletools` for the operations.

use std::collections::HashMap;
use std::rc::Rc;

/// A value of a pickle.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// None.
    None,
    /// True or False.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Text(Rc<str>),
    /// Bytes.
    Bytes(Rc<[u8]>),
    /// A tuple, list or set, with the numbers of its items in [`Pickle::lists`].
    List(usize),
    /// A dictionary, with its pairs in [`Pickle::dicts`].
    Dict(usize),
    /// The name of a class or function: module and name.
    Global(Rc<str>, Rc<str>),
    /// What a call would have returned; see [`Pickle::calls`].
    Call(usize),
    /// What a persistent identifier stands for.
    Persistent(Box<Value>),
}

/// A call of a pickle that nobody makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What would be called.
    pub function: Value,
    /// With which arguments, a list.
    pub arguments: Value,
    /// Pairs that were put into the result as into a dictionary.
    pub items: Vec<(Value, Value)>,
    /// The state that the result was given.
    pub state: Option<Value>,
}

/// A pickle's value with all that it refers to.
#[derive(Clone, Debug, Default)]
pub struct Pickle {
    /// The items of tuples, lists and sets.
    pub lists: Vec<Vec<Value>>,
    /// The pairs of dictionaries, in order.
    pub dicts: Vec<Vec<(Value, Value)>>,
    /// The calls that were not made.
    pub calls: Vec<Call>,
}

/// Operations that a pickle may have, some thirty for each tensor; beyond it is an attack, not a network. One takes up to some
/// hundred bytes of memory, however short it is in the file.
const MOST_OPERATIONS: usize = 1_000_000;

impl Pickle {
    /// Reads `bytes`: the value they build, and what it refers to.
    ///
    /// # Errors
    /// The operation that is damaged or unknown, with its place.
    pub fn read(bytes: &[u8]) -> Result<(Value, Pickle), String> {
        let mut machine = Machine {
            bytes,
            place: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            pickle: Pickle::default(),
            operations: 0,
        };
        let value = machine.run()?;
        Ok((value, machine.pickle))
    }

    /// The items of a tuple or list.
    pub fn items(&self, value: &Value) -> Option<&[Value]> {
        match value {
            Value::List(index) => Some(&self.lists[*index]),
            _ => None,
        }
    }

    /// The pairs of a dictionary, an ordered one included.
    pub fn pairs(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(index) => Some(&self.dicts[*index]),
            Value::Call(index) => {
                let call = &self.calls[*index];
                let ordered = matches!(&call.function, Value::Global(module, name)
                    if &**module == "collections" && &**name == "OrderedDict");
                ordered.then_some(&call.items[..])
            }
            _ => None,
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    place: usize,
    stack: Vec<Value>,
    /// Heights of the stack at marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    pickle: Pickle,
    /// Operations so far.
    operations: usize,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Value, String> {
        loop {
            let at = self.place;
            let operation = self.take(1)?[0];
            if operation == b'.' {
                return self.pop();
            }
            self.step(operation).map_err(|problem| format!("operation {operation:#04x} at byte {at}: {problem}"))?;
            self.operations += 1;
            if self.operations > MOST_OPERATIONS {
                return Err(format!("more than {MOST_OPERATIONS} operations; save the network's state dict alone"));
            }
        }
    }

    fn step(&mut self, operation: u8) -> Result<(), String> {
        match operation {
            // PROTO, FRAME.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.marked()?),
            b'2' => {
                let top = self.top()?.clone();
                self.stack.push(top);
            }
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => self.int(1)?,
            b'M' => self.int(2)?,
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(value.into()));
            }
            b'I' => {
                let line = self.line()?;
                let value = match line {
                    "00" => Value::Bool(false),
                    "01" => Value::Bool(true),
                    number => Value::Int(number.parse().map_err(|_| format!("`{number}` is no whole number"))?),
                };
                self.stack.push(value);
            }
            // LONG1, LONG4.
            0x8a => {
                let count = self.number(1)?;
                self.long(count)?;
            }
            0x8b => {
                let count = self.number(4)?;
                self.long(count)?;
            }
            b'L' => {
                let line = self.line()?.trim_end_matches('L');
                let value = line.parse().map_err(|_| format!("`{line}` is no whole number of 64 bits"))?;
                self.stack.push(Value::Int(value));
            }
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.stack.push(Value::Float(value));
            }
            b'F' => {
                let line = self.line()?;
                let value = line.parse().map_err(|_| format!("`{line}` is no number"))?;
                self.stack.push(Value::Float(value));
            }
            // Texts: BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, BINSTRING, SHORT_BINSTRING.
            b'X' | b'T' => self.text(4)?,
            0x8c | b'U' => self.text(1)?,
            0x8d => self.text(8)?,
            b'V' => {
                let line: Rc<str> = self.line()?.into();
                self.stack.push(Value::Text(line));
            }
            b'S' => {
                let line = self.line()?;
                let inner = line.get(1..line.len().saturating_sub(1)).unwrap_or_default();
                self.stack.push(Value::Text(inner.into()));
            }
            // Bytes: BINBYTES, SHORT_BINBYTES, BINBYTES8.
            b'B' => self.raw(4)?,
            b'C' => self.raw(1)?,
            0x8e => self.raw(8)?,
            // Empty containers.
            b']' | b')' | 0x8f => self.list(Vec::new()),
            b'}' => {
                self.pickle.dicts.push(Vec::new());
                self.stack.push(Value::Dict(self.pickle.dicts.len() - 1));
            }
            // Tuples, lists and frozen sets of what is marked.
            b't' | b'l' | 0x91 => {
                let items = self.marked()?;
                self.list(items);
            }
            b'd' => {
                let pairs = pairs(self.marked()?)?;
                self.pickle.dicts.push(pairs);
                self.stack.push(Value::Dict(self.pickle.dicts.len() - 1));
            }
            0x85..=0x87 => {
                let count = usize::from(operation - 0x84);
                let first = self.stack.len().checked_sub(count).ok_or("nothing is left on the stack")?;
                let items = self.stack.split_off(first);
                self.list(items);
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.marked()?;
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.insert(vec![(key, value)])?;
            }
            b'u' => {
                let new = pairs(self.marked()?)?;
                self.insert(new)?;
            }
            // Memory: PUT, BINPUT, LONG_BINPUT, MEMOIZE, GET, BINGET, LONG_BINGET.
            b'p' => {
                let key = self.key()?;
                self.keep(key)?;
            }
            b'q' => {
                let key = self.number(1)? as u32;
                self.keep(key)?;
            }
            b'r' => {
                let key = self.number(4)? as u32;
                self.keep(key)?;
            }
            0x94 => self.keep(self.memo.len() as u32)?,
            b'g' => {
                let key = self.key()?;
                self.recall(key)?;
            }
            b'h' => {
                let key = self.number(1)? as u32;
                self.recall(key)?;
            }
            b'j' => {
                let key = self.number(4)? as u32;
                self.recall(key)?;
            }
            // Names and calls: GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ, BUILD, persistent identifiers.
            b'c' => {
                let module: Rc<str> = self.line()?.into();
                let name: Rc<str> = self.line()?.into();
                self.stack.push(Value::Global(module, name));
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.stack.push(Value::Global(module, name)),
                _ => return Err("a name that is no text".into()),
            },
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                self.pickle.calls.push(Call { function, arguments, items: Vec::new(), state: None });
                self.stack.push(Value::Call(self.pickle.calls.len() - 1));
            }
            b'b' => {
                let state = self.pop()?;
                if let Value::Call(index) = *self.top()? {
                    self.pickle.calls[index].state = Some(state);
                }
            }
            b'Q' => {
                let identifier = self.pop()?;
                // Boxes in boxes without end would be freed by as many calls.
                if matches!(identifier, Value::Persistent(_)) {
                    return Err("an identifier of an identifier".into());
                }
                self.stack.push(Value::Persistent(Box::new(identifier)));
            }
            _ => return Err("unknown; the file is no pickle, or of a newer kind".into()),
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.place.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("the pickle ends at byte {}, in the middle", self.bytes.len()))?;
        let taken = &self.bytes[self.place..end];
        self.place = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A little-endian number of so many bytes.
    fn number(&mut self, bytes: usize) -> Result<usize, String> {
        let value = self.take(bytes)?.iter().rev().fold(0_u64, |value, &byte| (value << 8) | u64::from(byte));
        usize::try_from(value).map_err(|_| "a length beyond memory".into())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.place..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or("a line that does not end")?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).map_err(|_| "a line that is no text".into())
    }

    fn key(&mut self) -> Result<u32, String> {
        let line = self.line()?;
        line.parse().map_err(|_| format!("`{line}` is no place in memory"))
    }

    fn int(&mut self, bytes: usize) -> Result<(), String> {
        let value = self.number(bytes)?;
        self.stack.push(Value::Int(value as i64));
        Ok(())
    }

    /// A two's complement number of `count` bytes.
    fn long(&mut self, count: usize) -> Result<(), String> {
        let bytes = self.take(count)?;
        if count > 8 {
            return Err("a whole number of more than 64 bits".into());
        }
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut full = [if negative { 0xff } else { 0 }; 8];
        full[..count].copy_from_slice(bytes);
        self.stack.push(Value::Int(i64::from_le_bytes(full)));
        Ok(())
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let count = self.number(length)?;
        let text = std::str::from_utf8(self.take(count)?).map_err(|_| "a text that is no UTF-8")?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    fn raw(&mut self, length: usize) -> Result<(), String> {
        let count = self.number(length)?;
        let bytes: Rc<[u8]> = self.take(count)?.into();
        self.stack.push(Value::Bytes(bytes));
        Ok(())
    }

    fn list(&mut self, items: Vec<Value>) {
        self.pickle.lists.push(items);
        self.stack.push(Value::List(self.pickle.lists.len() - 1));
    }

    fn top(&self) -> Result<&Value, String> {
        self.stack.last().ok_or_else(|| "nothing is left on the stack".into())
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(|| "nothing is left on the stack".into())
    }

    /// What lies above the last mark.
    fn marked(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len()).ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, items: Vec<Value>) -> Result<(), String> {
        match *self.top()? {
            Value::List(index) => self.pickle.lists[index].extend(items),
            // Of an object that is not known, its items are not, either.
            Value::Call(_) => {}
            _ => return Err("items for something that is no list".into()),
        }
        Ok(())
    }

    fn insert(&mut self, new: Vec<(Value, Value)>) -> Result<(), String> {
        match *self.top()? {
            Value::Dict(index) => self.pickle.dicts[index].extend(new),
            Value::Call(index) => self.pickle.calls[index].items.extend(new),
            _ => return Err("pairs for something that is no dictionary".into()),
        }
        Ok(())
    }

    fn keep(&mut self, key: u32) -> Result<(), String> {
        let value = self.top()?.clone();
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let value = self.memo.get(&key).ok_or_else(|| format!("nothing was kept under {key}"))?;
        self.stack.push(value.clone());
        Ok(())
    }
}

fn pairs(items: Vec<Value>) -> Result<Vec<(Value, Value)>, String> {
    if !items.len().is_multiple_of(2) {
        return Err("a key without a value".into());
    }
    let mut items = items.into_iter();
    Ok(std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect())
}

#[cfg(test)]
mod tests {
    use super::{Pickle, Value};

    #[test]
    fn values_are_those_that_were_pickled() {
        // pickle.dumps({"a": [1, -2, 2.5], "b": (True, None, b"x")}, 2), by hand.
        let bytes =
            b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG\x40\x04\x00\x00\x00\x00\x00\x00e\
                      X\x01\x00\x00\x00bq\x03\x88NC\x01x\x87q\x04u.";
        let (value, pickle) = Pickle::read(bytes).unwrap();
        let pairs = pickle.pairs(&value).unwrap();
        assert_eq!(pairs[0].0, Value::Text("a".into()));
        assert_eq!(pickle.items(&pairs[0].1).unwrap(), [Value::Int(1), Value::Int(-2), Value::Float(2.5)]);
        let inner = pickle.items(&pairs[1].1).unwrap();
        assert_eq!(inner, [Value::Bool(true), Value::None, Value::Bytes((*b"x").into())]);
    }

    #[test]
    fn calls_are_recorded_and_not_made() {
        let (value, pickle) = Pickle::read(b"cos\nsystem\n(X\x02\x00\x00\x00lstR.").unwrap();
        let Value::Call(index) = value else { panic!("{value:?}") };
        assert_eq!(pickle.calls[index].function, Value::Global("os".into(), "system".into()));
        let arguments = pickle.items(&pickle.calls[index].arguments).unwrap();
        assert_eq!(arguments, [Value::Text("ls".into())]);
    }

    /// Nested values cost much more memory than bytes of the file, so their number is bounded.
    #[test]
    fn endless_nests_are_refused() {
        for operation in [&b"]"[..], b"(", b"}", b")\x85", b"N\x94"] {
            let problem = Pickle::read(&operation.repeat(1_100_000)).unwrap_err();
            assert!(problem.contains("more than 1000000 operations"), "{problem}");
        }
        let nested = [&b"N"[..], &b"Q".repeat(900_000), b"."].concat();
        assert!(Pickle::read(&nested).unwrap_err().contains("identifier of an identifier"));
    }

    #[test]
    fn damage_is_told_with_its_place() {
        for (bytes, part) in [
            (&b"\x80\x02}"[..], "ends at byte 3"),
            (b"\xff.", "0xff at byte 0"),
            (b"K\x01t.", "no mark"),
            (b"(K\x01d.", "key without a value"),
            (b"h\x07.", "under 7"),
            (b"X\xff\xff\xff\xff.", "in the middle"),
            (b".", "nothing is left"),
            (b"\x8a\x09012345678.", "more than 64 bits"),
        ] {
            let problem = Pickle::read(bytes).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }
}
