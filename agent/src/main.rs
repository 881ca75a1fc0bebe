//! `signalbox-agent`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    signalbox_agent::cli::main()
}
