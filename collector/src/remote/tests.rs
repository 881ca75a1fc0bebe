//! Requests as senders make them, packed and read back; sources against a writer made by hand.

use super::pack::{Packed, Packer};
use super::*;
use crate::store::memory::MemoryStore;
use crate::telemetry::Telemetry;
use crate::writer::inbox::{Message, Outbox, inbox};
use crate::writer::stream::Fault;
use proptest::prelude::*;
use signalbox_proto::clock::ManualClock;
use signalbox_proto::samples::Batch;
use signalbox_proto::units::UnixMillis;
use signalbox_tsdb::SeriesId;
use signalbox_tsdb::head::Lane;
use signalbox_tsdb::journal::Record;
use std::collections::BTreeMap;
use std::time::Duration;

const NOW: UnixMillis = UnixMillis(1_795_400_403_000);
const STALE: u64 = 0x7ff0_0000_0000_0002;

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    signalbox_proto::columns::put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        field(&mut label, 1, name.as_bytes());
        field(&mut label, 2, value.as_bytes());
        field(&mut out, 1, &label);
    }
    for (time, value) in samples {
        let mut sample = vec![0x09];
        sample.extend_from_slice(&value.to_le_bytes());
        sample.push(0x10);
        signalbox_proto::columns::put_varint(&mut sample, time.cast_unsigned());
        field(&mut out, 2, &sample);
    }
    out
}

fn request(all: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    all.iter().for_each(|one| field(&mut out, 1, one));
    // Metadata, and a field of the future.
    field(&mut out, 3, b"\x08\x01");
    field(&mut out, 15, b"?");
    out
}

fn packer() -> Packer {
    Packer::new(1000, INTERVAL, [1, 2], NOW)
}

/// What lanes hold after these batches: (metric, Unix milliseconds) and the value's bits.
#[derive(Default)]
struct Kept {
    lanes: BTreeMap<u64, Lane>,
    names: Vec<String>,
}

impl Kept {
    fn take(&mut self, batches: Vec<Batch>) {
        for Batch { epoch, seq, wall, key, series, shapes, columns, .. } in batches {
            let mut refs = Vec::new();
            for entry in series {
                refs.push((entry.series_ref, SeriesId(u32::try_from(self.names.len()).unwrap())));
                self.names.push(entry.labels.to_string());
            }
            let record = Record { epoch, seq, received: NOW, wall, key, refs, shapes, columns };
            self.lanes.entry(epoch).or_insert_with(|| Lane::new(epoch)).append(&record, |_| ()).unwrap();
        }
    }

    fn samples(&self) -> BTreeMap<(String, i64), u64> {
        let ids: Vec<SeriesId> = (0..self.names.len()).map(|id| SeriesId(u32::try_from(id).unwrap())).collect();
        let mut runs = vec![Vec::new(); ids.len()];
        self.lanes.values().for_each(|lane| lane.scan(&ids, UnixMillis::MIN, UnixMillis::MAX, &mut runs));
        let named = self.names.iter().zip(&runs).flat_map(|(name, runs)| runs.iter().map(move |run| (name, run)));
        let each = named.flat_map(|(name, run)| {
            run.points().map(move |point| ((name.clone(), point.time.0), point.value.to_bits()))
        });
        each.collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sent_is_what_lanes_hold(requests in proptest::collection::vec(
        proptest::collection::vec((0usize..3000, 0i64..5, prop_oneof![Just(STALE), any::<u64>()]), 1..60), 1..6)) {
        let (mut packer, mut kept, mut model) = (packer(), Kept::default(), BTreeMap::new());
        for samples in requests {
            let one = |(n, tick, bits): &(usize, i64, u64)| {
                let at = NOW.0 - tick * 1000;
                model.insert((format!("m{n}"), at), *bits);
                series(&[("__name__", &format!("m{n}"))], &[(at, f64::from_bits(*bits))])
            };
            let request = request(&samples.iter().map(one).collect::<Vec<_>>());
            let packed = packer.pack(&request, NOW).unwrap();
            prop_assert_eq!(&packed.refused, &Refused::default());
            kept.take(packed.batches);
        }
        prop_assert_eq!(kept.samples(), model);
    }

    #[test]
    fn any_bytes_are_packed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = packer().pack(&bytes, NOW);
    }
}

#[test]
fn a_request_that_is_cut_short_is_refused_whole() {
    let whole = request(&[series(&[("__name__", "up"), ("a", "b")], &[(NOW.0, 1.0), (NOW.0 - 1, 2.0)])]);
    let n_series = 2 + series(&[("__name__", "up"), ("a", "b")], &[(NOW.0, 1.0), (NOW.0 - 1, 2.0)]).len();
    for end in 1..n_series {
        assert!(packer().pack(&whole[..end], NOW).is_err(), "{end}");
    }
    assert_eq!(packer().pack(&whole, NOW).unwrap().n_samples, 2);
    let mut late = series(&[("__name__", "up")], &[(NOW.0, 1.0)]);
    field(&mut late, 1, b"");
    assert_eq!(packer().pack(&request(&[late]), NOW).unwrap_err(), wire::Malformed::Order);
}

#[test]
fn what_can_never_be_taken_is_counted_and_the_rest_is_kept() {
    let good = series(&[("__name__", "up")], &[(NOW.0, 1.0)]);
    let check = |bad: Vec<u8>, n: u64, wanted: &str| {
        let Packed { n_samples, refused, .. } = packer().pack(&request(&[bad, good.clone()]), NOW).unwrap();
        assert_eq!((n_samples, refused.n), (1, n), "{wanted}");
        assert!(refused.why.as_ref().is_some_and(|why| why.contains(wanted)), "{refused:?}");
    };
    check(series(&[("job", "x")], &[(NOW.0, 1.0), (NOW.0, 2.0)]), 2, "no metric name");
    check(series(&[("__name__", "up"), ("a.b", "x")], &[(NOW.0, 1.0)]), 1, "label name \"a.b\"");
    check(series(&[("__name__", "up"), ("a", &"x".repeat(2000))], &[(NOW.0, 1.0)]), 1, "over the limit of 1024");
    check(series(&[("__name__", "old")], &[(NOW.0 - 40 * 86_400_000, 1.0)]), 1, "over 30 days old");
    check(series(&[("__name__", "new")], &[(NOW.0 + 700_000, 1.0)]), 1, "ahead of the collector's clock");
    let mut histogram = series(&[("__name__", "h")], &[]);
    field(&mut histogram, 4, b"");
    check(histogram, 1, "native histograms");
}

#[test]
fn a_known_series_is_named_once_and_what_was_refused_stays_so() {
    let mut packer = packer();
    let both = || request(&[series(&[("__name__", "up")], &[(NOW.0, 1.0)]), series(&[("x", "y")], &[(NOW.0, 1.0)])]);
    let first = packer.pack(&both(), NOW).unwrap();
    assert_eq!((first.batches[0].series.len(), first.batches[0].shapes.len(), first.batches[0].key), (1, 1, true));
    let second = packer.pack(&both(), NOW).unwrap();
    let batch = &second.batches[0];
    assert_eq!((batch.series.len(), batch.shapes.len(), batch.key, batch.seq), (0, 0, false, 2));
    assert_eq!(second.refused.n, 1);
}

#[test]
fn many_series_are_dealt_out_to_shards() {
    let names: Vec<String> = (0..2500).map(|n| format!("m{n}")).collect();
    let all: Vec<_> = names.iter().map(|name| series(&[("__name__", name)], &[(NOW.0, 1.0)])).collect();
    let packed = packer().pack(&request(&all), NOW).unwrap();
    let shards: Vec<_> = packed.batches.iter().map(|batch| (batch.epoch, batch.series.len())).collect();
    assert_eq!(shards, [(1000, 1024), (1001, 1024), (1002, 452)]);
    assert_eq!(packed.batches[0].shapes.len(), 1, "a whole shard is one shape");
}

/// A source's door, and the writer's end of its inbox.
fn door() -> (Arc<Remote>, Outbox) {
    let (inbox, outbox) = inbox(1 << 24);
    let shared = Shared::new(Arc::new(ManualClock::at(NOW)), Arc::new(MemoryStore::default()), Telemetry::default());
    (Arc::new(Remote::new(Arc::new(shared), inbox)), outbox)
}

/// Greets, and answers each batch as told, until the inbox is closed or quiet.
fn write_down(outbox: Outbox, mut fault: impl FnMut(&Batch) -> Option<Fault> + Send + 'static) {
    std::thread::spawn(move || {
        while let Ok(Some(queued)) = outbox.next(Duration::from_secs(20)) {
            match queued.message {
                Message::Connected { hello, stream, reply } => {
                    assert!(stream.is_remote() && hello.epochs.len() == 1);
                    let _gone = reply.send(Ok(vec![(hello.epochs[0], 0)]));
                }
                Message::Batch { stream, batch } => match fault(&batch) {
                    Some(fault) => stream.end(fault),
                    None => stream.acknowledge(batch.epoch, batch.seq),
                },
                _ => {}
            }
        }
    });
}

fn packed(text: &str) -> Bytes {
    let one = request(&[series(&[("__name__", text)], &[(NOW.0, 1.0)])]);
    snap::raw::Encoder::new().compress_vec(&one).unwrap().into()
}

fn id(text: &str) -> AgentId {
    AgentId::parse(text).unwrap()
}

#[tokio::test]
async fn a_request_is_answered_once_it_is_durable_and_after_a_fault_there_is_a_new_link() {
    let (remote, outbox) = door();
    let mut n = 0;
    write_down(outbox, move |_| {
        n += 1;
        (n == 2).then(|| Fault::Refused("the disk is full".to_owned()))
    });
    let write = || remote.write(id("prom"), INTERVAL, packed("up"));
    assert_eq!(write().await.unwrap().n_samples, 1);
    let refused = write().await.unwrap_err();
    assert!(matches!(&refused, WriteError::Later(why) if why.contains("the disk is full")), "{refused}");
    assert_eq!(write().await.unwrap().n_samples, 1);
}

#[tokio::test]
async fn what_is_no_request_and_names_of_others_are_refused() {
    let (remote, outbox) = door();
    write_down(outbox, |_| None);
    let garbage = remote.write(id("prom"), INTERVAL, Bytes::from_static(b"garbage")).await;
    assert!(matches!(garbage, Err(WriteError::Packed(_))), "{garbage:?}");
    let own = remote.write(id(crate::telemetry::AGENT), INTERVAL, packed("up")).await;
    assert!(matches!(own, Err(WriteError::Source(_))), "{own:?}");
    let mut huge = Vec::new();
    signalbox_proto::columns::put_varint(&mut huge, (UNPACKED_MAX_BYTES + 1) as u64);
    let huge = remote.write(id("prom"), INTERVAL, huge.into()).await;
    assert!(matches!(huge, Err(WriteError::TooLarge(_))), "{huge:?}");
}
