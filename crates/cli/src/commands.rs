//! One file per command.

pub mod attack;
pub mod bounds;
pub mod certify;
pub mod check;
pub mod completions;
pub mod config;
pub mod data;
pub mod export;
pub mod landscape;
pub mod man;
pub mod merge;
pub mod quickstart;
pub mod recipe;
pub mod report;
pub mod reproduce;
pub mod sweep;
pub mod train;
pub mod verify;
