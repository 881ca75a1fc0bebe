//! `signalbox`: the operator's command. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    signalbox_ctl::run::main(std::env::args_os().collect())
}
