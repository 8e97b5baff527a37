//! The `annals` command: the reference contexts with every command that a program of Annals has, and a demo.
//!
//! There is one reference context now, the bank. Without arguments the demo runs.

mod demo;

use std::process::ExitCode;

use annals::cli::Program;
use tikv_jemallocator::Jemalloc;

/// Records are many small pieces, made by one thread and often dropped by another. The C library's allocator took
/// two fifths of the relay's time for them.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    Program::new([annals_bank::bank()]).command(demo::command(), demo::run).default_command(demo::NAME).run()
}
