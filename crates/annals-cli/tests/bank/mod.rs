//! The bank served by the real binary, as its clients and its operator see it: processes, HTTP, commands, books.
//!
//! Shared by the campaigns that kill it.
#![allow(dead_code, reason = "no campaign needs all of it")]

pub mod books;
pub mod checks;
pub mod http;
pub mod orders;
pub mod server;
