//! What all parts do: make a data set, feed a server, keep a figure, count.

use super::Bench;
use super::feed::{self, Feed};
use super::figures::Figure;
use super::server::{Kind, Server};
use crate::data::{Dataset, Recording};
use crate::fleet::Pace;
use anyhow::{Context, Result};
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::units::{Millis, UnixMillis};
use std::sync::Arc;

/// Data ends so long ago: no server may take it for the future.
const AGO_S: u64 = 600;

/// What is sent, and how.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) data: Arc<Dataset>,
    pub(super) pace: Pace,
    /// Hosts in one request of remote write; none: by agents of our own.
    pub(super) n_batch: Option<usize>,
}

/// So many hosts for so many seconds, over a while ago.
pub(super) fn dataset(recording: Recording, n_hosts: usize, step_s: u64, secs: u64) -> Arc<Dataset> {
    let now = SystemClock::start().wall().0 / 1000 * 1000;
    let start = UnixMillis(now).shifted(-i64::try_from((secs + AGO_S) * 1000).unwrap_or(0));
    let n_ticks = usize::try_from(secs / step_s).unwrap_or(0);
    Arc::new(Dataset { recording, n_hosts, n_ticks, step: Millis::from_secs(step_s), start })
}

impl Bench<'_> {
    pub(super) fn add(
        &mut self,
        load: &str,
        what: &str,
        unit: &'static str,
        goal: &'static str,
        (kind, value): (Kind, f64),
    ) -> Result<()> {
        let figure = Figure { load: load.to_owned(), what: what.to_owned(), unit, goal };
        self.figures.add(figure, kind, value, self.report)
    }

    pub(super) fn feed(&self, server: &Server, load: &Load) -> Result<Feed> {
        match load.n_batch {
            None => Feed::own(server, load),
            Some(n_batch) => {
                let generator = self.generator.as_ref().context("no load generator")?;
                Ok(feed::remote_write(server, load, n_batch, generator))
            }
        }
    }

    /// Samples of the data set that a server gives back; none when it cannot say.
    pub(super) fn n_found(&self, server: &Server, data: &Dataset) -> Result<Option<u64>> {
        let mut api = server.api()?;
        if !api.is_there("GET", "/api/v1/query?query=1")? {
            println!("    {} has no Prometheus API: not counted", server.kind.name());
            return Ok(None);
        }
        api.n_samples(data.end().0 / 1000, data.secs() + AGO_S).map(Some)
    }
}
