//! The steps of a ping, and the line that each writes.

use crate::config::Endpoint;
use crate::enrol::{Enrol, EnrolError, Pong};
use crate::identity::Identity;
use crate::identity::certificate::utc;
use crate::net::{self, Http2, Pace, Seen, Trust};
use crate::sampler::chain;
use signalbox_proto::clock::Clock;
use signalbox_proto::join::{CLOCK_SKEW_MAX_MS, PING_PADDING_MAX_BYTES};
use signalbox_proto::units::Millis;
use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const ROUNDS: usize = 10;
/// Sizes that pass ever more packets: below one, some, many.
const SIZES: [usize; 4] = [1000, 4096, 16_384, PING_PADDING_MAX_BYTES];
/// A call that is not answered by then is stuck.
const CALL_WAIT: Millis = Millis(5000);
/// Clocks this far apart are told about; samples are then judged late or early.
const CLOCK_WARN_MS: i64 = 5000;

/// Walks and writes. A step that fails has written why.
pub(super) struct Steps<'a, W> {
    out: &'a mut W,
}

impl<'a, W: Write> Steps<'a, W> {
    pub(super) fn new(out: &'a mut W) -> Steps<'a, W> {
        Steps { out }
    }

    fn line(&mut self, step: &str, text: &str, took: Option<Duration>) {
        let took = took.map(|took| format!("  {}", shown(took))).unwrap_or_default();
        // A reader that has gone away needs no more lines.
        let _ = writeln!(self.out, "{step:<8} {text}{took}");
    }

    pub(super) fn note(&mut self, step: &str, text: &str) {
        self.line(step, text, None);
    }

    pub(super) fn fail(&mut self, step: &str, error: &dyn Error) {
        self.line(step, &format!("FAILED  {}", chain(error)), None);
    }

    /// All steps; none when one has failed.
    pub(super) async fn walk(
        &mut self,
        endpoint: &Endpoint,
        identity: Option<&Identity>,
        idle: Option<Millis>,
        clock: &Arc<dyn Clock>,
    ) -> Option<()> {
        let http2 = match endpoint {
            Endpoint::Unix(_) => self.socket(endpoint, clock).await?,
            Endpoint::Tls { host, port } => self.network(endpoint, (host, *port), identity, clock).await?,
        };
        let mut enrol = Enrol::over(http2);
        self.call(&mut enrol, identity, clock).await?;
        self.rounds(&mut enrol, clock).await?;
        self.sizes(&mut enrol, clock).await?;
        if let Some(idle) = idle {
            self.silence(&mut enrol, idle, clock).await?;
        }
        Some(())
    }

    async fn timed<T, E: Error>(
        &mut self,
        step: &str,
        act: impl Future<Output = Result<T, E>>,
    ) -> Option<(T, Duration)> {
        let start = Instant::now();
        match act.await {
            Ok(done) => Some((done, start.elapsed())),
            Err(error) => {
                self.fail(step, &error);
                None
            }
        }
    }

    async fn socket(&mut self, endpoint: &Endpoint, clock: &Arc<dyn Clock>) -> Option<Http2> {
        let connect = net::connect(endpoint, Trust::Anybody, None, clock, Pace::Calls);
        let (http2, took) = self.timed("socket", connect).await?;
        self.line("socket", &format!("{endpoint} takes the connection"), Some(took));
        Some(http2)
    }

    async fn network(
        &mut self,
        endpoint: &Endpoint,
        (host, port): (&str, u16),
        identity: Option<&Identity>,
        clock: &Arc<dyn Clock>,
    ) -> Option<Http2> {
        let (addresses, took) = self.timed("dns", net::resolve(host, port)).await?;
        let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
        self.line("dns", &format!("{host} is {}", shown.join(", ")), Some(took));
        let ((tcp, to), took) = self.timed("tcp", net::dial(&addresses)).await?;
        self.line("tcp", &format!("{to} takes the connection"), Some(took));
        let trust = identity.map_or(Trust::Anybody, |identity| Trust::Roots(identity.roots.clone()));
        let config = async { net::client(trust, identity, clock) };
        let ((config, seen), _) = self.timed("tls", config).await?;
        let start = Instant::now();
        let secure = net::secure(tcp, to, host, (config, seen.clone()), Pace::Calls.bell()).await;
        let took = start.elapsed();
        if secure.is_err() {
            self.chain(&seen);
        }
        let (tls, _) = self.timed("tls", async { secure }).await?;
        let session = tls.get_ref().1;
        let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        let suite = session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
        self.line("tls", &format!("{version}, {suite}; HTTP/2 agreed"), Some(took));
        self.chain(&seen);
        let (http2, _) = self.timed("http2", net::speak(tls, endpoint, &Pace::Calls)).await?;
        Some(http2)
    }

    /// The certificates that were presented.
    fn chain(&mut self, seen: &Seen) {
        for (place, facts) in seen.chain().iter().enumerate() {
            let what = match place {
                0 => format!("certificate for {}", facts.names.join(", ")),
                _ => format!("CA {}, key {}", facts.subject, facts.fingerprint),
            };
            self.note("", &format!("{what}, until {}", utc(facts.not_after)));
        }
    }

    async fn call(&mut self, enrol: &mut Enrol, identity: Option<&Identity>, clock: &Arc<dyn Clock>) -> Option<()> {
        let (sent, start) = (clock.wall(), Instant::now());
        let answer = enrol.ping(sent, 0, CALL_WAIT).await;
        let took = start.elapsed();
        let (pong, _) = self.timed("call", async { answer }).await?;
        let Pong { wall, agent, installation, version, .. } = pong;
        let text = match identity {
            Some(identity) if agent == identity.agent.as_str() => {
                format!("answered as {agent} of installation {installation}, version {version}")
            }
            Some(identity) => {
                let other = if agent.is_empty() { "nobody".to_owned() } else { agent };
                let text = format!("FAILED  the collector takes this agent for {other}, not for {}", identity.agent);
                self.note("call", &text);
                return None;
            }
            None if agent.is_empty() => "answered".to_owned(),
            None => format!("answered as {agent} of installation {installation}, version {version}"),
        };
        self.line("call", &text, Some(took));
        let half_ms = i64::try_from(took.as_millis() / 2).unwrap_or(i64::MAX);
        let apart_ms = sent.shifted(half_ms).0.saturating_sub(wall.0);
        let way = if apart_ms > 0 { "ahead of" } else { "behind" };
        let apart = Millis(apart_ms.unsigned_abs());
        if apart_ms.abs() > CLOCK_SKEW_MAX_MS {
            self.note(
                "clock",
                &format!("FAILED  this host is {apart} {way} the collector; set its clock, for example with NTP"),
            );
            return None;
        }
        let hint = if apart_ms.abs() > CLOCK_WARN_MS { "; set it, for example with NTP" } else { "" };
        self.note("clock", &format!("this host is {apart} {way} the collector{hint}"));
        Some(())
    }

    async fn rounds(&mut self, enrol: &mut Enrol, clock: &Arc<dyn Clock>) -> Option<()> {
        let mut took = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let call = enrol.ping(clock.wall(), 0, CALL_WAIT);
            took.push(self.timed("round", call).await?.1);
        }
        took.sort();
        let [least, median, most] = [took[0], took[ROUNDS / 2], took[ROUNDS - 1]].map(shown);
        self.note("round", &format!("{ROUNDS} calls: {least} least, {median} median, {most} most"));
        Some(())
    }

    async fn sizes(&mut self, enrol: &mut Enrol, clock: &Arc<dyn Clock>) -> Option<()> {
        let mut passed = 0;
        for size in SIZES {
            let start = Instant::now();
            match enrol.ping(clock.wall(), size, CALL_WAIT).await {
                Ok(pong) if pong.n_padding == size => passed = size,
                Ok(pong) => {
                    self.note("large", &format!("FAILED  {size} bytes went out and {} came back", pong.n_padding));
                    return None;
                }
                Err(EnrolError::Silent(_)) => {
                    let text = format!(
                        "FAILED  calls of {passed} bytes pass, and of {size} bytes stall: large packets are swallowed on \
                         the way; let ICMP 'fragmentation needed' through, or lower the MTU of this host's interface"
                    );
                    self.note("large", &text);
                    return None;
                }
                Err(error) => {
                    self.fail("large", &error);
                    return None;
                }
            }
            if size == PING_PADDING_MAX_BYTES {
                self.line("large", &format!("{size} bytes in both directions"), Some(start.elapsed()));
            }
        }
        Some(())
    }

    async fn silence(&mut self, enrol: &mut Enrol, idle: Millis, clock: &Arc<dyn Clock>) -> Option<()> {
        tokio::time::sleep(idle.std()).await;
        match enrol.ping(clock.wall(), 0, CALL_WAIT).await {
            Ok(_) => {
                self.note("idle", &format!("alive after {idle} of silence"));
                Some(())
            }
            Err(error) => {
                let text = format!(
                    "FAILED  the way is cut after {idle} of silence ({}); a device between the two forgets quiet \
                     connections: the agent itself says something every 10s",
                    chain(&error)
                );
                self.note("idle", &text);
                None
            }
        }
    }
}

fn shown(took: Duration) -> String {
    format!("{:.2} ms", took.as_secs_f64() * 1000.0)
}
