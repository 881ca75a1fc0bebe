//! Values to send: a real recording where one is given, a mix of the same kind
//! where none is.

use anyhow::{Context, Result, ensure};
use e2e::random::Random;
use signalbox_proto::names::Labels;
use std::path::Path;
use std::process::Command;

/// A matrix of one host: series by ticks.
pub(crate) struct Recording {
    /// Labels of each series.
    pub(crate) series: Vec<Labels>,
    /// One row a tick, one value a series.
    pub(crate) ticks: Vec<Vec<f64>>,
    /// Where it comes from, for the report.
    pub(crate) source: &'static str,
}

/// 61 % constant, 37 % decimals that count up, 2 % full floats: the shares of a
/// recorded node_exporter host.
pub(crate) fn synthetic(n_series: usize, n_ticks: usize) -> Result<Recording> {
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let name = |i: usize| Labels::series("synthetic_total", &[("i", &i.to_string())]);
    let series = (0..n_series).map(name).collect::<Result<_, _>>()?;
    let mut values: Vec<f64> = (0..n_series).map(|i| f64::from(u32::try_from(i % 1000).unwrap_or(0))).collect();
    let mut ticks = Vec::with_capacity(n_ticks);
    for _ in 0..n_ticks {
        for (i, value) in values.iter_mut().enumerate() {
            #[allow(clippy::cast_precision_loss)]
            match i % 100 {
                0..61 => {}
                61..98 => *value = ((*value * 100.0).round() + random.below(200) as f64) / 100.0,
                _ => *value = random.bits() as f64 / u64::MAX as f64,
            }
        }
        ticks.push(values.clone());
    }
    Ok(Recording { series, ticks, source: "synthetic mix" })
}

/// Reads `node_1s.txt.zst` of a folder: `# SCRAPE <ms> <bytes>` and text
/// exposition, repeated. Keeps the first `n_series` that every scrape has.
pub(crate) fn recorded(folder: &Path, n_series: usize, n_ticks: usize) -> Result<Recording> {
    let path = folder.join("node_1s.txt.zst");
    let out = Command::new("zstd").args(["-dc", "--long=27"]).arg(&path).output().context("run zstd (package zstd)")?;
    ensure!(out.status.success(), "zstd -dc {}: {}", path.display(), String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).context("a recording is text")?;
    let mut names: Vec<&str> = Vec::new();
    let mut ticks = Vec::new();
    for scrape in text.split("# SCRAPE ").skip(1).take(n_ticks) {
        let lines = scrape.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pairs: Vec<(&str, f64)> = lines
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(key, v)| Some((key, v.parse().ok()?)))
            .collect();
        if names.is_empty() {
            names = pairs.iter().map(|(key, _)| *key).take(n_series).collect();
        }
        let by_name: std::collections::HashMap<&str, f64> = pairs.into_iter().collect();
        ticks.push(names.iter().map(|name| by_name.get(name).copied().unwrap_or(f64::NAN)).collect());
    }
    ensure!(names.len() == n_series, "the recording has {} series, {n_series} are wanted", names.len());
    // The key as a label keeps series apart without parsing exposition text.
    let labels = |name: &&str| {
        let metric = name.split('{').next().unwrap_or(name);
        Labels::series(metric, &[("key", &name.chars().take(1000).collect::<String>())])
    };
    Ok(Recording { series: names.iter().map(labels).collect::<Result<_, _>>()?, ticks, source: "recorded host" })
}
