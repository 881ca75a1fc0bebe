//! The application layer: processes that somebody named.

pub mod find;
pub mod process;
mod row;
pub mod table;
