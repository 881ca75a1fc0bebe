//! What the index of live series costs: memory for each, and the time to select.
//!
//! `cargo run --release -p signalbox-tsdb --example index`

use rustix::time::{ClockId, clock_gettime};
use signalbox_proto::names::Labels;
use signalbox_proto::selector::Selector;
use signalbox_proto::units::UnixMillis;
use signalbox_tsdb::SeriesId;
use signalbox_tsdb::index::SeriesIndex;
use signalbox_tsdb::keys::AgentNo;
use std::error::Error;

/// Hosts of 100 series each.
const HOSTS: u32 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let before = resident();
    let mut index = SeriesIndex::default();
    let begun = cpu();
    for host in 0..HOSTS {
        for labels in series_of(host)? {
            index.get_or_insert(AgentNo(host), &labels, UnixMillis(0))?;
        }
    }
    let n = index.len() as f64;
    println!("{n} series: {:.2} us each to insert", (cpu() - begun) * 1e6 / n);
    println!(
        "memory: {:.0} B a series resident, {:.0} as estimated",
        (resident() - before) / n,
        index.memory().0 as f64 / n
    );
    for text in [
        "node_cpu_seconds_total",
        "node_cpu_seconds_total{mode=~\"idle|user\"}",
        "up{host=\"host-7\"}",
        "{host=~\"host-9.*\"}",
    ] {
        let selector = Selector::parse(text)?;
        let begun = cpu();
        let found = index.matching(selector.matchers());
        let selected = cpu();
        let sets: Vec<_> = found.iter().filter_map(|id| index.label_set(SeriesId(id))).collect();
        let us = |seconds: f64| seconds * 1e6;
        println!(
            "{text}: {} series, select {:.0} us, labels {:.0} us",
            sets.len(),
            us(selected - begun),
            us(cpu() - selected)
        );
    }
    let ids: Vec<SeriesId> = index.ids().collect();
    let begun = cpu();
    ids.into_iter().for_each(|id| index.forget(id));
    println!(
        "{:.2} us each to forget; then {:.0} B a series resident",
        (cpu() - begun) * 1e6 / n,
        (resident() - before) / n
    );
    Ok(())
}

/// 16 of a two-core host's CPU seconds, `up`, and 83 others of a few labels.
fn series_of(host: u32) -> Result<Vec<Labels>, Box<dyn Error>> {
    let host = format!("host-{host}");
    let own = [("host", host.as_str()), ("job", "node")];
    let mut all = vec![Labels::series("up", &own)?];
    for cpu in ["0", "1"] {
        for mode in ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"] {
            all.push(Labels::series("node_cpu_seconds_total", &[own[0], own[1], ("cpu", cpu), ("mode", mode)])?);
        }
    }
    for n in 0..83 {
        let device = format!("dev{}", n % 5);
        all.push(Labels::series(&format!("node_metric_{n}_total"), &[own[0], own[1], ("device", &device)])?);
    }
    Ok(all)
}

fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0) * 1024.0
}
