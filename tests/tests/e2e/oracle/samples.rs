//! The samples of both evaluators: every shape that a series can have, from a seed.
//!
//! All lie beside whole seconds, where every query has the edges of its windows.
//! Synthetic values are small multiples of 1/16, whose sums are exact.

use anyhow::{Context, Result, ensure};
use e2e::random::Random;
use signalbox_promql::Labels;
use signalbox_promql::memory::Memory;
use signalbox_promql::seam::STALE_BITS;
use signalbox_proto::selector::{Selector, Test};
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Seconds since 1970 of the first samples: a whole hour.
pub(crate) const START: i64 = 1_700_002_800;
/// The last of the samples that lie on whole tens of seconds.
pub(crate) const EDGE: i64 = START + 3000;
/// Seconds between two samples.
pub(crate) const INTERVAL: i64 = 15;
/// Samples of a series without gaps: an hour.
const N_SAMPLES: usize = 240;
const N_HOSTS: usize = 6;
const BOUNDS: [&str; 6] = ["0.1", "0.5", "1", "2.5", "10", "+Inf"];

/// One series; milliseconds and values, ascending.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) samples: Vec<(i64, f64)>,
}

/// The same samples for our evaluator.
pub(crate) fn memory(series: &[Series]) -> Memory {
    let mut memory = Memory::default();
    for one in series {
        for (time, value) in &one.samples {
            memory.push(&one.labels, UnixMillis(*time), *value);
        }
    }
    memory
}

/// When the k-th sample of a series is taken: a little late, as in life.
fn time(random: &mut Random, phase_ms: i64, k: usize) -> i64 {
    let late_ms = 2 * random.below(200) as i64 + 1;
    START * 1000 + k as i64 * INTERVAL * 1000 + phase_ms + late_ms
}

fn series(
    random: &mut Random,
    labels: &[(&str, &str)],
    value: &mut dyn FnMut(&mut Random, usize) -> Option<f64>,
) -> Series {
    let phase_ms = 1000 * random.below(INTERVAL as u64 - 1) as i64 + 500;
    let mut samples = Vec::new();
    for k in 0..N_SAMPLES {
        let time = time(random, phase_ms, k);
        samples.extend(value(random, k).map(|value| (time, value)));
    }
    Series { labels: Labels::new(labels.iter().copied()), samples }
}

/// A step of a random walk: -4 … 4.
fn stride(random: &mut Random) -> f64 {
    random.below(9) as f64 - 4.0
}

/// The n-th of the generators of a seed, of which neighbours have nothing in common.
pub(crate) fn random(seed: u64, n: u64) -> Random {
    Random::new((2 * (16 * seed + n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// All series of a seed.
pub(crate) fn synthetic(seed: u64) -> Vec<Series> {
    let mut random = random(seed, 0);
    let mut all = Vec::new();
    for host in 0..N_HOSTS {
        let (name, zone) = (format!("h{host}"), ["east", "west", ""][host % 3]);
        all.push(walk(&mut random, host, &name, zone));
        all.push(patchy(&mut random, host, &name, zone));
        all.push(version(&mut random, host, &name));
        all.push(gap_counter(&mut random, &name, zone));
        for (n, mode) in ["idle", "user", "system"].into_iter().enumerate() {
            all.push(counter(&mut random, n as f64, &name, mode));
            all.push(flat(&mut random, &name, mode));
        }
        if host < 3 {
            histogram(&mut random, host, &name, &mut all);
        }
    }
    all.retain(|one| !one.samples.is_empty());
    all
}

/// Above zero, and never two of these have one value at one time: each keeps a fraction of its own.
fn walk(random: &mut Random, host: usize, name: &str, zone: &str) -> Series {
    let mut value = host as f64 / 16.0 + 400.0;
    series(random, &[("__name__", "walk"), ("host", name), ("zone", zone)], &mut |random, _| {
        value += stride(random);
        Some(value)
    })
}

/// A gauge with gaps of every length, ends, and every special value.
fn patchy(random: &mut Random, host: usize, name: &str, zone: &str) -> Series {
    let mut value = host as f64;
    let mut gap = 0;
    series(random, &[("__name__", "patchy"), ("host", name), ("zone", zone)], &mut |random, k| {
        value += stride(random) / 4.0;
        if gap > 0 {
            gap -= 1;
            return None;
        }
        match random.below(60) {
            0..4 => {
                gap = random.below(40);
                Some(f64::from_bits(STALE_BITS)).filter(|_| random.below(2) == 0)
            }
            4 => Some(f64::NAN),
            5 if host > 2 => Some([f64::INFINITY, f64::NEG_INFINITY][k % 2]),
            6 => Some([0.0, -0.0][k % 2]),
            _ => Some(value),
        }
    })
}

fn version(random: &mut Random, host: usize, name: &str) -> Series {
    let version = format!("1.{}", host / 2);
    series(random, &[("__name__", "build_info"), ("host", name), ("version", &version)], &mut |_, _| Some(1.0))
}

/// Small whole numbers, often the same.
fn flat(random: &mut Random, name: &str, mode: &str) -> Series {
    let mut value = random.below(4) as f64;
    series(random, &[("__name__", "flat"), ("host", name), ("mode", mode)], &mut |random, _| {
        if random.below(20) == 0 {
            value = random.below(4) as f64;
        }
        Some(value)
    })
}

/// Resets, and no gaps: see `GAP_TOTAL` in the corpus.
fn counter(random: &mut Random, pace: f64, name: &str, mode: &str) -> Series {
    let mut value = random.below(500) as f64;
    series(random, &[("__name__", "ctr_total"), ("host", name), ("mode", mode)], &mut |random, _| {
        let step = random.below(30) as f64 * pace / 4.0;
        value = if random.below(50) == 0 { step } else { value + step };
        Some(value)
    })
}

/// Gaps and ends, and no resets.
fn gap_counter(random: &mut Random, name: &str, zone: &str) -> Series {
    let mut value = 1_073_741_824.0;
    let mut gap = 0;
    series(random, &[("__name__", "gap_total"), ("host", name), ("zone", zone)], &mut |random, _| {
        value += random.below(40) as f64 / 2.0;
        if gap > 0 {
            gap -= 1;
            return None;
        }
        if random.below(25) == 0 {
            gap = random.below(30);
            return Some(f64::from_bits(STALE_BITS)).filter(|_| random.below(2) == 0);
        }
        Some(value)
    })
}

/// Buckets of a classic histogram, its sum and count, all taken at once. The last
/// host's lacks its bucket without a bound.
fn histogram(random: &mut Random, host: usize, name: &str, all: &mut Vec<Series>) {
    let of = |metric: &str, le: &str| {
        let labels = Labels::new([("__name__", metric), ("host", name), ("le", le)]);
        Series { labels, samples: Vec::new() }
    };
    let mut buckets: Vec<Series> = BOUNDS.iter().map(|le| of("lat_bucket", le)).collect();
    let (mut count, mut sum) = (of("lat_count", ""), of("lat_sum", ""));
    let (mut counts, mut total) = ([0.0; BOUNDS.len()], 0.0);
    for k in 0..N_SAMPLES {
        if random.below(100) == 0 {
            (counts, total) = ([0.0; BOUNDS.len()], 0.0);
        }
        for _ in 0..random.below(8) {
            let first = random.below(BOUNDS.len() as u64) as usize;
            counts[first..].iter_mut().for_each(|count| *count += 1.0);
            total += first as f64 / 2.0;
        }
        let at = time(random, 4000, k);
        for (bucket, count) in buckets.iter_mut().zip(counts) {
            bucket.samples.push((at, count));
        }
        count.samples.push((at, counts[BOUNDS.len() - 1]));
        sum.samples.push((at, total));
    }
    if host == 2 {
        buckets.pop();
    }
    all.extend(buckets);
    all.extend([count, sum]);
}

/// What the corpus must not ask for: samples on whole tens of seconds, up to [`EDGE`].
pub(crate) fn edges() -> Vec<Series> {
    let series = |name: &str, samples: Vec<(i64, f64)>| Series { labels: Labels::new([("__name__", name)]), samples };
    let at = |k: i64| (EDGE - 10 * k) * 1000;
    vec![
        series("edge", (0..60).rev().map(|k| (at(k), 40.0 - k as f64)).collect()),
        series("edge_total", vec![(at(2), 8.0), (at(1), 18.0), (at(0), 28.0)]),
    ]
}

/// The recorded series, their scrapes moved to the times of ours and told again from
/// the first when the hour is longer: a reset, as of a host that started anew.
pub(crate) fn recorded() -> Result<Vec<Series>> {
    let rows = match std::env::var_os("SIGNALBOX_TEST_DATA") {
        Some(folder) if Path::new(&folder).join("node_1s.txt.zst").exists() => {
            scrapes(&Path::new(&folder).join("node_1s.txt.zst"))?
        }
        _ => slice(&std::fs::read_to_string("data/node_slice.txt").context("read data/node_slice.txt")?)?,
    };
    let mut random = Random::new(7);
    let stretched = |(labels, values): (Labels, Vec<f64>)| {
        let samples = (0..N_SAMPLES).map(|k| (time(&mut random, 7000, k), values[k % values.len()])).collect();
        Series { labels, samples }
    };
    Ok(rows.into_iter().map(stretched).collect())
}

/// The labels of `name{label="value"}`.
fn labels(text: &str) -> Result<Labels> {
    let selector = Selector::parse(text).with_context(|| format!("series {text}"))?;
    let pairs = selector.matchers().iter().filter_map(|matcher| match &matcher.test {
        Test::Is(value) => Some((matcher.label.as_str(), value.as_str())),
        _ => None,
    });
    Ok(Labels::new(pairs))
}

/// `tests/data/node_slice.txt`: names, then scrapes with `=` for what is unchanged.
fn slice(text: &str) -> Result<Vec<(Labels, Vec<f64>)>> {
    let names = text.lines().filter_map(|line| line.strip_prefix("series "));
    let mut rows = names.map(|name| Ok((labels(name)?, Vec::new()))).collect::<Result<Vec<_>>>()?;
    for scrape in text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        for ((_, values), word) in rows.iter_mut().zip(scrape.split(' ').skip(1)) {
            let value = if word == "=" { values.last().copied() } else { word.parse().ok() };
            values.push(value.with_context(|| format!("value {word:?}"))?);
        }
    }
    Ok(rows)
}

/// `node_1s.txt.zst`: `# SCRAPE <ms> <bytes>` and text exposition, repeated.
fn scrapes(path: &Path) -> Result<Vec<(Labels, Vec<f64>)>> {
    let out = Command::new("zstd").args(["-dc", "--long=27"]).arg(path).output().context("run zstd (package zstd)")?;
    ensure!(out.status.success(), "zstd -dc {}: {}", path.display(), String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).context("a recording is text")?;
    let mut rows: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for scrape in text.split("# SCRAPE ").skip(1).take(N_SAMPLES) {
        let lines = scrape.lines().skip(1).filter(|line| !line.starts_with('#'));
        for (name, value) in lines.filter_map(|line| line.rsplit_once(' ')) {
            rows.entry(name).or_default().push(value.parse().with_context(|| format!("value {value:?}"))?);
        }
    }
    rows.into_iter().map(|(name, values)| Ok((labels(name)?, values))).collect()
}
