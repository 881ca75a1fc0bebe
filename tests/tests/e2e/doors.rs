//! F28 to F31 in their small tier, against the agents' door: garbage inside of TLS,
//! floods, and callers that say nothing. Meanwhile an honest agent gets in within two
//! seconds each time, nothing panics, and memory stays bounded.

use crate::common::{block_on, now, speaker};
use anyhow::{Context, Result, ensure};
use e2e::process::Collector;
use e2e::random::Random;
use e2e::speaker::Session;
use e2e::tls::{self, Identity};
use signalbox_proto::api::NewJoinToken;
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::units::Millis;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// From the first packet of an honest agent to the first word of the collector. A
/// collector without optimisation, as it is tested while it is written, has longer.
const HONEST_WITHIN: Millis = if cfg!(debug_assertions) { Millis(6000) } else { Millis(2000) };
/// What a flood may add to the collector's resident memory.
const MEMORY_MAX_KIB: u64 = 128 * 1024;
/// Attackers at one time.
const ATTACKERS: usize = 12;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `POST https /`, from HPACK's static table.
const HEAD: &[u8] = &[0x83, 0x87, 0x84, 0x41, 0x01, b'x'];

/// What is written after the preface, over and over.
fn attack(kind: usize, n: u32, random: &mut Random) -> Vec<u8> {
    // Streams of a client have odd numbers.
    let stream = n * 2 + 1;
    match kind {
        // Opened and reset at once (CVE-2023-44487).
        0 => [frame(1, 4, stream, HEAD), frame(3, 0, stream, &[0, 0, 0, 8])].concat(),
        // Headers that never end (CVE-2024-27316).
        1 if n == 0 => frame(1, 0, 1, HEAD),
        1 => frame(9, 0, 1, &[0x40, 1, b'a', 1, b'b'].repeat(200)),
        // Pings and settings that want an answer each, which is never read.
        2 => [frame(6, 0, 0, &[7; 8]), frame(4, 0, 0, &[])].concat().repeat(50),
        // Empty data on a stream that stands.
        3 if n == 0 => frame(1, 4, 1, HEAD),
        3 => frame(0, 0, 1, &[]).repeat(50),
        // Garbage.
        4 => (0..512).map(|_| random.bits().to_le_bytes()[0]).collect(),
        // A message of 4 GiB is announced, and comes byte by byte.
        5 if n == 0 => [frame(1, 4, 1, HEAD), frame(0, 0, 1, &[0, 0xff, 0xff, 0xff, 0xff])].concat(),
        5 => frame(0, 0, 1, &[0]),
        // Streams that are opened and left.
        _ => frame(1, 4, stream, HEAD),
    }
}

/// One attacker: a connection, the attack, until the collector ends it; and again.
async fn flood(kind: usize, port: u16, ca: String, seed: u64, stop: Arc<AtomicBool>) -> Result<u64> {
    let (mut random, mut n_connections) = (Random::new(seed), 0);
    while !stop.load(Ordering::SeqCst) {
        let config = tls::client_config(&ca, None)?;
        let connected = tokio::time::timeout(Duration::from_secs(5), tls::stream(port, config)).await;
        let Ok(Ok(mut stream)) = connected else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        n_connections += 1;
        let write = async {
            stream.write_all(PREFACE).await?;
            for n in 0..100_000 {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                stream.write_all(&attack(kind, n, &mut random)).await?;
                tokio::task::yield_now().await;
            }
            std::io::Result::Ok(())
        };
        // A collector that does not read any more has shut the door, too.
        let _ = tokio::time::timeout(Duration::from_secs(3), write).await;
    }
    Ok(n_connections)
}

/// Callers that say nothing, or half of a greeting.
async fn silence(port: u16, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut held = Vec::new();
    for n in 0..400usize {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        if n % 2 == 1 {
            // The head of a TLS record that promises 512 bytes.
            let _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).await;
        }
        held.push(stream);
    }
    let mut n_ended = 0;
    while !stop.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        for stream in &mut held {
            let mut byte = [0];
            let ended = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut byte)).await;
            n_ended += u64::from(matches!(ended, Ok(Ok(0) | Err(_))));
        }
    }
    Ok(n_ended)
}

/// How long an honest agent takes to be let in.
async fn honest(port: u16, ca: &str, identity: &Identity, epoch: u64) -> Result<Millis> {
    let clock = SystemClock::start();
    let hello = speaker("honest", epoch, 1, 1000)?.hello(now(), vec![epoch]);
    let channel = tls::channel(port, ca, Some(identity)).await?;
    let mut session = Session::over(channel, &hello).await?;
    session.acked().await?;
    Ok(clock.mono())
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// All attackers until they are told to stop; gives how many connections they had.
async fn attack_all(port: u16, ca: String, kinds: Vec<usize>, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut attackers = tokio::task::JoinSet::new();
    if kinds.is_empty() {
        attackers.spawn(silence(port, Arc::clone(&stop)));
    }
    for n in (0..ATTACKERS).filter(|_| !kinds.is_empty()) {
        attackers.spawn(flood(kinds[n % kinds.len()], port, ca.clone(), n as u64 + 42, Arc::clone(&stop)));
    }
    let mut n_connections = 0;
    while let Some(ended) = attackers.join_next().await {
        n_connections += ended.context("an attacker panicked")??;
    }
    Ok(n_connections)
}

/// An honest agent comes in again and again while others attack, each side in a
/// runtime of its own, so that the attackers delay the collector and not the agent.
fn under_attack(collector: &Collector, identity: &Identity, kinds: &[usize]) -> Result<()> {
    let (port, ca) = (collector.grpc, collector.ca_pem()?);
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, all, pem) = (Arc::clone(&stop), kinds.to_vec(), ca.clone());
    let attackers = std::thread::spawn(move || block_on(attack_all(port, pem, all, stopped)));
    let times = block_on(async {
        let mut times = Vec::new();
        for n in 0..16 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            times.push(honest(port, &ca, identity, now().0.cast_unsigned() + n).await.context("the honest agent")?);
        }
        Ok(times)
    });
    stop.store(true, Ordering::SeqCst);
    let n_connections = attackers.join().map_err(|_| anyhow::anyhow!("the attackers panicked"))??;
    let times = times?;
    let worst = times.iter().max().copied().unwrap_or_default();
    println!("{kinds:?}: {n_connections} connections of attackers; an honest agent was in after {worst} at most");
    ensure!(worst <= HONEST_WITHIN, "an honest agent waited {worst}: {times:?}");
    Ok(())
}

fn scene(folder: &std::path::Path) -> Result<(Collector, Identity)> {
    let collector = Collector::start(folder, &[])?;
    let wanted =
        NewJoinToken { ttl: "1h".to_owned(), uses: 1, labels: BTreeMap::new(), cidrs: Vec::new(), agent: None };
    let made = collector.join_token(&wanted)?;
    let identity = block_on(async {
        let channel = tls::channel(collector.grpc, &collector.ca_pem()?, None).await?;
        Ok(tls::join(channel, &made.secret, "honest", now().0).await?)
    })?;
    Ok((collector, identity))
}

fn holds(kinds: &[usize]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut collector, identity) = scene(folder.path())?;
    let before = resident_kib(collector.process.pid())?;
    under_attack(&collector, &identity, kinds)?;
    let after = resident_kib(collector.process.pid())?;
    println!("resident memory {before} KiB before, {after} KiB after");
    ensure!(after < before + MEMORY_MAX_KIB, "{before} KiB before, {after} KiB after");
    ensure!(collector.process.is_running(), "the collector lives");
    let log = fs::read_to_string(folder.path().join("collector.log"))?;
    ensure!(!log.contains("panicked"), "a panic:\n{}", collector.process.log_tail());
    ensure!(collector.client().is_ready(), "and serves its operators");
    Ok(())
}

#[test]
fn f28_f29_garbage_inside_of_tls_ends_its_own_connection_only() -> Result<()> {
    holds(&[4])
}

#[test]
fn f30_floods_of_http2_frames_do_not_keep_an_honest_agent_out() -> Result<()> {
    holds(&[0, 1, 2, 3, 5, 6])
}

#[test]
fn f31_callers_that_say_nothing_do_not_keep_an_honest_agent_out() -> Result<()> {
    holds(&[])
}
