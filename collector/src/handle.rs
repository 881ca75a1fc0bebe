//! What listeners and notifiers may ask of the running collector.
//!
//! A [`Handle`] is cheap to clone. Reading the board takes no lock for longer than
//! a pointer copy; everything that changes something goes through the writer's
//! bounded inbox and is answered after the commit that holds it; queries run on
//! blocking threads and never hold the writer up.

use crate::evaluate::{self, NoAnswer, evaluate};
use crate::reading::{Asked, NotRead, read};
use crate::remote::{Remote, WriteError, Written};
use crate::series::Sees;
use crate::shared::Shared;
use crate::writer::inbox::{Inbox, InboxError, Message};
use bytes::Bytes;
use signalbox_access::event::{Denial, Record};
use signalbox_access::{AccessAct, AccessView, Caller};
use signalbox_engine::board::Board;
use signalbox_engine::decision::Answer;
use signalbox_engine::event::{Act, DeliveryOutcome};
use signalbox_proto::api::{AuditEntry, AuditVerdict, Explanation, Finding, QueryAnswer, RulesReport};
use signalbox_proto::names::AgentId;
use signalbox_proto::selector::Selector;
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub use crate::query::{QueryError, QueryLimits};

/// Characters of a field of a denial on its way to the audit.
const DENIAL_FIELD_MAX_CHARS: usize = 256;

/// How long a read waits for its place.
const READ_PATIENCE: Millis = Millis::from_secs(10);

/// Why the collector could not take or answer a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandleError {
    /// The inbox stayed full: try again later (HTTP 503).
    #[error("the collector is too busy to take a request now")]
    Busy,
    /// The collector is stopping (HTTP 503).
    #[error("the collector is stopping")]
    Stopping,
    /// The commit that held the request was refused, nothing changed (HTTP 507).
    #[error("the store refused the commit: the disk is full")]
    StoreFull,
    /// The rights that the request began with are over (HTTP 403).
    #[error("your rights have ended or changed meanwhile")]
    NotAllowed,
    /// There is no such item, or nothing was known about it then (HTTP 404).
    #[error("{0}")]
    NotFound(String),
    /// A proof is asked of an instant before the first verdict (HTTP 404).
    #[error("nothing is kept of that instant: nothing was judged yet")]
    TooEarly,
    /// A proof is asked of an instant that has not come (HTTP 400).
    #[error("that instant lies in the future: nothing is known of it")]
    Future,
    /// The store could not be read (HTTP 500).
    #[error("read the store: {0}")]
    Store(String),
}

impl From<InboxError> for HandleError {
    fn from(error: InboxError) -> HandleError {
        match error {
            InboxError::Full => HandleError::Busy,
            InboxError::Closed => HandleError::Stopping,
        }
    }
}

impl From<NotRead> for HandleError {
    fn from(error: NotRead) -> HandleError {
        match error {
            NotRead::Busy => HandleError::Busy,
            NotRead::Broken(why) => HandleError::Store(why),
        }
    }
}

/// The door to the running collector.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    inbox: Inbox,
    remote: Arc<Remote>,
    reloads: mpsc::Sender<oneshot::Sender<Result<String, Vec<Finding>>>>,
}

impl Handle {
    pub(crate) fn new(
        shared: Arc<Shared>,
        inbox: Inbox,
        reloads: mpsc::Sender<oneshot::Sender<Result<String, Vec<Finding>>>>,
    ) -> Handle {
        let remote = Arc::new(Remote::new(Arc::clone(&shared), inbox.clone()));
        Handle { shared, inbox, remote, reloads }
    }

    /// The newest published board: committed truth only.
    pub fn board(&self) -> Arc<Board> {
        self.shared.board()
    }

    /// An operator acts; answered after the commit that holds the act and its line of
    /// the audit. Whether they may was asked before: [`signalbox_access::authorize`].
    ///
    /// # Errors
    /// [`HandleError`] when the act was not taken; the inner [`Answer`] says what the
    /// engine made of it.
    pub async fn command(&self, caller: Caller, act: Act) -> Result<Answer, HandleError> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Message::Command { caller, act, reply }).await?;
        // A reply dropped without a word is a turn that the store refused.
        answer.await.unwrap_or(Err(HandleError::StoreFull))
    }

    /// Who may do what, as it was committed.
    pub fn access_view(&self) -> Arc<AccessView> {
        self.shared.access()
    }

    /// Somebody does something about identities or rights; answered after the commit
    /// that holds it and its line of the audit.
    ///
    /// # Errors
    /// [`HandleError`] when it was not taken; the inner answer says what was made of it.
    pub async fn access(&self, caller: Caller, act: AccessAct) -> Result<signalbox_access::Answer, HandleError> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Message::Access { caller, act, reply: Some(reply) }).await?;
        answer.await.unwrap_or(Err(HandleError::StoreFull))
    }

    /// Puts on record what was done elsewhere (a reload, a test of a channel); returns
    /// after the commit.
    ///
    /// # Errors
    /// [`HandleError`]: it is not on record.
    pub async fn record(&self, caller: Caller, record: Record) -> Result<(), HandleError> {
        // A record is never refused.
        let _answer = self.access(caller, AccessAct::Record(record)).await?;
        Ok(())
    }

    /// Somebody was refused. Does not wait: a refusal has no effect that a record
    /// must come before. Counted when the inbox has no room for it.
    pub fn denied(&self, caller: Caller, denial: Denial) {
        // Whoever is refused says what it is: it must not fill the inbox with it.
        let cut = |text: String| match text.char_indices().nth(DENIAL_FIELD_MAX_CHARS) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        };
        let Denial { act, object, why } = denial;
        self.tell(caller, AccessAct::Denied(Denial { act: cut(act), object: cut(object), why: cut(why) }));
    }

    /// Something about identities that nobody waits for: a session's use, a key's
    /// first use.
    pub fn tell(&self, caller: Caller, act: AccessAct) {
        if self.inbox.try_give(Message::Access { caller, act, reply: None }).is_err() {
            metrics::counter!("signalbox_access_events_dropped_total").increment(1);
        }
    }

    /// Lines of the audit from number `from` on, oldest first, at most `n_max` and at
    /// most [`AUDIT_PAGE_MAX`](crate::access::AUDIT_PAGE_MAX).
    ///
    /// # Errors
    /// [`HandleError::Busy`] or [`HandleError::Store`].
    pub async fn audit(&self, from: u64, n_max: usize) -> Result<Vec<AuditEntry>, HandleError> {
        crate::access::audit(Arc::clone(&self.shared), from, n_max).await
    }

    /// Checks the whole audit: whole, or the first fault.
    ///
    /// # Errors
    /// [`HandleError::Busy`] or [`HandleError::Store`].
    pub async fn verify_audit(&self) -> Result<AuditVerdict, HandleError> {
        crate::access::verify_audit(Arc::clone(&self.shared)).await
    }

    /// A notifier tells what came of one attempt.
    ///
    /// # Errors
    /// [`HandleError::Stopping`]; the notice is then offered again after the start.
    pub async fn delivered(&self, key: String, outcome: DeliveryOutcome) -> Result<(), HandleError> {
        self.inbox.send(Message::Delivery { key, outcome }).await?;
        Ok(())
    }

    /// Series over a closed range, open chunks included.
    ///
    /// # Errors
    /// [`QueryError`]: over a limit, timed out, or the store could not be read.
    pub async fn query(
        &self,
        selector: Selector,
        from: UnixMillis,
        to: UnixMillis,
        limits: QueryLimits,
    ) -> Result<QueryAnswer, QueryError> {
        crate::query::run(Arc::clone(&self.shared), selector, from, to, limits).await
    }

    /// Evaluates a query in PromQL.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) async fn evaluate(&self, asked: evaluate::Asked) -> Result<signalbox_promql::value::Answer, NoAnswer> {
        evaluate(&self.shared, asked).await
    }

    /// Takes samples that a source of this name writes, in a packed request of remote
    /// write; returns after the commit that holds them.
    ///
    /// # Errors
    /// [`WriteError`].
    pub(crate) async fn write(&self, source: AgentId, interval: Millis, body: Bytes) -> Result<Written, WriteError> {
        self.remote.write(source, interval, body).await
    }

    /// Reads what readers share, on a blocking thread.
    ///
    /// # Errors
    /// [`HandleError::Busy`] when no place came free in time, [`HandleError::Store`]
    /// when the read broke off.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Shared, &Asked) -> T + Send + 'static,
    ) -> Result<T, HandleError> {
        Ok(read(&self.shared, READ_PATIENCE, what).await?)
    }

    /// The proof of a verdict at an instant (none: now), from stored facts alone.
    ///
    /// # Errors
    /// [`HandleError::NotFound`], [`HandleError::Future`], [`HandleError::Busy`] or
    /// [`HandleError::Store`].
    pub async fn explain(&self, item: String, at: Option<UnixMillis>) -> Result<Explanation, HandleError> {
        crate::explain::run(Arc::clone(&self.shared), item, at).await
    }

    /// Reads all rules, entities and channels again; the old ones stay in force on
    /// any error. Gives the version in force.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub async fn reload(&self) -> Result<String, Vec<Finding>> {
        let (reply, answer) = oneshot::channel();
        let stopping = || vec![crate::config::refusal(HandleError::Stopping)];
        self.reloads.send(reply).await.map_err(|_| stopping())?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// What a set of rule files would be found to be, against the series that
    /// exist now, of which only those count that `sees` says yes to; none: all. Changes nothing.
    pub(crate) async fn check_rules(&self, files: BTreeMap<String, String>, sees: Sees) -> RulesReport {
        crate::explain::check_rules(Arc::clone(&self.shared), files, sees).await
    }

    /// The configuration files in force by name (`rules/…`, `entities.yaml`,
    /// `notify.yaml`): the notifier reads its channels from here.
    pub fn files(&self) -> Arc<BTreeMap<String, String>> {
        self.shared.files()
    }

    /// Problems of the collector itself, for people; added to the board's own.
    pub fn problems(&self) -> Vec<String> {
        self.shared.problems()
    }

    /// True once the store was read, the first rules are in force and both
    /// listeners stand.
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready()
    }

    /// The collector's wall clock.
    pub fn now(&self) -> UnixMillis {
        self.shared.now()
    }

    /// Text for `/metrics`.
    pub fn metrics(&self) -> String {
        self.shared.telemetry().render()
    }
}
