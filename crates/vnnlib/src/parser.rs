//! VNN-LIB text → declared variables and one formula in and/or form, by recursive descent.

use std::time::Instant;

use crate::element::Element;
use crate::lexer::{Fault, Lexer, Token};
use crate::linear::{Atom, Inequality, Linear};
use crate::variables::{Group, Variables, shorten};

/// Deepest nesting of parentheses.
pub(crate) const MAX_DEPTH: usize = 200;

/// Nested conjunctions and disjunctions of inequalities.
#[derive(Debug)]
pub(crate) enum Formula<A = Atom> {
    All(Vec<Formula<A>>),
    Any(Vec<Formula<A>>),
    /// An inequality and where it stands.
    Atom(A, usize),
}

/// A formula as it is written.
type Written = Formula<Inequality>;

impl Written {
    /// All or any of `parts`.
    fn of(parts: Vec<Written>, all: bool) -> Written {
        if all { Formula::All(parts) } else { Formula::Any(parts) }
    }

    /// The formula that holds exactly where this one does not.
    fn negated(self) -> Written {
        let each = |parts: Vec<Written>| parts.into_iter().map(Written::negated).collect();
        match self {
            Formula::All(parts) => Formula::Any(each(parts)),
            Formula::Any(parts) => Formula::All(each(parts)),
            Formula::Atom(inequality, at) => Formula::Atom(inequality.negated(), at),
        }
    }

    /// The same for the normal form.
    fn resolved(self) -> Result<Formula, Fault> {
        let each = |parts: Vec<Written>| parts.into_iter().map(Written::resolved).collect::<Result<Vec<_>, _>>();
        Ok(match self {
            Formula::All(parts) => Formula::All(each(parts)?),
            Formula::Any(parts) => Formula::Any(each(parts)?),
            Formula::Atom(inequality, at) => {
                let atom = inequality.atom().map_err(|problem| unusable(at, &problem))?;
                Formula::Atom(atom, at)
            }
        })
    }
}

/// What is wrong with the constraint at `at`.
fn unusable(at: usize, problem: &str) -> Fault {
    Fault::new(at, format!("this constraint cannot be used: {problem}"))
}

/// What a property file says.
#[derive(Debug)]
pub(crate) struct Script {
    pub inputs: Group,
    pub outputs: Group,
    /// The assertions, all of which hold for a counterexample.
    pub assertions: Vec<Formula>,
}

/// Parses a whole text, until `deadline` if there is one.
pub(crate) fn parse(text: &[u8], deadline: Option<Instant>) -> Result<Script, Fault> {
    let mut lexer = Lexer::new(text);
    let current = lexer.token()?;
    let mut parser = Parser { lexer, current, variables: Variables::default(), assertions: Vec::new(), deadline };
    while parser.current.0 != Token::End {
        parser.command()?;
    }
    let [inputs, outputs] = parser.variables.finish(parser.current.1)?;
    Ok(Script { inputs, outputs, assertions: parser.assertions })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The next token and where it begins.
    current: (Token<'a>, usize),
    variables: Variables,
    assertions: Vec<Formula>,
    deadline: Option<Instant>,
}

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Result<(Token<'a>, usize), Fault> {
        let next = self.lexer.token()?;
        Ok(std::mem::replace(&mut self.current, next))
    }

    fn expect(&mut self, wanted: Token<'static>, purpose: &str) -> Result<usize, Fault> {
        match self.advance()? {
            (token, at) if token == wanted => Ok(at),
            (token, at) => {
                Err(Fault::new(at, format!("expected {} {purpose}, found {}", describe(wanted), describe(token))))
            }
        }
    }

    fn symbol(&mut self, what: &str) -> Result<(&'a str, usize), Fault> {
        match self.advance()? {
            (Token::Symbol(symbol), at) => Ok((symbol, at)),
            (token, at) => Err(Fault::new(at, format!("expected {what}, found {}", describe(token)))),
        }
    }

    /// One top-level command.
    fn command(&mut self) -> Result<(), Fault> {
        self.expect(Token::Open, "to begin a command such as (assert …)")?;
        let (name, at) = self.symbol("the name of a command")?;
        match name {
            "declare-const" | "declare-fun" if self.variables.second_version => {
                return Err(Fault::new(at, format!("`{name}` belongs to VNN-LIB 1.0; use declare-network here")));
            }
            "declare-const" => self.declaration(false)?,
            "declare-fun" => self.declaration(true)?,
            "assert" => {
                let formula = self.formula(1)?.resolved()?;
                self.assertions.push(formula);
            }
            "vnnlib-version" => {
                let (version, at) = self.symbol("a version such as <2.0>")?;
                self.variables.begin_version(version, at)?;
            }
            "declare-network" => {
                self.variables.begin_network(at)?;
                self.network()?;
            }
            // Commands to a solver that say nothing about the property.
            "set-logic" | "set-info" | "set-option" | "check-sat" | "get-model" | "exit" => return self.skip_rest(at),
            _ => {
                return Err(Fault::new(
                    at,
                    format!("unknown command `{}`; use declare-const and assert", shorten(name)),
                ));
            }
        }
        self.expect(Token::Close, &format!("to end ({name} …)")).map(drop)
    }

    /// Skips to the end of the command that began at `start`.
    fn skip_rest(&mut self, start: usize) -> Result<(), Fault> {
        let mut depth = 1_usize;
        while depth > 0 {
            match self.advance()?.0 {
                Token::Open => depth += 1,
                Token::Close => depth -= 1,
                Token::End => return Err(Fault::new(start, "this command does not end; add `)`")),
                _ => {}
            }
        }
        Ok(())
    }

    fn declaration(&mut self, function: bool) -> Result<(), Fault> {
        let (name, at) = self.symbol("the name of a variable")?;
        self.variables.declare(name, at)?;
        if function {
            self.expect(Token::Open, "to begin the empty list of arguments")?;
            self.expect(Token::Close, "to end the empty list of arguments")?;
        }
        self.sort()
    }

    /// The type of an X_i or Y_i.
    fn sort(&mut self) -> Result<(), Fault> {
        let (sort, at) = self.symbol("the sort Real")?;
        match sort {
            "Real" => Ok(()),
            _ => Err(Fault::new(at, format!("the type `{}` is not supported; use Real", shorten(sort)))),
        }
    }

    /// The rest of (declare-network name (declare-input …) (declare-hidden …)… (declare-output …)).
    fn network(&mut self) -> Result<(), Fault> {
        self.symbol("the name of the network")?;
        while self.current.0 == Token::Open {
            self.expect(Token::Open, "")?;
            let (kind, at) = self.symbol("declare-input or declare-output")?;
            match kind {
                "declare-input" | "declare-output" | "declare-hidden" => {}
                "isomorphic-to" | "equal-to" => {
                    let problem = format!("`{kind}` compares two networks, which is not supported; use one network");
                    return Err(Fault::new(at, problem));
                }
                _ => {
                    let problem = format!(
                        "`{}` is no part of a network; use declare-input, declare-hidden and declare-output",
                        shorten(kind)
                    );
                    return Err(Fault::new(at, problem));
                }
            }
            let (name, at) = self.symbol("the name of a tensor")?;
            if name.starts_with(|c: char| !c.is_ascii_alphabetic()) {
                return Err(Fault::new(at, format!("`{}` is no name; begin names with a letter", shorten(name))));
            }
            let (word, place) = self.symbol("the type of the tensor's elements, such as float32")?;
            let element = Element::named(word).map_err(|problem| Fault::new(place, problem))?;
            let shape = self.indices()?;
            match kind {
                "declare-hidden" => self.variables.declare_hidden(name, at)?,
                _ => self.variables.declare_tensor(kind == "declare-output", name, element, shape, at)?,
            }
            // The tensor's name in the ONNX file, which has only one input and one output.
            if matches!(self.current.0, Token::Symbol(_)) {
                self.advance()?;
            }
            self.expect(Token::Close, &format!("to end ({kind} …)"))?;
        }
        Ok(())
    }

    /// [a, b, …]
    fn indices(&mut self) -> Result<Vec<usize>, Fault> {
        self.expect(Token::OpenBracket, "to begin a list of numbers")?;
        let mut indices = Vec::new();
        if self.current.0 == Token::CloseBracket {
            self.advance()?;
            return Ok(indices);
        }
        loop {
            let (digits, at) = self.symbol("a whole number")?;
            let index = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
            indices.push(index.ok_or_else(|| Fault::new(at, format!("`{}` is no whole number", shorten(digits))))?);
            if indices.len() > 16 {
                return Err(Fault::new(at, "tensors have at most 16 axes here"));
            }
            match self.advance()? {
                (Token::Comma, _) => {}
                (Token::CloseBracket, _) => return Ok(indices),
                (token, at) => return Err(Fault::new(at, format!("expected `,` or `]`, found {}", describe(token)))),
            }
        }
    }

    fn formula(&mut self, depth: usize) -> Result<Written, Fault> {
        if let (Token::Symbol(word @ ("true" | "false")), at) = self.current {
            self.advance()?;
            return Ok(Formula::Atom(Inequality::Truth(word == "true"), at));
        }
        let start = self.expect(Token::Open, "to begin a constraint such as (<= X_0 1.0)")?;
        check_depth(depth, start)?;
        Fault::after(self.deadline, start)?;
        let (name, at) = self.symbol("and, or, <= or >=")?;
        let result = match name {
            "and" | "or" => Written::of(self.formulas(name, at, depth, 1)?, name == "and"),
            "not" => {
                let formula = self.formula(depth + 1)?;
                self.expect(Token::Close, "to end (not …)")?;
                formula.negated()
            }
            // (=> a b c) is (=> a (=> b c)): c, or not a, or not b.
            "=>" => {
                let mut parts = self.formulas(name, at, depth, 2)?;
                let last = parts.pop();
                Formula::Any(parts.into_iter().map(Written::negated).chain(last).collect())
            }
            "<=" | ">=" | "<" | ">" | "=" | "==" | "!=" | "distinct" => self.comparison(name, start, depth)?,
            "ite" => {
                let problem = "`ite` is not supported; write (and (=> condition first) (or condition second)) instead";
                return Err(Fault::new(at, problem));
            }
            _ => {
                let problem =
                    format!("`{}` is no constraint; use and, or, <=, >=, <, >, =, !=, not or =>", shorten(name));
                return Err(Fault::new(at, problem));
            }
        };
        Ok(result)
    }

    /// The rest of (name formulas…), of which there must be at least `least`.
    fn formulas(&mut self, name: &str, at: usize, depth: usize, least: usize) -> Result<Vec<Written>, Fault> {
        let mut parts = Vec::new();
        while matches!(self.current.0, Token::Open | Token::Symbol("true" | "false")) {
            parts.push(self.formula(depth + 1)?);
        }
        if parts.len() < least {
            let problem = match least {
                1 => format!("`{name}` without constraints; add one, or remove it"),
                _ => format!("`{name}` needs {least} constraints at least; add what is missing"),
            };
            return Err(Fault::new(at, problem));
        }
        self.expect(Token::Close, &format!("to end ({name} …)"))?;
        Ok(parts)
    }

    /// The rest of a chain of comparisons; every neighbouring pair must satisfy it. Inequations have one pair only.
    fn comparison(&mut self, name: &str, start: usize, depth: usize) -> Result<Written, Fault> {
        let [unequal, below, above] = [matches!(name, "!=" | "distinct"), name.starts_with('<'), name.starts_with('>')];
        let strict = unequal || matches!(name, "<" | ">");
        let mut parts = Vec::new();
        let mut at_most = |smaller: &Linear, larger: &Linear| {
            let mut difference = smaller.clone();
            difference.add(larger.clone(), -1.0);
            let inequality = difference.at_most_zero(strict).map_err(|problem| unusable(start, &problem))?;
            parts.push(Formula::Atom(inequality, start));
            Ok(())
        };
        let mut left = self.expression(depth + 1)?;
        loop {
            let right = self.expression(depth + 1)?;
            if !above {
                at_most(&left, &right)?;
            }
            if !below {
                at_most(&right, &left)?;
            }
            if self.current.0 == Token::Close {
                self.advance()?;
                return Ok(if parts.len() == 1 { parts.remove(0) } else { Written::of(parts, !unequal) });
            }
            if unequal {
                let problem = format!("`{name}` compares two values; write an `and` of several for more");
                return Err(Fault::new(self.current.1, problem));
            }
            left = right;
        }
    }

    fn expression(&mut self, depth: usize) -> Result<Linear, Fault> {
        let (token, at) = self.advance()?;
        let symbol = match token {
            Token::Symbol(symbol) => symbol,
            Token::Open => {
                check_depth(depth, at)?;
                let (operator, at) = self.symbol("+, -, * or /")?;
                let value = self.operation(operator, at, depth)?;
                self.expect(Token::Close, "to end an expression")?;
                return Ok(value);
            }
            _ => return Err(Fault::new(at, format!("expected a number or a variable, found {}", describe(token)))),
        };
        let indices = if self.current.0 == Token::OpenBracket { Some(self.indices()?) } else { None };
        match self.variables.find(symbol, indices.as_deref(), at)? {
            Some(variable) => Ok(Linear::variable(variable)),
            None => number(symbol).map(Linear::constant).map_err(|problem| Fault::new(at, problem)),
        }
    }

    /// The value of (operator operands…), up to the closing parenthesis.
    fn operation(&mut self, operator: &str, at: usize, depth: usize) -> Result<Linear, Fault> {
        if !matches!(operator, "+" | "-" | "*" | "/") {
            return Err(Fault::new(at, format!("`{}` is no operation; use +, -, * or /", shorten(operator))));
        }
        let mut value = self.expression(depth + 1)?;
        if self.current.0 == Token::Close && operator == "-" {
            value.scale(-1.0);
        }
        while self.current.0 != Token::Close {
            let place = self.current.1;
            let operand = self.expression(depth + 1)?;
            match operator {
                "+" => value.add(operand, 1.0),
                "-" => value.add(operand, -1.0),
                "*" if operand.terms.is_empty() => value.scale(operand.constant),
                "*" if value.terms.is_empty() => {
                    let factor = value.constant;
                    value = operand;
                    value.scale(factor);
                }
                "*" => return Err(Fault::new(place, "a product of variables is not linear; multiply by numbers only")),
                _ if !operand.terms.is_empty() || operand.constant == 0.0 => {
                    return Err(Fault::new(place, "the divisor must be a number other than 0"));
                }
                _ => value.divide(operand.constant),
            }
        }
        match value.is_finite() {
            true => Ok(value),
            false => Err(Fault::new(at, "the result overflows f64; use smaller numbers")),
        }
    }
}

/// A decimal number, read as the nearest f64.
fn number(symbol: &str) -> Result<f64, String> {
    // Rust would also read words such as `inf`.
    let numeric = symbol.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    let begins = symbol.trim_start_matches(['+', '-', '.']).starts_with(|c: char| c.is_ascii_digit());
    match symbol.parse::<f64>() {
        Ok(value) if numeric && value.is_finite() => Ok(value),
        Ok(_) if numeric => Err(format!("`{}` is too large for f64; use a smaller number", shorten(symbol))),
        _ if begins => Err(format!(
            "`{}` is a malformed number, neither a number nor a variable; write numbers as -0.5 or 1e-3, quotients as (/ 1 3)",
            shorten(symbol)
        )),
        _ => Err(format!(
            "`{}` is neither a number nor a variable; write numbers as -0.5 or 1e-3, variables as X_0 or Y_0",
            shorten(symbol)
        )),
    }
}

fn check_depth(depth: usize, at: usize) -> Result<(), Fault> {
    match depth > MAX_DEPTH {
        true => Err(Fault::new(at, format!("parentheses are nested more than {MAX_DEPTH} deep; flatten the formula"))),
        false => Ok(()),
    }
}

fn describe(token: Token<'_>) -> String {
    match token {
        Token::Open => "`(`".into(),
        Token::Close => "`)`".into(),
        Token::OpenBracket => "`[`".into(),
        Token::CloseBracket => "`]`".into(),
        Token::Comma => "`,`".into(),
        Token::Symbol(symbol) => format!("`{}`", shorten(symbol)),
        Token::End => "the end of the file; close every `(`".into(),
    }
}
