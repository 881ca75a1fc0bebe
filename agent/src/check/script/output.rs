//! What a script said, by the Nagios plugin conventions. Pure.
//!
//! ```text
//! TEXT | 'label'=value[UOM][;warn[;crit[;min[;max]]]] ...
//! LONG TEXT ...
//! LONG TEXT | more performance data
//! ```
//!
//! Exit code 0 is green, 1 amber, 2 red; everything else is unknown, as is a script
//! that was ended or not started. Units become base units; thresholds in the
//! performance data are not read, because levels are the rules' business. Sources:
//! Nagios Plugins Development Guidelines, "Plugin Output for Nagios" and
//! "Performance data"; the units of Icinga 2 for kB (1000) and KiB (1024).

use super::order::{OUTPUT_MAX_BYTES, Outcome, Report};
use signalbox_proto::limits::{EVIDENCE_MAX_BYTES, LABEL_VALUE_MAX_BYTES};
use signalbox_proto::samples::CheckState;
use signalbox_proto::units::Millis;

/// Values of one script that become series; more are counted as left out.
const VALUES_MAX: usize = 64;

/// One value of the performance data.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    /// As the script names it.
    pub(super) label: String,
    /// In its base unit.
    pub(super) value: f64,
    /// seconds, bytes, ratio; none for a bare number or a counter.
    pub(super) unit: Option<&'static str>,
}

/// A script's output, taken apart.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Output {
    /// Everything but performance data, without control characters.
    pub(super) text: String,
    /// Each label once, the first one counts.
    pub(super) values: Vec<Value>,
    /// Values that were not understood or were too many.
    pub(super) n_left_out: usize,
}

impl Output {
    /// Takes apart what was read of the standard output.
    pub(super) fn parse(bytes: &[u8]) -> Output {
        let text = String::from_utf8_lossy(bytes);
        let mut output = Output::default();
        let mut in_values = false;
        for (n, line) in text.lines().enumerate() {
            // The first line has text and values; of the long text, all after its
            // first `|` is values, to the end.
            let (words, values) = match line.split_once('|') {
                _ if in_values => ("", Some(line)),
                Some((words, values)) => (words, Some(values)),
                None => (line, None),
            };
            in_values |= n > 0 && values.is_some();
            let words = clean(words);
            if !words.is_empty() {
                output.text.push_str(if output.text.is_empty() { "" } else { "\n" });
                output.text.push_str(&words);
            }
            values.into_iter().for_each(|values| output.add_values(values));
        }
        output
    }

    fn add_values(&mut self, mut rest: &str) {
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                return;
            }
            let Some((label, after)) = label(rest) else {
                self.n_left_out += 1;
                return;
            };
            let (value, after) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
            rest = after;
            // `U`: the script could not tell this one.
            if value.starts_with('U') {
                continue;
            }
            let new = !self.values.iter().any(|known| known.label == label);
            match number(value.split(';').next().unwrap_or_default()) {
                Some((value, unit)) if new && self.values.len() < VALUES_MAX => {
                    self.values.push(Value { label, value, unit });
                }
                _ => self.n_left_out += 1,
            }
        }
    }
}

/// `label=` or `'label with = and '' in it'=`, and what follows.
fn label(text: &str) -> Option<(String, &str)> {
    let (label, after) = if let Some(quoted) = text.strip_prefix('\'') {
        let mut end = 0;
        loop {
            end += quoted[end..].find('\'')?;
            if !quoted[end + 1..].starts_with('\'') {
                break;
            }
            end += 2;
        }
        (quoted[..end].replace("''", "'"), quoted[end + 1..].strip_prefix('=')?)
    } else {
        let (label, after) = text.split_once('=')?;
        (label.to_owned(), after)
    };
    let label = clean(&label);
    let good = !label.is_empty() && label.len() <= LABEL_VALUE_MAX_BYTES;
    good.then_some((label, after))
}

/// A number with its unit, in the base unit.
fn number(text: &str) -> Option<(f64, Option<&'static str>)> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+')).unwrap_or(text.len());
    // An exponent, if digits follow it.
    let end = match text[end..].strip_prefix(['e', 'E']) {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') => {
            let digits = rest.trim_start_matches(['-', '+']);
            text.len() - digits.trim_start_matches(|c: char| c.is_ascii_digit()).len()
        }
        _ => end,
    };
    let value: f64 = text[..end].parse().ok().filter(|value: &f64| value.is_finite())?;
    let (by, unit): (f64, _) = match &text[end..] {
        "" | "c" => (1.0, None),
        "s" => (1.0, Some("seconds")),
        "ms" => (1e-3, Some("seconds")),
        "us" => (1e-6, Some("seconds")),
        "ns" => (1e-9, Some("seconds")),
        "%" => (0.01, Some("ratio")),
        "B" => (1.0, Some("bytes")),
        "KB" | "kB" => (1e3, Some("bytes")),
        "MB" => (1e6, Some("bytes")),
        "GB" => (1e9, Some("bytes")),
        "TB" => (1e12, Some("bytes")),
        "KiB" => (1024.0, Some("bytes")),
        "MiB" => (1_048_576.0, Some("bytes")),
        "GiB" => (1_073_741_824.0, Some("bytes")),
        "TiB" => (1_099_511_627_776.0, Some("bytes")),
        _ => return None,
    };
    // 90 % is 0.9, not 0.9000000000000001.
    let value = if by < 1.0 { value / (1.0 / by).round() } else { value * by };
    Some((value, unit))
}

/// Without control characters, which a terminal or a log would obey.
fn clean(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}

/// What the run means, with its evidence cut to what the wire takes.
pub(super) fn verdict(report: &Report, output: &Output, timeout: Millis) -> (CheckState, String) {
    let (state, why) = match &report.outcome {
        Some(Outcome::Exited(0)) => (CheckState::Green, None),
        Some(Outcome::Exited(1)) => (CheckState::Amber, None),
        Some(Outcome::Exited(2)) => (CheckState::Red, None),
        Some(Outcome::Exited(3)) => (CheckState::Unknown, None),
        Some(Outcome::Exited(code)) => (CheckState::Unknown, Some(format!("exit code {code}"))),
        Some(Outcome::Killed(signal)) => (CheckState::Unknown, Some(killed(*signal))),
        Some(Outcome::TimedOut(_)) => (CheckState::Unknown, Some(format!("ended at its time limit of {timeout}"))),
        Some(Outcome::Refused(why)) => (CheckState::Unknown, Some(format!("not run: {why}"))),
        Some(Outcome::TooManyProcesses(n)) => {
            (CheckState::Unknown, Some(format!("ended for {n} processes, over its limit")))
        }
        Some(Outcome::TooMuchOutput(_)) => {
            (CheckState::Unknown, Some(format!("ended for output over the limit of {OUTPUT_MAX_BYTES} bytes")))
        }
        None => (CheckState::Unknown, Some("it is not known how it ended".to_owned())),
    };
    let stderr = clean(&String::from_utf8_lossy(&report.stderr));
    let said = if output.text.is_empty() { stderr } else { output.text.clone() };
    let mut evidence = match why {
        Some(why) if said.is_empty() => why,
        Some(why) => format!("{why}; it said: {said}"),
        None => said,
    };
    evidence.truncate(evidence.floor_char_boundary(EVIDENCE_MAX_BYTES));
    (state, evidence)
}

fn killed(signal: i32) -> String {
    // Numbers of Linux, the same on all architectures that we build for.
    match signal {
        24 => "ended by the kernel at its limit of processor time".to_owned(),
        9 => "killed (signal 9), by the kernel for want of memory or by somebody".to_owned(),
        signal => format!("killed by signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(text: &str) -> Vec<(String, f64, &'static str)> {
        let output = Output::parse(text.as_bytes());
        output.values.into_iter().map(|v| (v.label, v.value, v.unit.unwrap_or(""))).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, f64, &str)]) {
        let got = values(text);
        let got: Vec<_> = got.iter().map(|(label, value, unit)| (label.as_str(), *value, *unit)).collect();
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn performance_data_is_read_in_base_units() {
        check("ok|a=1", &[("a", 1.0, "")]);
        check(
            "ok | time=250ms;;;0 size=2KiB load=0.5;1;2",
            &[("time", 0.25, "seconds"), ("size", 2048.0, "bytes"), ("load", 0.5, "")],
        );
        check(
            "ok | '/var/log usage'=73%;80;90;0;100 'it''s'=1e3c",
            &[("/var/log usage", 0.73, "ratio"), ("it's", 1000.0, "")],
        );
        check("ok | x=-1.5e-3s y=U z=3B", &[("x", -0.0015, "seconds"), ("z", 3.0, "bytes")]);
        check(
            "one | a=1\nlong\nmore | b=2\nc=3 d=4",
            &[("a", 1.0, ""), ("b", 2.0, ""), ("c", 3.0, ""), ("d", 4.0, "")],
        );
    }

    #[test]
    fn what_is_not_understood_is_counted_and_the_rest_is_read() {
        let output = Output::parse(b"ok | a=1 b=1,5 c=3furlongs d=nan e=inf f= a=2 g=4");
        let labels: Vec<_> = output.values.iter().map(|value| value.label.as_str()).collect();
        assert_eq!((labels, output.n_left_out), (vec!["a", "g"], 6));
        assert_eq!(Output::parse(b"ok | 'never closed=1 b=2").n_left_out, 1);
        assert_eq!(Output::parse(b"ok | =1").n_left_out, 1);
        let many: String = (0..VALUES_MAX + 3).map(|n| format!(" v{n}={n}")).collect();
        let output = Output::parse(format!("ok |{many}").as_bytes());
        assert_eq!((output.values.len(), output.n_left_out), (VALUES_MAX, 3));
    }

    #[test]
    fn text_is_what_stands_before_the_bar_without_control_characters() {
        let text = |said: &str| Output::parse(said.as_bytes()).text;
        assert_eq!(
            text("DISK OK - free 3 GB | /=2643MB\nlong 1\nlong 2|x=1\ny=2"),
            "DISK OK - free 3 GB\nlong 1\nlong 2"
        );
        assert_eq!(text("\u{1b}[31mred\u{1b}[0m\u{7}\r\n"), "[31mred [0m");
        assert_eq!(text(""), "");
    }

    fn said(outcome: Outcome, stdout: &str, stderr: &str) -> (CheckState, String) {
        let (stdout, stderr) = (stdout.as_bytes().to_vec(), stderr.as_bytes().to_vec());
        let report = Report { outcome: Some(outcome), stdout, stderr, ..Report::default() };
        verdict(&report, &Output::parse(&report.stdout), Millis(10_000))
    }

    #[test]
    fn the_exit_code_is_the_state_and_everything_else_is_unknown() {
        let states = [(0, CheckState::Green), (1, CheckState::Amber), (2, CheckState::Red), (3, CheckState::Unknown)];
        for (code, state) in states {
            assert_eq!(said(Outcome::Exited(code), "said", "ignored"), (state, "said".to_owned()));
        }
        let unknown = |outcome| {
            let (state, evidence) = said(outcome, "", "on stderr\n");
            assert_eq!(state, CheckState::Unknown);
            evidence
        };
        assert_eq!(unknown(Outcome::Exited(127)), "exit code 127; it said: on stderr");
        assert_eq!(unknown(Outcome::TimedOut(true)), "ended at its time limit of 10s; it said: on stderr");
        assert_eq!(unknown(Outcome::Killed(11)), "killed by signal 11; it said: on stderr");
        assert_eq!(unknown(Outcome::Refused("no".to_owned())), "not run: no; it said: on stderr");
    }

    #[test]
    fn evidence_is_cut_at_the_limit_of_the_wire_between_two_characters() {
        let (_, evidence) = said(Outcome::Exited(2), &"ü".repeat(3000), "");
        assert_eq!(evidence.len(), EVIDENCE_MAX_BYTES);
        let (_, evidence) = said(Outcome::Exited(2), &format!("x{}", "ü".repeat(3000)), "");
        assert_eq!(evidence.len(), EVIDENCE_MAX_BYTES - 1);
    }

    proptest! {
        #[test]
        fn no_output_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let output = Output::parse(&bytes);
            prop_assert!(output.values.iter().all(|value| value.value.is_finite() && !value.label.is_empty()));
            prop_assert!(!output.text.chars().any(|c| c.is_control() && c != '\n'));
        }

        #[test]
        fn values_that_were_written_are_read(values in proptest::collection::btree_map("[a-z' =|]{1,8}[a-z]", -1e9f64..1e9, 1..20)) {
            // A bar inside of a label would begin performance data on the first line only.
            let text: String = values.iter().map(|(label, value)| format!(" '{}'={value};1;2", label.replace('\'', "''"))).collect();
            let output = Output::parse(format!("ok |{text}").as_bytes());
            let read: Vec<_> = output.values.iter().map(|v| (v.label.clone(), v.value)).collect();
            let wrote: Vec<_> = values.iter().map(|(label, value)| (label.trim().to_owned(), *value)).collect();
            if wrote.iter().map(|(label, _)| label).collect::<std::collections::BTreeSet<_>>().len() == wrote.len() {
                prop_assert_eq!(read, wrote);
            }
        }
    }
}
