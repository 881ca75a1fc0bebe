//! The API's routes, one function each; [`access`] has those about identities.

mod access;

use crate::client::{Answer, Client, ClientError};
use reqwest::Method;
use signalbox_proto::api::{
    Act, Agent, Done, Explanation, Incident, IncidentAct, NewSnooze, NotifyTest, QueryAnswer, RulesReport,
    RulesToCheck, Snooze, Status,
};
use signalbox_proto::status::Layer;
use signalbox_proto::units::UnixMillis;

/// Which part of the board is wanted; empty fields ask for all.
#[derive(Debug, Clone, Default)]
pub struct StatusFilter {
    /// Layer.
    pub layer: Option<Layer>,
    /// Team.
    pub owner: Option<String>,
    /// System.
    pub system: Option<String>,
    /// Entity and what is below it.
    pub entity: Option<String>,
}

impl StatusFilter {
    /// True if it may leave something out.
    pub fn is_set(&self) -> bool {
        self.layer.is_some() || self.owner.is_some() || self.system.is_some() || self.entity.is_some()
    }
}

/// What to do to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncidentVerb {
    /// Take it.
    Ack,
    /// Give it to somebody.
    Assign,
    /// Add a line to its timeline.
    Note,
    /// Label it and be done.
    Close,
}

impl IncidentVerb {
    fn word(self) -> &'static str {
        match self {
            IncidentVerb::Ack => "ack",
            IncidentVerb::Assign => "assign",
            IncidentVerb::Note => "note",
            IncidentVerb::Close => "close",
        }
    }
}

pub(crate) type Result<T> = std::result::Result<Answer<T>, ClientError>;

/// Each asks the route of its name; errors are [`ClientError`].
#[allow(clippy::missing_errors_doc, reason = "every function fails in the ways that ClientError lists")]
impl Client {
    /// `GET /status`.
    pub async fn status(&self, filter: &StatusFilter) -> Result<Status> {
        let fields = [
            ("layer", filter.layer.map(|layer| layer.word().to_owned())),
            ("owner", filter.owner.clone()),
            ("system", filter.system.clone()),
            ("entity", filter.entity.clone()),
        ];
        let query: Vec<_> = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        self.get(&["status"], &query).await
    }

    /// `GET /agents`.
    pub async fn agents(&self) -> Result<Vec<Agent>> {
        self.get(&["agents"], &[]).await
    }

    /// `POST /agents/{id}/retire`.
    pub async fn retire(&self, agent: &str, act: &Act) -> Result<Done> {
        self.send(Method::POST, &["agents", agent, "retire"], Some(act)).await
    }

    /// `GET /incidents`.
    pub async fn incidents(&self, state: &str, limit: u32) -> Result<Vec<Incident>> {
        self.get(&["incidents"], &[("state", state.to_owned()), ("limit", limit.to_string())]).await
    }

    /// `GET /incidents/{n}`.
    pub async fn incident(&self, number: u64) -> Result<Incident> {
        self.get(&["incidents", &number.to_string()], &[]).await
    }

    /// `POST /incidents/{n}/{verb}`.
    pub async fn act(&self, number: u64, verb: IncidentVerb, act: &IncidentAct) -> Result<Done> {
        self.send(Method::POST, &["incidents", &number.to_string(), verb.word()], Some(act)).await
    }

    /// `GET /snoozes`.
    pub async fn snoozes(&self, all: bool) -> Result<Vec<Snooze>> {
        self.get(&["snoozes"], &[("all", all.to_string())]).await
    }

    /// `POST /snoozes`.
    pub async fn snooze(&self, new: &NewSnooze) -> Result<Done> {
        self.send(Method::POST, &["snoozes"], Some(new)).await
    }

    /// `DELETE /snoozes/{id}`.
    pub async fn end_snooze(&self, id: u64, act: &Act) -> Result<Done> {
        self.send(Method::DELETE, &["snoozes", &id.to_string()], Some(act)).await
    }

    /// `GET /query`; both ends of the range are inclusive.
    pub async fn query(
        &self,
        selector: &str,
        from: UnixMillis,
        to: UnixMillis,
        limit_points: Option<u64>,
    ) -> Result<QueryAnswer> {
        let mut query = vec![("selector", selector.to_owned()), ("from", from.0.to_string()), ("to", to.0.to_string())];
        query.extend(limit_points.map(|limit| ("limit_points", limit.to_string())));
        self.get(&["query"], &query).await
    }

    /// `GET /explain`; now if no instant is given.
    pub async fn explain(&self, item: &str, at: Option<UnixMillis>) -> Result<Explanation> {
        let mut query = vec![("item", item.to_owned())];
        query.extend(at.map(|at| ("at", at.0.to_string())));
        self.get(&["explain"], &query).await
    }

    /// `POST /rules/check`.
    pub async fn check_rules(&self, files: &RulesToCheck) -> Result<RulesReport> {
        self.send(Method::POST, &["rules", "check"], Some(files)).await
    }

    /// `POST /notify/test/{channel}`.
    pub async fn test_channel(&self, channel: &str) -> Result<NotifyTest> {
        self.send(Method::POST, &["notify", "test", channel], None::<&()>).await
    }

    /// `GET /notify/channels`.
    pub async fn channels(&self) -> Result<Vec<String>> {
        self.get(&["notify", "channels"], &[]).await
    }
}
