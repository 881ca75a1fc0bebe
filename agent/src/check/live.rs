//! Every check once against the host that the tests run on.

use super::own::{Own, OwnCounters};
use super::testing::{at, sample};
use super::{Check, DevicePattern, machine_checks};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

fn all(checks: &mut [Box<dyn Check>], mono_ms: u64) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for check in checks {
        let series = sample(check.as_mut(), at(mono_ms)).unwrap_or_else(|error| panic!("{}: {error}", check.name()));
        for (name, value) in series {
            assert!(value.is_finite(), "{name} is {value}");
            assert!(all.insert(name.clone(), value).is_none(), "{name} is told by two checks");
        }
    }
    all
}

#[test]
fn this_host_is_plausible() {
    let mut checks = machine_checks(Path::new("/"), &DevicePattern::defaults());
    checks.push(Box::new(Own::new(Arc::new(OwnCounters::default()))));
    let first = all(&mut checks, 1000);
    let second = all(&mut checks, 2000);
    assert!(first["node_memory_MemAvailable_bytes"] <= first["node_memory_MemTotal_bytes"]);
    assert!(first["node_memory_MemFree_bytes"] <= first["node_memory_MemTotal_bytes"]);
    assert!(first["node_filefd_allocated"] <= first["node_filefd_maximum"]);
    assert!(first["node_procs_running"] >= 1.0, "this test runs");
    assert!(first["node_boot_time_seconds"] > 1e9);
    for (name, value) in &first {
        let metric = name.split('{').next().unwrap_or_default();
        if metric.ends_with("_total") {
            assert!(second[name] >= *value, "{name} fell from {value} to {}", second[name]);
        }
    }
    for (name, value) in second.iter().filter(|(name, _)| name.contains("_ratio") && name.starts_with("signalbox_")) {
        assert!((0.0..=1.0).contains(value), "{name} is {value}");
    }
    let has = |prefix: &str| second.keys().any(|name| name.starts_with(prefix));
    for prefix in ["node_cpu_seconds_total{", "node_load1", "node_network_receive_bytes_total{", "node_vmstat_pgfault"]
    {
        assert!(has(prefix), "{prefix}");
    }
}

#[test]
fn layouts_stand_still_while_the_host_does() {
    let mut checks = machine_checks(Path::new("/"), &DevicePattern::defaults());
    all(&mut checks, 1000);
    all(&mut checks, 2000);
    let generation = |checks: &[Box<dyn Check>], name: &str| {
        checks.iter().find(|check| check.name() == name).map(|check| check.layout().generation)
    };
    // Those whose sets depend on nothing that another test does meanwhile.
    let still = ["cpu", "load", "memory", "pressure", "filefd", "vmstat", "sockstat", "uname"];
    let before: Vec<_> = still.iter().map(|name| generation(&checks, name)).collect();
    all(&mut checks, 3000);
    let after: Vec<_> = still.iter().map(|name| generation(&checks, name)).collect();
    assert_eq!(before, after);
}
