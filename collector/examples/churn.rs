//! A simulated day of churn: containers are replaced minute by minute, so that many
//! series are seen and few live at a time. Says what memory and disk they take, and
//! how long a query for a dead one takes, over the collector's own writer and store.
//!
//! `cargo run --release -p signalbox-collector --example churn -- [SEEN [ALIVE [HOURS]]]`

use signalbox_collector::rig::Rig;
use signalbox_collector::store::Store;
use signalbox_collector::store::rocks::RocksStore;
use signalbox_collector::writer::inbox::Message;
use signalbox_collector::writer::stream::StreamOut;
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::columns::Encoder;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::{Batch, Hello, SeriesEntry, ShapeEntry};
use signalbox_proto::selector::Selector;
use signalbox_proto::units::{Bytes, Millis, UnixMillis};
use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;

/// Series of one agent that live at a time.
const SERIES_PER_AGENT: usize = 500;
/// Series of one container.
const SERIES_PER_CONTAINER: usize = 10;
/// Between two samples, and two replacements.
const MINUTE: i64 = 60_000;
/// Every so many batches one stands alone.
const KEY_EVERY: u64 = 10;
const START: UnixMillis = UnixMillis(1_790_000_000_000);
const RETENTION: Millis = Millis::from_mins(30 * 24 * 60);

/// A host whose containers come and go.
struct Host {
    id: AgentId,
    stream: Arc<StreamOut>,
    encoder: Encoder,
    seq: u64,
    n_born: u32,
    live: VecDeque<u32>,
    declared: u32,
}

impl Host {
    fn new(number: usize) -> Host {
        let id = AgentId::parse(&format!("host-{number}")).expect("letters and digits");
        let stream = Arc::new(StreamOut::new(id.clone(), None));
        Host { id, stream, encoder: Encoder::default(), seq: 0, n_born: 0, live: VecDeque::new(), declared: 0 }
    }

    fn hello(&self) -> Message {
        let (reply, _) = tokio::sync::oneshot::channel();
        let hello = Hello {
            agent: self.id.clone(),
            boot_id: "boot".to_owned(),
            version: "churn".to_owned(),
            labels: Labels::default(),
            capabilities: Vec::new(),
            epochs: vec![1],
            wall: START,
            checks: Vec::new(),
        };
        Message::Connected { hello, stream: Arc::clone(&self.stream), reply }
    }

    fn labels(&self, series_ref: u32) -> Labels {
        let per = u32::try_from(SERIES_PER_CONTAINER).expect("a small constant");
        let name = format!("container_metric_{}", series_ref % per);
        let container = format!("{:08x}{:08x}", series_ref / per, self.id.as_str().len() * 2_654_435_761);
        let labels = [("host", self.id.as_str()), ("container_id", &container), ("namespace", "default")];
        Labels::series(&name, &labels).expect("a constant and hexadecimal digits")
    }

    /// The minute's batch, with so many new series in the places of the oldest.
    fn batch(&mut self, at: UnixMillis, n_new: usize) -> Message {
        let _acknowledged = self.stream.take();
        for _ in 0..n_new {
            self.live.push_back(self.n_born);
            self.n_born += 1;
        }
        while self.live.len() > SERIES_PER_AGENT {
            self.live.pop_front();
        }
        self.seq += 1;
        let key = self.seq % KEY_EVERY == 1;
        let refs: Vec<u32> = self.live.iter().copied().collect();
        let first = if key { 0 } else { self.declared };
        let new = refs.iter().filter(|series_ref| **series_ref >= first);
        let series = new.map(|&series_ref| SeriesEntry { series_ref, labels: self.labels(series_ref) }).collect();
        self.declared = self.n_born;
        let shape = u32::try_from(self.seq).unwrap_or(u32::MAX);
        let values: Vec<f64> = refs.iter().map(|series_ref| f64::from(*series_ref) + self.seq as f64).collect();
        self.encoder.begin(at, key);
        self.encoder.tick(shape, at, &refs, &values);
        let shape = ShapeEntry { shape, check: "containers".to_owned(), interval: Millis::from_mins(1), refs };
        let batch = Batch {
            epoch: 1,
            seq: self.seq,
            wall: at,
            mono: Millis(0),
            key,
            series,
            shapes: vec![shape],
            columns: self.encoder.payload().to_vec().into(),
            results: Vec::new(),
            events: Vec::new(),
        };
        Message::Batch { stream: Arc::clone(&self.stream), batch }
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0) * 1024
}

fn argument(place: usize, normal: usize) -> Result<usize, Box<dyn Error>> {
    Ok(std::env::args().nth(place).map_or(Ok(normal), |text| text.parse())?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (n_seen, n_alive) = (argument(1, 10_000_000)?, argument(2, 100_000)?);
    let n_minutes = argument(3, 24)? * 60;
    let clock = SystemClock::start();
    let dir = tempfile::tempdir()?;
    let store: Arc<dyn Store> = Arc::new(RocksStore::open(dir.path(), Bytes::from_mib(64))?);
    let mut rig = Rig::open(Arc::clone(&store), START)?;
    let mut hosts: Vec<Host> = (0..n_alive.div_ceil(SERIES_PER_AGENT)).map(Host::new).collect();
    rig.turn(START, hosts.iter().map(Host::hello).collect())?;
    println!("{n_seen} series seen in {n_minutes} min, {n_alive} alive, {} hosts", hosts.len());
    println!("minute      seen     live  retired segments  RSS MiB  index MiB  lanes MiB  disk MiB  s of wall");
    let mut n_born = 0;
    for minute in 0..n_minutes {
        let at = START.shifted(i64::try_from(minute)? * MINUTE);
        let target = n_alive + (n_seen - n_alive) * minute / n_minutes.max(1);
        let per_host = (target - n_born) / hosts.len();
        n_born += per_host * hosts.len();
        rig.turn(at, hosts.iter_mut().map(|host| host.batch(at, per_host)).collect())?;
        for _ in 0..3 {
            rig.turn(at, Vec::new())?;
        }
        rig.keep_segments(RETENTION)?;
        if (minute + 1) % 60 == 0 || minute + 1 == n_minutes {
            let (facts, stats) = (rig.series(), store.stats());
            let mib = |bytes: u64| bytes / (1024 * 1024);
            println!(
                "{:6} {n_born:9} {:8} {:8} {:8} {:8} {:10} {:10} {:9} {:10}",
                minute + 1,
                facts.n_live,
                facts.n_retired,
                facts.n_segments,
                mib(resident()),
                mib(facts.index.0),
                mib(facts.lanes.0),
                mib(stats.n_bytes),
                clock.mono().0 / 1000
            );
        }
    }
    ask(&rig, &hosts[0], n_minutes, &clock)?;
    drop(rig);
    let begun = clock.mono();
    let again = Rig::open(store, START.shifted(i64::try_from(n_minutes)? * MINUTE))?;
    println!("a start reads {} series back in {} ms", again.series().n_live, clock.mono().0 - begun.0);
    Ok(())
}

/// Queries for one dead series and for all of a dead container, over its hour and the day.
fn ask(rig: &Rig, host: &Host, n_minutes: usize, clock: &dyn Clock) -> Result<(), Box<dyn Error>> {
    const ROUNDS: u64 = 20;
    let container = host.labels(0).get("container_id").unwrap_or_default().to_owned();
    let one = format!("container_metric_0{{host=\"{}\",container_id=\"{container}\"}}", host.id);
    let all = format!("{{container_id=~\"{}.+\",host=\"{}\"}}", &container[..12], host.id);
    let day = START.shifted(i64::try_from(n_minutes)? * MINUTE);
    for (what, selector) in [("one dead series", one), ("a dead container, by pattern", all)] {
        let selector = Selector::parse(&selector)?;
        for (span, to) in [("its hour", START.shifted(60 * MINUTE)), ("all", day)] {
            let begun = clock.mono();
            let mut n_found = 0;
            for _ in 0..ROUNDS {
                n_found = rig.query(&selector, START, to)?.series.len();
            }
            let took = (clock.mono().0 - begun.0) as f64 / ROUNDS as f64;
            println!("query {what}, {span}: {n_found} series, {took:.2} ms");
        }
    }
    Ok(())
}
