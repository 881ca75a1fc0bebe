//! Rules, entities, routes and channels: read together, in force together, or not
//! at all.

use crate::config::{self, Config};
use crate::handle::HandleError;
use crate::notify::{self, Notifiers};
use crate::shared::{Problem, Shared};
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
    let files = config.read_rules().map_err(|error| vec![config::refusal(error)])?;
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

/// Serves reloads until nobody can ask for one.
pub(crate) async fn run(
    config: Config,
    shared: Arc<Shared>,
    inbox: Inbox,
    notifiers: Arc<Notifiers>,
    mut requests: mpsc::Receiver<Request>,
) {
    while let Some(request) = requests.recv().await {
        let outcome = reload(&config, &inbox, &notifiers).await;
        let text = match &outcome {
            Ok(version) => {
                tracing::info!(version, "rules, entities and channels are in force");
                None
            }
            Err(findings) => {
                let first = findings.iter().find(|finding| finding.error).map_or("", |finding| &finding.message);
                Some(format!("the last reload was refused, the old configuration is in force: {first}"))
            }
        };
        shared.set_problem(Problem::Reload, text);
        // Whoever asked may not wait any more.
        let _gone = request.send(outcome);
    }
}

async fn reload(config: &Config, inbox: &Inbox, notifiers: &Notifiers) -> Result<String, Vec<Finding>> {
    let own = config.clone();
    let checked = tokio::task::spawn_blocking(move || check(&own)).await;
    let checked = checked.map_err(|error| vec![config::refusal(error)])??;
    let version = checked.rules.version.clone();
    // Channels first: a route of the new rules may need a new one.
    notifiers.configure(&checked.files)?;
    let (reply, in_force) = oneshot::channel();
    let message = Message::Rules { rules: checked.rules, files: checked.files, reply };
    inbox.send(message).await.map_err(|error| vec![config::refusal(HandleError::from(error))])?;
    in_force.await.map_err(|_| vec![config::refusal(HandleError::StoreFull)])?;
    Ok(version)
}
