//! Reads VNN-LIB properties and VNN-COMP instance lists, and words the results.

mod element;
mod error;
mod instances;
mod lexer;
mod linear;
mod normal;
mod parser;
mod property;
mod read;
mod result;
mod tighten;
mod variables;

pub use error::VnnlibError;
pub use instances::Instance;
pub use property::{Case, Constraint, Property};
pub use read::MAX_BYTES;
pub use result::{Verdict, witness};
