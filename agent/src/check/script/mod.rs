//! Check scripts: programs of the host's own, run in a cage, read as Nagios plugins are.
//!
//! ```text
//! agent (samples, never waits)              helper (`signalbox-agent run-script`)
//! ScriptCheck --- order ---> stdin          opens the executable, checks its whole path,
//!                                           limits itself, starts it by descriptor,
//!             <-- report --- stdout         kills what is left of it, tells how it ended
//! stdin closed: the agent is gone, end it
//! ```
//!
//! What runs is said by files of this host alone ([`config`]); no message of a
//! collector names or changes a script. A helper does everything that may wait (a
//! dead network file system, a hung program), so that sampling never does; its
//! report wakes the agent through [`Check::wake_fds`]. At most four run at one
//! time, one of each; the others wait for their turn. What a script says is read by
//! [`output`]: the exit code is its state, the text its evidence, the performance
//! data its series.

pub(crate) mod config;
mod helper;
mod order;
mod output;
mod run;
pub(crate) mod spec;

pub use helper::run_script;
pub use spec::{Account, Limits, ScriptSpec};

use crate::check::columns::{Columns, Fingerprint};
use crate::check::roster::LEFT_OUT;
use crate::check::text::round4;
use crate::check::{Check, CheckError, Instant, Layout};
use order::{Outcome, Report};
use output::{Output, Value};
use run::{Permit, Progress, ROOM, Room, Running};
use signalbox_proto::names::Labels;
use signalbox_proto::samples::{CheckResult, CheckState};
use signalbox_proto::units::Millis;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether a script would be started now.
///
/// # Errors
/// Why not, in the words that its check would say.
pub(crate) fn examine(spec: &ScriptSpec) -> Result<(), String> {
    helper::executable(&spec.order()).map(drop)
}

/// This very program, even after its file was replaced by another version.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";
/// A helper that has not told after its script's time limit and this much more waits
/// for something that nothing can end, such as a dead network file system.
const OVERDUE_AFTER: Millis = Millis::from_secs(5);

/// Runs one script and tells what it says.
pub struct ScriptCheck {
    check: String,
    spec: ScriptSpec,
    program: PathBuf,
    room: Arc<Room>,
    stage: Stage,
    /// The next start is not before this.
    due: Millis,
    found: Option<CheckResult>,
    columns: Columns,
    /// Shown while there is nothing to say.
    nothing: Layout,
    says: bool,
}

enum Stage {
    Idle,
    /// Due, and four others run.
    Waiting,
    Running {
        run: Running,
        since: Millis,
        /// Given back early by one that is overdue.
        permit: Option<Permit>,
    },
}

impl ScriptCheck {
    /// A check that has `program` run the script: the agent's own executable.
    pub fn new(spec: ScriptSpec, program: &Path) -> ScriptCheck {
        ScriptCheck {
            check: format!("script:{}", spec.name),
            spec,
            program: program.to_owned(),
            room: Arc::clone(&ROOM),
            stage: Stage::Idle,
            due: Millis::ZERO,
            found: None,
            columns: Columns::default(),
            nothing: Layout::default(),
            says: false,
        }
    }

    fn start(&mut self, at: Instant) -> Result<(), CheckError> {
        let Some(permit) = self.room.take() else {
            self.stage = Stage::Waiting;
            return Ok(());
        };
        // Half an interval of slack: looks are aligned, starts that waited are not.
        self.due = at.mono + Millis(self.spec.interval.0 / 2);
        match Running::start(&self.program, &self.spec.order()) {
            Ok(run) => self.stage = Stage::Running { run, since: at.mono, permit: Some(permit) },
            Err(source) => {
                self.stage = Stage::Idle;
                self.conclude(at, CheckState::Unknown, "the agent could not start a process for it".to_owned());
                return Err(CheckError::Read { path: self.program.display().to_string(), source });
            }
        }
        Ok(())
    }

    fn conclude(&mut self, at: Instant, state: CheckState, evidence: String) {
        let check = self.check.clone();
        self.found = Some(CheckResult { check, time: at.wall, state, evidence, labels: Labels::default() });
    }

    /// Takes what the helper told, if it told all.
    fn look_after(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        let Stage::Running { run, since, permit } = &mut self.stage else { return Ok(()) };
        match run.progress() {
            Progress::Pending if permit.is_some() && at.mono > *since + self.spec.timeout + OVERDUE_AFTER => {
                run.give_up();
                *permit = None;
                let evidence = format!("did not end {OVERDUE_AFTER} after its time limit of {}", self.spec.timeout);
                self.conclude(at, CheckState::Unknown, evidence);
                Ok(())
            }
            Progress::Pending => Ok(()),
            Progress::Told(report) => {
                self.stage = Stage::Idle;
                self.tell(at, &report, values)
            }
            Progress::Broken(what) => {
                self.stage = Stage::Idle;
                self.conclude(at, CheckState::Unknown, format!("no report: {what}"));
                Ok(())
            }
        }
    }

    fn tell(&mut self, at: Instant, report: &Report, values: &mut Vec<f64>) -> Result<(), CheckError> {
        let output = Output::parse(&report.stdout);
        let (state, evidence) = output::verdict(report, &output, self.spec.timeout);
        self.conclude(at, state, evidence);
        let mut series = vec![
            ("signalbox_script_duration_seconds", Some(round4(report.duration_ms as f64 / 1000.0))),
            ("signalbox_script_timed_out", Some(f64::from(matches!(report.outcome, Some(Outcome::TimedOut(_)))))),
        ];
        if let Some(Outcome::Exited(code)) = report.outcome {
            series.push(("signalbox_script_exit_code", Some(f64::from(code))));
            // Unknown is the absence of a level, not a level.
            series.push(("signalbox_script_state", (0..=2).contains(&code).then(|| f64::from(code))));
        }
        series.push((LEFT_OUT, (output.n_left_out > 0).then_some(output.n_left_out as f64)));
        values.extend(series.iter().filter_map(|(_, value)| *value));
        values.extend(output.values.iter().map(|value| value.value));
        self.keep(&series, &output.values);
        self.says = true;
        self.columns.finish(&self.check, values)
    }

    fn keep(&mut self, series: &[(&'static str, Option<f64>)], told: &[Value]) {
        let mut print = Fingerprint::new();
        series.iter().for_each(|(name, value)| {
            print.text(name.as_bytes());
            print.number(u64::from(value.is_some()));
        });
        for value in told {
            print.text(value.label.as_bytes());
            print.text(value.unit.unwrap_or_default().as_bytes());
        }
        let name = self.spec.name.as_str();
        self.columns.keep(print, |add| {
            let shown = series.iter().filter(|(_, value)| value.is_some());
            shown.for_each(|(metric, _)| add.add(metric, &[("script", name)]));
            for Value { label, unit, .. } in told {
                let labels = [("script", name), ("label", label), ("unit", unit.unwrap_or_default())];
                let n = if unit.is_some() { 3 } else { 2 };
                add.add("signalbox_script_value", &labels[..n]);
            }
        });
    }
}

impl Check for ScriptCheck {
    fn name(&self) -> &str {
        &self.check
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        self.says = false;
        match self.stage {
            Stage::Running { .. } => self.look_after(at, values),
            Stage::Idle if at.mono < self.due => Ok(()),
            Stage::Idle | Stage::Waiting => self.start(at),
        }
    }

    fn layout(&self) -> &Layout {
        if self.says { self.columns.layout() } else { &self.nothing }
    }

    fn wake_fds<'a>(&'a self, out: &mut Vec<BorrowedFd<'a>>) {
        match &self.stage {
            Stage::Idle => {}
            Stage::Waiting => out.extend(self.room.fd()),
            Stage::Running { run, .. } => out.push(run.fd()),
        }
    }

    fn take_result(&mut self) -> Option<CheckResult> {
        self.found.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::at;

    fn check() -> ScriptCheck {
        let spec = ScriptSpec::new("backup", vec!["/usr/lib/checks/backup".to_owned()]);
        let check = ScriptCheck::new(spec, Path::new(OWN_PROGRAM));
        ScriptCheck { room: Arc::new(Room::new(1)), ..check }
    }

    fn report(outcome: Outcome, stdout: &str) -> Report {
        Report { outcome: Some(outcome), duration_ms: 1234, stdout: stdout.as_bytes().to_vec(), ..Report::default() }
    }

    fn told(check: &mut ScriptCheck, report: &Report) -> Vec<(String, f64)> {
        let mut values = Vec::new();
        check.tell(at(0), report, &mut values).unwrap();
        check.layout().series.iter().map(ToString::to_string).zip(values).collect()
    }

    #[test]
    fn a_report_becomes_a_result_and_series() {
        let mut check = check();
        let series = told(&mut check, &report(Outcome::Exited(1), "old | age=26h;24;48 size=3MB;;;0 'a b'=90%\n"));
        let expected = [
            (r#"signalbox_script_duration_seconds{script="backup"}"#, 1.234),
            (r#"signalbox_script_timed_out{script="backup"}"#, 0.0),
            (r#"signalbox_script_exit_code{script="backup"}"#, 1.0),
            (r#"signalbox_script_state{script="backup"}"#, 1.0),
            (r#"signalbox_check_left_out{script="backup"}"#, 1.0),
            (r#"signalbox_script_value{label="size",script="backup",unit="bytes"}"#, 3e6),
            (r#"signalbox_script_value{label="a b",script="backup",unit="ratio"}"#, 0.9),
        ];
        assert_eq!(series, expected.map(|(name, value)| (name.to_owned(), value)));
        let result = check.take_result().unwrap();
        assert_eq!(
            (result.check.as_str(), result.state, result.evidence.as_str()),
            ("script:backup", CheckState::Amber, "old")
        );
        assert!(check.take_result().is_none(), "it is told once");
    }

    #[test]
    fn unknown_has_no_level_and_a_timeout_no_exit_code() {
        let mut check = check();
        let names = |series: Vec<(String, f64)>| series.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ");
        let unknown = names(told(&mut check, &report(Outcome::Exited(3), "who knows")));
        assert!(unknown.contains("exit_code") && !unknown.contains("script_state"), "{unknown}");
        let late = told(&mut check, &report(Outcome::TimedOut(true), "half a li"));
        assert_eq!(late[1], (r#"signalbox_script_timed_out{script="backup"}"#.to_owned(), 1.0));
        assert_eq!(late.len(), 2);
        assert_eq!(check.take_result().unwrap().state, CheckState::Unknown);
    }

    #[test]
    fn between_two_reports_there_is_nothing_to_say_and_the_series_keep_their_shape() {
        let mut check = check();
        told(&mut check, &report(Outcome::Exited(0), "ok"));
        let generation = check.layout().generation;
        check.due = Millis(10_000);
        let mut values = vec![1.0];
        check.sample(at(5_000), &mut values).unwrap();
        assert!(values.is_empty() && check.layout().series.is_empty());
        told(&mut check, &report(Outcome::Exited(0), "ok"));
        assert_eq!(check.layout().generation, generation);
    }

    #[test]
    fn a_program_that_cannot_be_started_is_told_as_unknown() {
        let mut check = check();
        check.program = "/nonexistent/agent".into();
        assert!(check.sample(at(0), &mut Vec::new()).is_err());
        assert_eq!(check.take_result().unwrap().state, CheckState::Unknown);
    }
}
