//! From facts to findings: pure.

use crate::client::ClientError;
use crate::when::short;
use serde::Serialize;
use signalbox_proto::api::{Agent, AgentIdentity, AuditVerdict, SelfReport};
use signalbox_proto::status::AgentState;
use signalbox_proto::units::{Millis, UnixMillis};

/// A certificate that ends within this is told.
const CERTIFICATE_SOON: Millis = Millis::from_mins(24 * 60);
/// Clocks may differ by this, beside the time that the question took.
const CLOCK_MAX: Millis = Millis::from_secs(5);
/// An agent's clock may be off by this, milliseconds.
const AGENT_CLOCK_MAX_MS: u64 = 5_000;
/// Less free than this part of the volume is told, percent.
const FREE_ODD_PERCENT: u64 = 10;
/// Less is broken, percent.
const FREE_BAD_PERCENT: u64 = 2;
/// Agents that are named in one finding.
const NAMES_MAX: usize = 5;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it must be.
    Good,
    /// Worth a look.
    Odd,
    /// Broken.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it is.
    pub state: State,
    /// What was looked at.
    pub check: &'static str,
    /// What was found.
    pub found: String,
    /// What to do; empty when nothing is.
    pub remedy: String,
}

impl Finding {
    /// As it must be.
    pub fn good(check: &'static str, found: impl Into<String>) -> Finding {
        Finding { state: State::Good, check, found: found.into(), remedy: String::new() }
    }

    /// Worth a look.
    pub fn odd(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { state: State::Odd, check, found: found.into(), remedy: remedy.into() }
    }

    /// Broken.
    pub fn bad(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { state: State::Bad, check, found: found.into(), remedy: remedy.into() }
    }
}

/// Why the collector did not say who asks.
pub fn refusal(address: &str, error: &ClientError) -> Finding {
    let mut causes = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        causes.push(source.to_string());
        cause = source.source();
    }
    let text = causes.join(": ");
    let remedy = match error {
        ClientError::Refused { status: 401, .. } => {
            format!("log in: signalbox login {address}; on the collector's own host run this as root")
        }
        ClientError::Refused { remedy, .. } => remedy.clone(),
        error if error.is_about_certificates() => {
            "the collector's certificate is not trusted here: on its host run signalbox ca show > ca.pem, \
             then here signalbox login URL --ca ca.pem"
                .to_owned()
        }
        ClientError::Unreachable { .. } => {
            "is it running (systemctl status signalbox-collector), is the address right, does a firewall stand between?"
                .to_owned()
        }
        _ => "give --collector URL or --socket PATH".to_owned(),
    };
    Finding::bad("collector", text, remedy)
}

/// What the collector says about itself; `now` is this host's clock, `rtt` how long
/// the question took.
pub fn collector(report: &SelfReport, now: UnixMillis, rtt: Millis) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(if report.ready {
        Finding::good("ready", format!("collector {} is ready", report.version))
    } else {
        Finding::bad("ready", "the collector is not ready", "look into its log: journalctl -u signalbox-collector")
    });
    let own = env!("CARGO_PKG_VERSION");
    if report.version != own {
        let found = format!("this command is {own}, the collector {}", report.version);
        findings.push(Finding::odd("version", found, "install the same version of both"));
    }
    let apart = if report.now > now { report.now.since(now) } else { now.since(report.now) };
    findings.push(if apart.0 > CLOCK_MAX.0 + rtt.0 {
        let found = format!("the clocks of this host and of the collector are {} apart", short(apart));
        Finding::bad("clock", found, "set both by NTP: timedatectl status")
    } else {
        Finding::good("clock", "this host and the collector agree on the time")
    });
    findings.extend(certificate(report, now));
    findings.push(disk(report));
    let problem = |text: &String| Finding::odd("problems", text.clone(), "signalbox status shows when it is over");
    findings.extend(report.problems.iter().map(problem));
    findings
}

fn certificate(report: &SelfReport, now: UnixMillis) -> Option<Finding> {
    let end = report.certificate_not_after?;
    let remedy = "renew the site's certificate and send the collector SIGHUP; one of its own it renews by itself: look \
                  into its log for why it did not";
    Some(if end <= now {
        Finding::bad("certificate", format!("the collector's certificate ended {} ago", short(now.since(end))), remedy)
    } else if end.since(now) < CERTIFICATE_SOON {
        Finding::odd("certificate", format!("the collector's certificate ends in {}", short(end.since(now))), remedy)
    } else {
        Finding::good("certificate", format!("the collector's certificate is good for {}", short(end.since(now))))
    })
}

fn disk(report: &SelfReport) -> Finding {
    let percent = (report.free_bytes * 100).checked_div(report.volume_bytes).unwrap_or(100);
    let found = format!("{percent} % free on the volume of {}", report.data_dir);
    let remedy = "free space there, give it a larger volume, or lower retention.max_bytes";
    match percent {
        0..FREE_BAD_PERCENT => Finding::bad("disk", found, remedy),
        FREE_BAD_PERCENT..FREE_ODD_PERCENT => Finding::odd("disk", found, remedy),
        _ => Finding::good("disk", found),
    }
}

/// `a, b, c and 4 more`.
fn named(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn found(
    findings: &mut Vec<Finding>,
    agents: &[Agent],
    is: impl Fn(&Agent) -> bool,
    what: &str,
    remedy: &str,
    state: State,
) {
    let names: Vec<&str> = agents.iter().filter(|agent| is(agent)).map(|agent| agent.id.as_str()).collect();
    if !names.is_empty() {
        let found = format!("{what}: {}", named(&names));
        findings.push(Finding { state, check: "agents", found, remedy: remedy.to_owned() });
    }
}

/// Agents that are not well.
pub fn agents(agents: &[Agent]) -> Vec<Finding> {
    if agents.is_empty() {
        let remedy = "signalbox join-token create prints the command for another host";
        return vec![Finding::odd("agents", "no agent has spoken so far", remedy)];
    }
    let mut findings = Vec::new();
    let mut add = |is: &dyn Fn(&Agent) -> bool, what, remedy, state| {
        found(&mut findings, agents, is, what, remedy, state);
    };
    let is_lost =
        |agent: &Agent| matches!(agent.state, AgentState::Down | AgentState::Unreachable | AgentState::Missing);
    add(&is_lost, "not heard of", "on its host: signalbox-agent ping", State::Bad);
    let own = env!("CARGO_PKG_VERSION");
    add(
        &|agent| agent.id.as_str() != "collector" && !agent.version.is_empty() && agent.version != own,
        "of another version",
        "install the same version",
        State::Odd,
    );
    add(
        &|agent| agent.clock_offset_ms.unsigned_abs() > AGENT_CLOCK_MAX_MS,
        "clock is off by over 5 s",
        "set its clock by NTP: timedatectl status",
        State::Odd,
    );
    add(&|agent| !agent.failing_checks.is_empty(), "checks fail", "signalbox agents says which and why", State::Odd);
    if findings.is_empty() {
        findings.push(Finding::good("agents", format!("{} are up and well", agents.len())));
    }
    findings
}

/// Identities whose certificates have ended.
pub fn certificates(keys: &[AgentIdentity], now: UnixMillis) -> Vec<Finding> {
    let active = keys.iter().filter(|key| key.state == "active");
    let over: Vec<&str> = active.filter(|key| key.not_after <= now).map(|key| key.agent.as_str()).collect();
    if over.is_empty() {
        return Vec::new();
    }
    let remedy = "an agent that runs renews by itself within 90 days: on its host signalbox-agent ping; after that join \
                  it again";
    vec![Finding::odd("certificates", format!("ended: {}", named(&over)), remedy)]
}

/// Whether the record is whole.
pub fn audit(verdict: &AuditVerdict) -> Finding {
    if verdict.whole {
        return Finding::good("audit", format!("the record is whole, {} lines", verdict.n_lines));
    }
    let remedy = "keep the data directory as it is and find out who could write to it; signalbox audit export";
    Finding::bad("audit", format!("the record is not whole: {}", verdict.fault), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_400_052_000);

    fn report() -> SelfReport {
        SelfReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: NOW,
            ready: true,
            data_dir: "/d".to_owned(),
            free_bytes: 50,
            volume_bytes: 100,
            certificate_not_after: Some(NOW + CERTIFICATE_SOON),
            ..SelfReport::default()
        }
    }

    fn worst(change: impl Fn(&mut SelfReport)) -> Vec<(&'static str, State)> {
        let mut report = report();
        change(&mut report);
        let findings = collector(&report, NOW, Millis(10));
        for finding in &findings {
            assert_eq!(finding.remedy.is_empty(), finding.state == State::Good, "{finding:?}");
        }
        let not_good = |finding: &Finding| (finding.state != State::Good).then_some((finding.check, finding.state));
        findings.iter().filter_map(not_good).collect()
    }

    #[test]
    fn a_sound_collector_has_no_finding_and_each_fault_has_its_own() {
        assert_eq!(worst(|_| {}), []);
        assert_eq!(worst(|r| r.ready = false), [("ready", State::Bad)]);
        assert_eq!(worst(|r| r.version = "0.0.0".to_owned()), [("version", State::Odd)]);
        assert_eq!(worst(|r| r.now = NOW + Millis(5_010)), []);
        assert_eq!(worst(|r| r.now = NOW + Millis(5_011)), [("clock", State::Bad)]);
        assert_eq!(worst(|r| r.now = NOW - Millis(5_011)), [("clock", State::Bad)]);
        assert_eq!(worst(|r| r.certificate_not_after = Some(NOW + Millis(1))), [("certificate", State::Odd)]);
        assert_eq!(worst(|r| r.certificate_not_after = Some(NOW)), [("certificate", State::Bad)]);
        assert_eq!(worst(|r| r.certificate_not_after = None), []);
        assert_eq!(worst(|r| r.free_bytes = 10), []);
        assert_eq!(worst(|r| r.free_bytes = 9), [("disk", State::Odd)]);
        assert_eq!(worst(|r| r.free_bytes = 1), [("disk", State::Bad)]);
        assert_eq!(worst(|r| r.problems = vec!["x".to_owned()]), [("problems", State::Odd)]);
    }

    #[test]
    fn ended_certificates_and_a_broken_record_are_told() {
        let key = |state: &str, not_after| AgentIdentity {
            agent: "web1".to_owned(),
            state: state.to_owned(),
            not_after,
            ..AgentIdentity::default()
        };
        assert_eq!(certificates(&[key("active", NOW + Millis(1)), key("revoked", NOW)], NOW), []);
        assert_eq!(certificates(&[key("active", NOW)], NOW)[0].found, "ended: web1");
        assert_eq!(audit(&AuditVerdict::default()).state, State::Bad);
        assert_eq!(audit(&AuditVerdict { whole: true, ..AuditVerdict::default() }).state, State::Good);
    }

    #[test]
    fn a_missing_login_has_its_own_remedy() {
        let refused = ClientError::Refused { status: 401, error: "no".to_owned(), remedy: String::new() };
        assert!(refusal("https://a:1", &refused).remedy.contains("signalbox login https://a:1"));
    }

    #[test]
    fn many_names_are_counted() {
        assert_eq!(named(&["a", "b"]), "a, b");
        assert_eq!(named(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
    }
}
