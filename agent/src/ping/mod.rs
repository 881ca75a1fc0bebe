//! `signalbox-agent ping`: the way to the collector, step by step, each timed.
//!
//! ```text
//! dns      collector.example is 10.0.0.5                                  0.8 ms
//! tcp      10.0.0.5:8441 takes the connection                             0.3 ms
//! tls      TLSv1_3, TLS13_AES_256_GCM_SHA384; HTTP/2 agreed               3.0 ms
//!          CN=..., for collector.example, until 2026-11-30 05:40 UTC
//! call     answered as web-1 of 6f96..., version 0.1.0                     1.1 ms
//! clock    12 ms apart
//! round    10 calls: 0.21 ms least, 0.25 ms median, 0.40 ms most
//! large    65536 bytes in both directions                                 0.9 ms
//! idle     alive after 30s of silence                                     (--idle)
//! ```
//!
//! The first step that fails ends the test; its line says what to look at. The marks
//! of a device between the two are told apart: TCP that stands without TLS, a foreign
//! certificate, TLS without HTTP/2, an HTTP answer of a proxy, a stall after so many
//! bytes, a cut after silence.

mod steps;

use crate::config::{self, Config, Endpoint, Overrides};
use crate::identity::certificate::utc;
use crate::identity::{Credentials, IdentityError};
use signalbox_proto::clock::Clock;
use signalbox_proto::text::parse_span;
use signalbox_proto::units::Millis;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use steps::Steps;

/// The longest silence that is tried.
const IDLE_MAX: Millis = Millis::from_mins(24 * 60);

/// What the command line says.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct PingArgs {
    /// The collector [default: as configured]
    #[arg(value_name = "COLLECTOR", value_parser = Endpoint::parse_short)]
    pub(crate) collector: Option<Endpoint>,
    /// Configuration file [default: /etc/signalbox/agent.yaml, which may be missing]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The agent's data folder, overrules the file
    #[arg(long, value_name = "DIR", alias = "state")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Also say nothing for so long, and see whether the way still stands: 30s
    #[arg(long, value_name = "SPAN", value_parser = idle)]
    pub(crate) idle: Option<Millis>,
}

fn idle(text: &str) -> Result<Millis, String> {
    let span = parse_span(text).map_err(|error| error.to_string())?;
    if span > IDLE_MAX { Err(format!("{span} is over the limit of {IDLE_MAX}")) } else { Ok(span) }
}

/// Tests the way. True when all of it works.
pub(crate) async fn run(args: &PingArgs, clock: &Arc<dyn Clock>) -> bool {
    let mut out = std::io::stdout().lock();
    let overrides = Overrides { data_dir: args.data_dir.clone(), ..Overrides::default() };
    match config::load(args.config.as_deref(), &overrides) {
        Ok(config) => test(args, &config, clock, &mut out).await,
        Err(error) => {
            eprintln!("signalbox-agent: {}", crate::sampler::chain(&error));
            false
        }
    }
}

/// Tests the way and writes what it finds. True when all of it works.
pub(crate) async fn test(args: &PingArgs, config: &Config, clock: &Arc<dyn Clock>, out: &mut impl Write) -> bool {
    let endpoint = args.collector.as_ref().unwrap_or(&config.collector);
    let credentials = Credentials::of(&config.data_dir);
    let mut steps = Steps::new(out);
    let identity = match credentials.current() {
        Ok(identity) => {
            let (agent, until) = (&identity.agent, utc(identity.not_after));
            let over =
                if identity.not_after <= clock.wall() { "; its time is over, the agent renews it first" } else { "" };
            steps.note("identity", &format!("{agent} of installation {}, until {until}{over}", identity.installation));
            Some(identity)
        }
        Err(IdentityError::Missing { .. }) => {
            if matches!(endpoint, Endpoint::Tls { .. }) {
                steps.note("identity", "none: the collector's certificate is shown, and not judged");
            }
            None
        }
        Err(error) => {
            steps.fail("identity", &error);
            return false;
        }
    };
    steps.walk(endpoint, identity.as_deref(), args.idle, clock).await.is_some()
}

#[cfg(test)]
mod tests;
