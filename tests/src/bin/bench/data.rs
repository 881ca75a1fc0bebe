//! Values to send: a real recording where one is given, a mix of the same kind
//! where none is; and many hosts made of it.

use anyhow::{Context, Result, ensure};
use e2e::random::Random;
use signalbox_proto::names::Labels;
use signalbox_proto::selector::{Selector, Test};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// The recording in a folder of data.
pub(crate) const RECORDING: &str = "node_1s.txt.zst";
/// A host reads the recording so many ticks after the host before it, so that no two
/// send the same values at the same time.
const TICKS_APART: usize = 61;
/// Hosts sample at so many milliseconds after one another.
const MS_APART: usize = 7;
/// What a small installation keeps of a host.
const CORE: [&str; 10] = [
    "node_context_switches_total",
    "node_cpu_seconds_total",
    "node_disk_",
    "node_filesystem_",
    "node_load",
    "node_memory_",
    "node_netstat_",
    "node_network_",
    "node_pressure_",
    "node_procs_",
];

/// A matrix of one host: ticks by series.
pub(crate) struct Recording {
    /// Labels of each series.
    pub(crate) series: Vec<Labels>,
    ticks: Vec<Vec<f64>>,
    /// What each counter grew by from the first tick to the last; 0 for the others.
    grown: Vec<f64>,
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
    Ok(Recording::new(series, ticks, "synthetic mix"))
}

/// Reads `node_1s.txt.zst` of a folder: `# SCRAPE <ms> <bytes>` and text
/// exposition, repeated. Keeps the series that every scrape has.
pub(crate) fn recorded(folder: &Path) -> Result<Recording> {
    let path = folder.join(RECORDING);
    let out = Command::new("zstd").args(["-dc", "--long=27"]).arg(&path).output().context("run zstd (package zstd)")?;
    ensure!(out.status.success(), "zstd -dc {}: {}", path.display(), String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).context("a recording is text")?;
    let (mut places, mut keys): (HashMap<&str, usize>, Vec<&str>) = Default::default();
    let mut ticks: Vec<Vec<f64>> = Vec::new();
    for scrape in text.split("# SCRAPE ").skip(1) {
        let mut row = vec![f64::NAN; keys.len()];
        let lines = scrape.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with('#'));
        for (key, value) in lines.filter_map(|line| line.rsplit_once(' ')) {
            let place = *places.entry(key).or_insert_with(|| {
                keys.push(key);
                keys.len() - 1
            });
            row.resize(keys.len().max(row.len()), f64::NAN);
            row[place] = value.parse().unwrap_or(f64::NAN);
        }
        ticks.push(row);
    }
    let value = |row: &Vec<f64>, place: usize| row.get(place).copied().unwrap_or(f64::NAN);
    let whole = |place: &usize| ticks.iter().all(|row| value(row, *place).is_finite());
    let kept: Vec<usize> = (0..keys.len()).filter(whole).collect();
    ensure!(!kept.is_empty() && ticks.len() > 1, "{} holds no recording", path.display());
    let series = kept.iter().map(|&place| labels(keys[place])).collect::<Result<_>>()?;
    let ticks = ticks.iter().map(|row| kept.iter().map(|&place| row[place]).collect()).collect();
    Ok(Recording::new(series, ticks, "recorded host"))
}

/// The labels of a line of text exposition, which reads like a selector.
fn labels(key: &str) -> Result<Labels> {
    let selector = Selector::parse(key).with_context(|| format!("series {key}"))?;
    let pairs = selector.matchers().iter().filter_map(|matcher| match &matcher.test {
        Test::Is(value) => Some((matcher.label.clone(), value.clone())),
        Test::IsNot(_) | Test::Matches(_) | Test::MatchesNot(_) => None,
    });
    Labels::new(pairs).with_context(|| format!("series {key}"))
}

impl Recording {
    fn new(series: Vec<Labels>, ticks: Vec<Vec<f64>>, source: &'static str) -> Recording {
        let counts = |i: usize| ticks.windows(2).all(|pair| pair[1][i] >= pair[0][i]);
        let grown = |i: usize| match (ticks.first(), ticks.last()) {
            (Some(first), Some(last)) if counts(i) => last[i] - first[i],
            _ => 0.0,
        };
        let grown = (0..series.len()).map(grown).collect();
        Recording { series, ticks, grown, source }
    }

    fn only(&self, kept: &[usize]) -> Recording {
        let row = |row: &Vec<f64>| kept.iter().map(|&i| row[i]).collect();
        Recording {
            series: kept.iter().map(|&i| self.series[i].clone()).collect(),
            ticks: self.ticks.iter().map(row).collect(),
            grown: kept.iter().map(|&i| self.grown[i]).collect(),
            source: self.source,
        }
    }

    /// The first so many series.
    pub(crate) fn first(&self, n_series: usize) -> Result<Recording> {
        let n = self.series.len();
        ensure!(n_series <= n, "the recording has {n} series, {n_series} are wanted");
        Ok(self.only(&(0..n_series).collect::<Vec<_>>()))
    }

    /// So many series, those of a small installation before the others.
    pub(crate) fn core(&self, n_series: usize) -> Recording {
        let is_core = |i: &usize| {
            let metric = self.series[*i].metric().unwrap_or_default();
            CORE.iter().any(|prefix| metric.starts_with(prefix))
        };
        let mut kept: Vec<usize> = (0..self.series.len()).collect();
        kept.sort_by_key(|i| !is_core(i));
        kept.truncate(n_series);
        kept.sort_unstable();
        self.only(&kept)
    }

    /// How many ticks it has.
    pub(crate) fn n_ticks(&self) -> usize {
        self.ticks.len()
    }
}

/// Many hosts made of one recording: each reads it from a place of its own, over and
/// over, its counters going on where the recording begins anew.
pub(crate) struct Dataset {
    /// Of one host.
    pub(crate) recording: Recording,
    /// How many hosts.
    pub(crate) n_hosts: usize,
    /// Ticks of each.
    pub(crate) n_ticks: usize,
    /// From one tick to the next; the recording has one a second.
    pub(crate) step: Millis,
    /// Time of the first host's first tick.
    pub(crate) start: UnixMillis,
}

impl Dataset {
    /// Name of a host.
    pub(crate) fn host(host: usize) -> String {
        format!("h{host:04}")
    }

    /// Series of all hosts.
    pub(crate) fn n_series(&self) -> usize {
        self.n_hosts * self.recording.series.len()
    }

    /// Samples of all hosts.
    pub(crate) fn n_samples(&self) -> usize {
        self.n_series() * self.n_ticks
    }

    /// Seconds from the first tick to the end.
    pub(crate) fn secs(&self) -> u64 {
        self.n_ticks as u64 * self.step.0 / 1000
    }

    /// The instant after the last tick of the last host.
    pub(crate) fn end(&self) -> UnixMillis {
        self.start + Millis((self.secs() + 1) * 1000)
    }

    /// Time since the start of a tick of a host.
    pub(crate) fn offset(&self, host: usize, tick: usize) -> Millis {
        Millis(tick as u64 * self.step.0 + (host * MS_APART % 1000) as u64)
    }

    /// A tick of a host, one value a series.
    pub(crate) fn values(&self, host: usize, tick: usize, out: &mut Vec<f64>) {
        let recording = &self.recording;
        let at = host * TICKS_APART + tick * usize::try_from(self.step.0 / 1000).unwrap_or(1);
        let (place, n_wraps) = (at % recording.n_ticks(), at / recording.n_ticks());
        let n_wraps = f64::from(u32::try_from(n_wraps).unwrap_or(u32::MAX));
        out.clear();
        out.extend(recording.ticks[place].iter().zip(&recording.grown).map(|(value, grown)| value + n_wraps * grown));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset() -> Dataset {
        let series = ["node_load1{}", r#"up{path="a\"b"}"#].map(|key| labels(key).unwrap()).to_vec();
        let ticks = vec![vec![10.0, 5.0], vec![12.0, 3.0], vec![15.0, 4.0]];
        let (recording, step) = (Recording::new(series, ticks, "test"), Millis::from_secs(1));
        Dataset { recording, n_hosts: 2, n_ticks: 9, step, start: UnixMillis(1_000) }
    }

    fn values(data: &Dataset, host: usize, tick: usize) -> Vec<f64> {
        let mut values = Vec::new();
        data.values(host, tick, &mut values);
        values
    }

    #[test]
    fn a_line_of_exposition_gives_its_labels() {
        let series = &dataset().recording.series;
        assert_eq!(series[0].to_string(), "node_load1");
        assert_eq!(series[1].get("path"), Some("a\"b"));
    }

    #[test]
    fn counters_go_on_where_the_recording_begins_anew_and_gauges_repeat() {
        let data = dataset();
        assert_eq!(values(&data, 0, 2), [15.0, 4.0]);
        assert_eq!(values(&data, 0, 3), [15.0, 5.0]);
        assert_eq!(values(&data, 0, 8), [25.0, 4.0]);
    }

    #[test]
    fn hosts_read_from_places_of_their_own_at_times_of_their_own() {
        let data = dataset();
        assert_eq!(values(&data, 1, 0), values(&data, 0, TICKS_APART));
        assert_eq!(data.offset(1, 2), Millis(2_007));
        assert_eq!((data.n_samples(), data.secs(), data.end()), (36, 9, UnixMillis(11_000)));
    }

    #[test]
    fn the_core_of_a_recording_keeps_its_order() {
        let core = dataset().recording.core(1);
        assert_eq!(core.series[0].metric(), Some("node_load1"));
        assert_eq!((core.ticks.len(), core.ticks[1].as_slice()), (3, [12.0].as_slice()));
    }
}
