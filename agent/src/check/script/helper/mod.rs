//! The helper, `signalbox-agent run-script`: one order in, one script run, one report
//! out. Everything here may wait; it is a process of its own.
//!
//! ```text
//! read the order -> read secrets -> open and check the executable -> limit ourselves
//!    -> start it by descriptor, as its user -> watch it -> kill what is left -> report
//! ```
//!
//! Secrets are read with the agent's rights, reach the script's environment alone, and
//! are taken out of what it says.

mod cage;
mod open;
mod secret;
mod watch;

pub(super) use secret::is_reference;

use super::order::{self, Order, Outcome, Report};
use open::Trust;
use std::fs::File;
use std::io::{self, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

/// Does what the order on the standard input says. Not for people.
pub fn run_script() -> ExitCode {
    let order: Order = match order::read(&mut stdin().lock()) {
        Ok(order) => order,
        Err(error) => {
            eprintln!("signalbox-agent: run-script is started by the agent itself: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = match act(&order) {
        Ok(report) => report,
        Err(why) => Report { outcome: Some(Outcome::Refused(why)), ..Report::default() },
    };
    match order::write(&report, &mut stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The order's executable, if it is trusted and has the bytes that it must have.
///
/// # Errors
/// Why it would not be run, with the remedy.
pub(super) fn executable(order: &Order) -> Result<File, String> {
    let path = order.command.first().ok_or("the command is empty")?;
    let trust = Trust { owners: &order.owners, root: Path::new("/") };
    let executable = trust.open(Path::new(path)).map_err(|error| error.to_string())?;
    if !order.sha256.is_empty() {
        open::check_digest(&executable, &order.sha256).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(executable)
}

fn act(order: &Order) -> Result<Report, String> {
    let environment = secret::environment(&order.env)?;
    let path = order.command.first().ok_or("the command is empty")?;
    let executable = executable(order)?;
    cage::enter(order).map_err(|error| format!("limit what {path} may do: {error}"))?;
    let child =
        cage::start(order, executable, &environment).map_err(|error| format!("start {path}: {}", said(&error)))?;
    let mut report = watch::watch(child, order).map_err(|error| format!("watch {path}: {error}"))?;
    for value in &environment {
        value.redact(&mut report.stdout);
        value.redact(&mut report.stderr);
    }
    Ok(report)
}

/// The kernel's word, with what it usually means here.
fn said(error: &io::Error) -> String {
    let hint = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOEXEC) => "; a script needs a first line such as #!/bin/sh",
        Some(rustix::io::Errno::ACCESS) => "; its user must be allowed to read and to execute it",
        Some(rustix::io::Errno::PERM) => "; the agent may not become its user, see the drop-in scripts-as-users.conf",
        Some(rustix::io::Errno::NOENT) => "; the program that its first line names is not there",
        _ => "",
    };
    format!("{error}{hint}")
}
