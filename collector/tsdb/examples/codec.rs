//! Size and speed of the formats on a recording.
//!
//! ```text
//! cargo run --release -p signalbox-tsdb --example codec -- --data DIR
//! ```
//!
//! `DIR/node_1s.txt.zst` holds text scrapes, each after a line `# SCRAPE MS LENGTH`;
//! the program `zstd` unpacks it. The samples go the way that they go in the
//! product: packed as an agent does, one batch a second; taken by a lane; sealed
//! when due; read back and compared bit for bit. Speeds are of this thread's CPU
//! time, best of three.

use signalbox_proto::columns::Encoder;
use signalbox_proto::samples::ShapeEntry;
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::SeriesId;
use signalbox_tsdb::chunk::{ChunkBuilder, ChunkReader};
use signalbox_tsdb::compact;
use signalbox_tsdb::head::{Lane, SealLimits};
use signalbox_tsdb::journal::Record;
use signalbox_tsdb::run::{Joiner, Run};
use signalbox_tsdb::tier::Tier;
use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

type Rows = Vec<(i64, Vec<f64>)>;

fn main() -> Result<(), Box<dyn Error>> {
    let rows = load(&data_dir()?)?;
    let n_series = rows.first().ok_or("the recording is empty")?.1.len();
    let n_samples = rows.len() * n_series;
    println!("{} scrapes of {n_series} series, {n_samples} samples", rows.len());

    let (pack_s, records) = best(|| pack(&rows));
    let n_payload: usize = records.iter().map(|record| record.columns.len()).sum();
    line("agent packs (payload)", n_samples, pack_s, Some(n_payload));
    let n_journal: usize = records.iter().map(|record| record.encode().len()).sum();
    line("journal rows", n_samples, 0.0, Some(n_journal));

    let (append_s, n_changed) = best(|| append(&records));
    line("lane takes", n_samples, append_s, None);
    println!("  of which {:.1} % changed", 100.0 * ratio(n_changed, n_samples));

    for n_ticks in [120, 600, 3600] {
        let (seal_s, (chunks, n_snapshot)) = best(|| seal(&records, n_ticks));
        let n_chunk: usize = chunks.iter().map(Vec::len).sum();
        line(&format!("lane takes and seals, {n_ticks} ticks"), n_samples, seal_s, Some(n_chunk));
        println!("  snapshots {:.4} B/sample", ratio(n_snapshot, n_samples));
        let (read_s, columns) = best(|| read(&chunks));
        line("  read all", n_samples, read_s, None);
        let (encode_s, _) = best(|| columns.iter().map(|columns| encode(columns).len()).sum::<usize>());
        line("  encode alone", n_samples, encode_s, None);
        let (one_s, _) = best(|| read_one(&chunks));
        println!("  one series of one chunk: {:.1} us", one_s * 1e6 / ratio(chunks.len() * n_series, 1));
        compare(&rows, &columns)?;
    }
    merge(&records, n_samples);
    scan(&records, n_series);
    wide();
    Ok(())
}

fn encode(columns: &[(SeriesId, Run)]) -> Vec<u8> {
    let mut chunk = ChunkBuilder::default();
    columns.iter().for_each(|(id, run)| chunk.push(*id, run));
    chunk.finish()
}

/// What the background makes of an hour's chunks, and how fast it is read again.
fn merge(records: &[Record], n_samples: usize) {
    let (chunks, _) = seal(records, 600);
    let window = Tier::Long.window_of(records[0].wall);
    let (mut merge_s, mut n_long, mut n_minutes, mut n_merged) = (0.0, 0, 0, 0);
    let mut parts = Vec::new();
    for n in 0..2 {
        let from = window.shifted(n * Tier::Long.window_ms());
        let sources: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let (seconds, merged) = best(|| {
            compact::merge(compact::Sources { fresh: &sources, ..Default::default() }, from).expect("written above")
        });
        merge_s += seconds;
        n_long += merged.long.iter().map(|part| part.row.len()).sum::<usize>();
        n_minutes += merged.minutes.iter().map(|part| part.row.len()).sum::<usize>();
        n_merged += merged.long.iter().map(|part| part.span.facts.n_samples).sum::<u64>();
        parts.extend(merged.long);
    }
    line("merged, in parts", n_samples, merge_s, Some(n_long));
    line("  minutes beside it", n_samples, 0.0, Some(n_minutes));
    println!("  {} parts, {n_merged} samples", parts.len());
    let (read_s, n_read) = best(|| {
        let read = |part: &compact::Part| {
            let mut reader = ChunkReader::open(&part.row).expect("written above");
            let ids: Vec<SeriesId> = reader.series().map(|one| one.series).collect();
            let run = |id| {
                reader.read(id, UnixMillis::MIN, UnixMillis::MAX).expect("written above").map_or(0, |run| run.len())
            };
            ids.into_iter().map(run).sum::<usize>()
        };
        parts.iter().map(read).sum::<usize>()
    });
    line("  read all", n_read, read_s, None);
    let from = records[0].wall.shifted(60_000);
    let (one_s, n_read) = best(|| {
        let mut joiner = Joiner::default();
        let mut n_read = 0;
        for id in (0..500).step_by(5).map(SeriesId) {
            let holds = |part: &&compact::Part| part.first <= id && id <= part.span.last;
            let read = |part: &compact::Part| {
                let mut reader = ChunkReader::open(&part.row).expect("written above");
                reader.read(id, from, from.shifted(48 * 60_000)).expect("written above")
            };
            n_read += joiner.join(parts.iter().filter(holds).filter_map(read).collect()).len();
        }
        n_read
    });
    println!("  one series, 48 min at 1 s: {:.1} us, {} points", one_s * 1e6 / 100.0, n_read / 100);
}

/// 16 series of each of 1,000 hosts, an hour at 15 s, from rows of two hours.
fn wide() {
    let times: std::sync::Arc<[i64]> = (0..480).map(|at| 1_789_999_200_000 + at * 15_000).collect();
    let mut state = 7u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 44
    };
    #[allow(clippy::cast_precision_loss, reason = "a counter of hundredths")]
    let mut row = || {
        let mut series = |id| {
            let mut total = 0u64;
            let mut step = |_: &i64| {
                total += noise() % 1500;
                total as f64 / 100.0
            };
            let values = times.iter().map(&mut step).collect();
            (SeriesId(id), Run { times: times.clone(), arrived: signalbox_tsdb::run::Arrived::At(0), values })
        };
        encode(&(0..16).map(&mut series).collect::<Vec<_>>())
    };
    let rows: Vec<Vec<u8>> = (0..1000).map(|_| row()).collect();
    let from = UnixMillis(times[120]);
    let (read_s, n_points) = best(|| {
        let read = |row: &Vec<u8>| {
            let mut reader = ChunkReader::open(row).expect("written above");
            let run = |id| {
                reader
                    .read(SeriesId(id), from, from.shifted(3_600_000))
                    .expect("written above")
                    .map_or(0, |run| run.len())
            };
            (0..16).map(run).sum::<usize>()
        };
        rows.iter().map(read).sum::<usize>()
    });
    println!("16,000 series, an hour at 15 s: {:.1} ms, {n_points} points", read_s * 1e3);
}

fn data_dir() -> Result<PathBuf, Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("--data"), Some(dir)) => Ok(dir.into()),
        _ => Err("usage: codec --data DIR".into()),
    }
}

/// The series that every scrape has, in the order of the first.
fn load(dir: &Path) -> Result<Rows, Box<dyn Error>> {
    let path = dir.join("node_1s.txt.zst");
    let unpacked = Command::new("zstd").args(["-dc", "--long=27"]).arg(&path).output()?;
    if !unpacked.status.success() {
        return Err(format!("zstd {}: {}", path.display(), String::from_utf8_lossy(&unpacked.stderr)).into());
    }
    let text = String::from_utf8(unpacked.stdout)?;
    let mut scrapes: Vec<(i64, HashMap<&str, f64>)> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# SCRAPE ") {
            scrapes.push((head.split(' ').next().unwrap_or_default().parse()?, HashMap::new()));
        } else if let (false, Some((name, value))) = (line.starts_with('#'), line.rsplit_once(' ')) {
            if scrapes.len() == 1 {
                names.push(name);
            }
            scrapes.last_mut().ok_or("samples before the first scrape")?.1.insert(name, value.parse()?);
        }
    }
    names.retain(|name| scrapes.iter().all(|(_, values)| values.contains_key(name)));
    let row = |(time, values): &(i64, HashMap<&str, f64>)| (*time, names.iter().map(|name| values[name]).collect());
    Ok(scrapes.iter().map(row).collect())
}

fn pack(rows: &Rows) -> Vec<Record> {
    let refs: Vec<u32> = (0..).take(rows[0].1.len()).collect();
    let shape = ShapeEntry { shape: 0, check: "node".into(), interval: Millis(1000), refs: refs.clone() };
    let ids: Vec<_> = refs.iter().map(|&at| (at, SeriesId(at))).collect();
    let mut encoder = Encoder::default();
    let record = |(seq, (time, values)): (u64, &(i64, Vec<f64>))| {
        let (key, wall) = (seq == 1, UnixMillis(*time));
        encoder.begin(wall, key);
        encoder.tick(0, wall, &refs, values);
        let columns = encoder.payload().to_vec().into();
        let (refs, shapes) = if key { (ids.clone(), vec![shape.clone()]) } else { Default::default() };
        Record { epoch: 1, seq, received: wall, wall, key, refs, shapes, columns }
    };
    (1..).zip(rows).map(record).collect()
}

fn append(records: &[Record]) -> usize {
    let mut lane = Lane::new(1);
    let mut n_changed = 0;
    for record in records {
        lane.append(record, |tick| n_changed += tick.changed().count()).expect("packed above");
    }
    n_changed
}

fn seal(records: &[Record], n_ticks: u64) -> (Vec<Vec<u8>>, usize) {
    let limits = SealLimits { n_ticks, span: Millis::from_mins(600), ..SealLimits::default() };
    let mut lane = Lane::new(1);
    let (mut chunks, mut n_snapshot) = (Vec::new(), 0);
    let mut take = |lane: &mut Lane| {
        if let Some(sealed) = lane.seal() {
            chunks.extend(sealed.chunk);
            n_snapshot += sealed.snapshot.encode().len();
        }
    };
    for record in records {
        lane.append(record, |_| {}).expect("packed above");
        if lane.due(record.received, &limits) {
            take(&mut lane);
        }
    }
    take(&mut lane);
    (chunks, n_snapshot)
}

fn read(chunks: &[Vec<u8>]) -> Vec<Vec<(SeriesId, Run)>> {
    let open = |chunk: &Vec<u8>| {
        let mut reader = ChunkReader::open(chunk).expect("written above");
        let ids: Vec<SeriesId> = reader.series().map(|one| one.series).collect();
        let column = |id| Some((id, reader.read(id, UnixMillis::MIN, UnixMillis::MAX).expect("written above")?));
        ids.into_iter().filter_map(column).collect()
    };
    chunks.iter().map(open).collect()
}

/// Opens every chunk anew for each of its series, as a query for one does.
fn read_one(chunks: &[Vec<u8>]) -> usize {
    let mut n_points = 0;
    for chunk in chunks {
        for id in (0..).map(SeriesId).take(ChunkReader::open(chunk).expect("written above").series().count()) {
            let mut reader = ChunkReader::open(chunk).expect("written above");
            let run = reader.read(id, UnixMillis::MIN, UnixMillis::MAX).expect("written above");
            n_points = run.map_or(0, |run| run.len());
        }
    }
    n_points
}

fn scan(records: &[Record], n_series: usize) {
    let mut lane = Lane::new(1);
    for record in &records[..records.len().min(600)] {
        lane.append(record, |_| {}).expect("packed above");
    }
    let (scan_s, n_points) = best(|| {
        let mut out = [Vec::new()];
        lane.scan(&[SeriesId(3)], UnixMillis::MIN, UnixMillis::MAX, &mut out);
        out[0].iter().map(Run::len).sum::<usize>()
    });
    println!("one series of an open chunk, {n_points} points: {:.1} us", scan_s * 1e6);
    println!("memory of that lane: {:.1} B/series", ratio(usize::try_from(lane.memory().0).unwrap_or(0), n_series));
}

fn compare(rows: &Rows, chunks: &[Vec<(SeriesId, Run)>]) -> Result<(), Box<dyn Error>> {
    let mut n_compared = 0;
    for columns in chunks {
        for (at, (_, run)) in columns.iter().enumerate() {
            for point in run.points() {
                let row = rows.binary_search_by_key(&point.time.0, |row| row.0).map_err(|_| "an instant is wrong")?;
                if rows[row].1[at].to_bits() != point.value.to_bits() {
                    return Err("a value is wrong".into());
                }
                n_compared += 1;
            }
        }
    }
    if n_compared == rows.len() * rows[0].1.len() { Ok(()) } else { Err("samples are missing".into()) }
}

fn line(what: &str, n_samples: usize, seconds: f64, n_bytes: Option<usize>) {
    let speed =
        if seconds > 0.0 { format!("{:8.1} Msamples/s", ratio(n_samples, 1) / seconds / 1e6) } else { String::new() };
    let size = n_bytes.map(|n| format!("{:8.4} B/sample", ratio(n, n_samples))).unwrap_or_default();
    println!("{what:34}{size:18}{speed}");
}

#[allow(clippy::cast_precision_loss, reason = "counts of samples are far under 2^53")]
fn ratio(n: usize, of: usize) -> f64 {
    n as f64 / of as f64
}

/// The least CPU seconds of three runs, and the result of the last.
fn best<T>(mut run: impl FnMut() -> T) -> (f64, T) {
    let mut timed = || {
        let start = cpu_s();
        let result = run();
        (cpu_s() - start, result)
    };
    let (first, second, (third, result)) = (timed().0, timed().0, timed());
    (first.min(second).min(third), result)
}

#[allow(clippy::cast_precision_loss, reason = "seconds of a process")]
fn cpu_s() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
