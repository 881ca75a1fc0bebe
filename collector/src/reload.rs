//! Rules, entities, routes and channels: read together, in force together, or not
//! at all. The site's certificates are read with them.

mod wording;

use crate::config::{self, Config};
use crate::handle::HandleError;
use crate::notify::{self, Notifiers};
use crate::shared::{Problem, Shared};
use crate::tls::Tls;
use crate::writer::inbox::{Inbox, Message};
use signalbox_engine::rule::Ruleset;
use signalbox_proto::api::Finding;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A request to reload, and where its outcome goes.
pub(crate) type Request = oneshot::Sender<Result<String, Vec<Finding>>>;

/// Files that passed every check.
#[derive(Debug)]
pub struct Checked {
    /// What they mean.
    pub rules: Arc<Ruleset>,
    /// The texts.
    pub files: Arc<BTreeMap<String, String>>,
    /// Warnings.
    pub findings: Vec<Finding>,
}

/// Reads and checks all files of the rules folder.
///
/// # Errors
/// All that is wrong with them, errors first.
pub fn check(config: &Config) -> Result<Checked, Vec<Finding>> {
    let files = config.read_rules().map_err(|error| vec![error.finding()])?;
    let (rules, mut findings) = signalbox_engine::config::parse(&files);
    let channels = notify::dispatch::check(&files);
    match (rules, channels) {
        (Some(rules), Ok(())) => Ok(Checked { rules: Arc::new(rules), files: Arc::new(files), findings }),
        (_, channels) => {
            findings.extend(channels.err().into_iter().flatten());
            Err(findings)
        }
    }
}

/// What a reload reads, and where it puts it.
pub(crate) struct Reloader {
    pub(crate) config: Config,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inbox: Inbox,
    pub(crate) notifiers: Arc<Notifiers>,
    pub(crate) tls: Arc<Tls>,
}

impl Reloader {
    /// Serves reloads until nobody can ask for one.
    pub(crate) async fn run(self, mut requests: mpsc::Receiver<Request>) {
        while let Some(request) = requests.recv().await {
            let outcome = self.reload().await;
            let text = match &outcome {
                Ok(version) => {
                    tracing::info!(version, "rules, entities, channels and certificates are in force");
                    None
                }
                Err(findings) => {
                    let first = wording::first_error(findings);
                    Some(format!("reload refused: {first}; the old configuration is in force"))
                }
            };
            self.shared.set_problem(Problem::Reload, text);
            // Whoever asked may not wait any more.
            let _gone = request.send(outcome);
        }
    }

    async fn reload(&self) -> Result<String, Vec<Finding>> {
        let refused = |why: &dyn ToString| vec![config::refusal(why.to_string())];
        let own = self.config.clone();
        let checked = tokio::task::spawn_blocking(move || check(&own)).await;
        let checked = checked.map_err(|error| refused(&error))??;
        let version = checked.rules.version.clone();
        // Made before the rules, in force after them: nothing is left half done when the
        // store refuses. A notice that comes between the two is tried again a second later.
        let channels = self.notifiers.prepare(&checked.files)?;
        let tls = Arc::clone(&self.tls);
        let certificates = tokio::task::spawn_blocking(move || tls.reload()).await;
        certificates.map_err(|error| refused(&error))?.map_err(|error| refused(&error))?;
        put_in_force(&self.shared, &self.inbox, &checked).await.map_err(|error| refused(&error))?;
        self.notifiers.put_in_force(channels);
        Ok(version)
    }
}

/// The rules are in force, durably, when this returns well.
///
/// # Errors
/// [`HandleError::StoreFull`] or [`HandleError::Stopping`]: the old ones still are.
pub(crate) async fn put_in_force(shared: &Shared, inbox: &Inbox, checked: &Checked) -> Result<(), HandleError> {
    let old = shared.files();
    let (reply, in_force) = oneshot::channel();
    let (rules, files) = (Arc::clone(&checked.rules), Arc::clone(&checked.files));
    inbox.send(Message::Rules { rules, files, reply }).await?;
    in_force.await.map_err(|_| {
        // The writer shows the files before it commits.
        shared.set_files(old);
        HandleError::StoreFull
    })
}

#[cfg(test)]
mod order;
