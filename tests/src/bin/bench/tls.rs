//! What TLS costs beside a Unix socket, in the same run: two real agents side by side,
//! one over each, and the collector under the same load over one and the other in turn.

use crate::cost::Cost;
use crate::ingest;
use crate::report::Report;
use anyhow::Result;
use e2e::process::{Agent, Collector, wait_for};
use signalbox_proto::api::NewJoinToken;
use std::collections::BTreeMap;
use std::time::Duration;

/// Pages are touched and rings are filled by then.
const WARM_UP: Duration = Duration::from_secs(20);
/// Runs of the collector over each way; which comes first changes from pair to pair.
const PAIRS: usize = 3;

/// How large the load on the collector is.
pub(crate) struct Load {
    pub(crate) agents: usize,
    pub(crate) series: usize,
    pub(crate) ticks: usize,
}

pub(crate) fn run(secs: u64, load: &Load, report: &mut Report) -> Result<()> {
    agents(secs, report)?;
    collectors(load, report)
}

/// Two agents of this host, same minutes, same checks.
fn agents(secs: u64, report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(&folder.path().join("collector"), &[])?;
    let local = format!("agent_id: near\ncollector: {}\n", collector.endpoint());
    let near = Agent::start(&folder.path().join("near"), &local)?;
    let wanted =
        NewJoinToken { ttl: "1h".to_owned(), uses: 1, labels: BTreeMap::new(), cidrs: Vec::new(), agent: None };
    let token = collector.join_token(&wanted)?.secret;
    let far = Agent::join(&folder.path().join("far"), "far", collector.grpc, &token)?;
    let client = collector.client();
    for host in ["near", "far"] {
        wait_for("samples", Duration::from_secs(20), || {
            let at = client.status()?.at.0;
            let n_series = client.query(&format!("{{host=\"{host}\"}}"), at - 5_000, at)?.series.len();
            Ok((n_series > 100).then_some(()))
        })?;
    }
    std::thread::sleep(WARM_UP);
    let cost = || -> Result<(Cost, Cost)> { Ok((Cost::of(near.process.pid())?, Cost::of(far.process.pid())?)) };
    let before = cost()?;
    std::thread::sleep(Duration::from_secs(secs));
    let after = cost()?;
    #[allow(clippy::cast_precision_loss)]
    let per_hour = |before: Cost, after: Cost| (after.cpu_ns - before.cpu_ns) as f64 / 1e9 * 3600.0 / secs as f64;
    let (socket, tls) = (per_hour(before.0, after.0), per_hour(before.1, after.1));
    report.add("agent CPU over the socket", socket, "CPU s/h", format!("all machine checks at 1 s, {secs} s"));
    report.add("agent CPU over TLS", tls, "CPU s/h", "the same seconds");
    report.add("agent CPU, TLS over socket", tls / socket, "ratio", "at most 1.10 is promised");
    #[allow(clippy::cast_precision_loss)]
    let mib = |kib: u64| kib as f64 / 1024.0;
    report.add("agent PSS over the socket", mib(after.0.pss_kib), "MiB", "");
    report.add("agent PSS over TLS", mib(after.1.pss_kib), "MiB", "");
    Ok(())
}

fn collectors(load: &Load, report: &mut Report) -> Result<()> {
    let Load { agents, series, ticks } = *load;
    let (mut socket, mut tls) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        for over_tls in [pair % 2 == 1, pair % 2 == 0] {
            let secs = ingest::cpu_secs(agents, series, ticks, over_tls)?;
            if over_tls { tls.push(secs) } else { socket.push(secs) }
        }
    }
    let median = |secs: &mut Vec<f64>| {
        secs.sort_by(f64::total_cmp);
        secs.get(secs.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (socket, tls) = (median(&mut socket), median(&mut tls));
    let note = format!("{agents} agents x {series} series x {ticks} ticks, median of {PAIRS}, in turn");
    report.add("collector CPU over the socket", socket, "CPU s", note);
    report.add("collector CPU over TLS", tls, "CPU s", "handshakes of the streams included, enrolment not");
    report.add("collector CPU, TLS over socket", tls / socket, "ratio", "at most 1.10 is promised");
    Ok(())
}
