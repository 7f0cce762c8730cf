//! What the tests of the workspace share. A development dependency of the crates that it depends on itself: their
//! integration tests may use it, their unit tests may not, as those would see two versions of their own types.

pub mod clock;
pub mod damage;
pub mod differences;
pub mod evaluate;
pub mod golden;
pub mod losses;
pub mod memory;
pub mod networks;
pub mod peer;
pub mod random;
pub mod sampling;
pub mod shared;
