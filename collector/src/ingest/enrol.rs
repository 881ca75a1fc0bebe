//! How an agent gets an identity, keeps it, and tests the way.
//!
//! ```text
//! Join     token ─▶ certificate made ─▶ token used, key bound: committed, on record ─▶ answered
//! Approval request ─▶ waits for an admin ─▶ poll ─▶ the same
//! Renew    the connection's own key ─▶ a new key bound beside it ─▶ answered
//! ```
//!
//! The certificate is made before the commit and leaves after it: nothing can fail
//! in between and cost an agent its token. Whoever proved nothing learns nothing:
//! one answer for a token that does not exist and for a wrong secret.

use super::peer::{NotAllowed, OWN_AGENT, Peer, Who};
use crate::handle::{Handle, HandleError};
use crate::tls::Tls;
use crate::tls::ca::Issued;
use crate::tls::csr::AgentKey;
use signalbox_access::event::{ApprovalRequest, Denial, Enrolment};
use signalbox_access::rate::{Buckets, Crowd, Rate};
use signalbox_access::rows::PendingState;
use signalbox_access::{AccessAct, Caller, Granted, Principal, Refused, SecretHash};
use signalbox_proto::api;
use signalbox_proto::clock::Clock;
use signalbox_proto::join::{CLOCK_SKEW_MAX_MS, Fingerprint, PING_PADDING_MAX_BYTES, REFUSAL_KEY, Refusal};
use signalbox_proto::join::{JoinError, TOKEN_ID_MAX_BYTES};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::status::AgentState;
use signalbox_proto::units::Millis;
use signalbox_proto::wire::v1::enrol_service_server::EnrolService;
use signalbox_proto::wire::v1::{self, ApprovalState};
use std::sync::{Arc, Mutex, PoisonError};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};
use zeroize::Zeroizing;

/// Between two polls of a waiting agent, milliseconds.
const POLL_AFTER_MS: u32 = 5_000;
/// Pings and polls cost nothing and are not guesses: so many times as often.
const LIGHT: u32 = 6;
/// Addresses that are counted apart; further ones share one bucket.
const ADDRESSES_MAX: usize = 16_384;

/// The gRPC service.
#[derive(Clone)]
pub(super) struct Enrol {
    handle: Handle,
    tls: Arc<Tls>,
    clock: Arc<dyn Clock>,
    attempts: Arc<Mutex<Buckets>>,
    light: Arc<Mutex<Buckets>>,
}

/// What an agent asks for, checked.
struct Applicant {
    agent: AgentId,
    key: AgentKey,
    labels: Labels,
}

/// A status with the word of its refusal.
pub(super) fn refuse(refusal: Refusal, told: &str) -> Status {
    let code = match refusal {
        Refusal::NameTaken | Refusal::KeyTaken => Code::AlreadyExists,
        Refusal::ClockFarOff => Code::FailedPrecondition,
        Refusal::BadRequest => Code::InvalidArgument,
        Refusal::TooMany => Code::ResourceExhausted,
        _ => Code::PermissionDenied,
    };
    let mut status = Status::new(code, told);
    status.metadata_mut().insert(REFUSAL_KEY, MetadataValue::from_static(refusal.as_str()));
    status
}

/// What a caller that is not let through is told.
pub(super) fn not_allowed(why: &NotAllowed) -> Status {
    match why.refusal() {
        Some(refusal) => refuse(refusal, &why.to_string()),
        None if matches!(why, NotAllowed::NoIdentity | NotAllowed::Expired) => Status::unauthenticated(why.to_string()),
        None => Status::permission_denied(why.to_string()),
    }
}

/// The words of a refusal, for whoever may know it.
fn told(refusal: Refusal) -> String {
    format!("refused: {}", refusal.as_str().replace('_', " "))
}

fn busy(error: &HandleError) -> Status {
    Status::unavailable(error.to_string())
}

/// What an act came to, for the agent. The audit has it already.
fn answer(outcome: Result<signalbox_access::Answer, HandleError>) -> Result<Granted, Status> {
    match outcome.map_err(|error| busy(&error))? {
        Ok(granted) => Ok(granted),
        Err(Refused::Join { refusal, .. }) => Err(refuse(refusal, &told(refusal))),
        Err(Refused::Limit(_)) => Err(refuse(Refusal::TooMany, "the collector takes no more of them")),
        // Nothing else is said to somebody who proved nothing.
        Err(_) => Err(refuse(Refusal::NotAccepted, &told(Refusal::NotAccepted))),
    }
}

fn bad(why: impl ToString) -> Status {
    refuse(Refusal::BadRequest, &why.to_string())
}

impl Enrol {
    pub(super) fn new(handle: Handle, tls: Arc<Tls>, clock: Arc<dyn Clock>, per_minute: u32) -> Enrol {
        let rates = |n| {
            let rate = Rate::new(n, Millis::from_mins(1));
            Arc::new(Mutex::new(Buckets::new(rate, ADDRESSES_MAX, Crowd::Shares)))
        };
        let (attempts, light) = (rates(per_minute), rates(per_minute.saturating_mul(LIGHT)));
        Enrol { handle, tls, clock, attempts, light }
    }

    /// Takes one of an address's attempts. What comes to a good end is given back, so
    /// that a hundred hosts behind one address may join in one go, and guessing is slow.
    fn take(&self, rates: &Mutex<Buckets>, key: &str) -> Result<(), Status> {
        if rates.lock().unwrap_or_else(PoisonError::into_inner).take(key, self.clock.mono()).is_ok() {
            return Ok(());
        }
        metrics::counter!("signalbox_enrolments_throttled_total").increment(1);
        Err(refuse(Refusal::TooMany, "too many attempts from this address: wait a minute"))
    }

    fn give_back(rates: &Mutex<Buckets>, key: &str) {
        rates.lock().unwrap_or_else(PoisonError::into_inner).give_back(key);
    }

    /// Refused before the tables were asked: on record all the same.
    fn denied(&self, peer: &Peer, act: &str, object: String, status: Status) -> Status {
        let denial = Denial { act: act.to_owned(), object, why: status.message().to_owned() };
        self.handle.denied(peer.caller(&self.handle.access_view()), denial);
        super::count(&status);
        status
    }

    fn applicant(&self, applicant: Option<v1::Applicant>) -> Result<Applicant, Status> {
        let Some(v1::Applicant { agent_id, csr_der, labels, wall_ms, .. }) = applicant else {
            return Err(bad("the request names no applicant"));
        };
        let agent = AgentId::parse(&agent_id).map_err(bad)?;
        let key = AgentKey::of_request(&csr_der).map_err(bad)?;
        let labels = Labels::new(labels.into_iter().map(|v1::Label { name, value }| (name, value))).map_err(bad)?;
        let now = self.clock.wall().0;
        if wall_ms.abs_diff(now) > CLOCK_SKEW_MAX_MS.unsigned_abs() {
            let apart = now.abs_diff(wall_ms) / 1000;
            return Err(refuse(
                Refusal::ClockFarOff,
                &format!("the clocks of agent and collector are {apart} s apart"),
            ));
        }
        if agent.as_str() == OWN_AGENT {
            return Err(refuse(Refusal::NameTaken, &NotAllowed::Reserved.to_string()));
        }
        Ok(Applicant { agent, key, labels })
    }

    fn issue(&self, key: &AgentKey, agent: &AgentId) -> Result<Issued, Status> {
        self.tls.issue(key, agent).map_err(|error| {
            tracing::error!(%error, "no certificate could be made");
            Status::internal("the collector could not make a certificate; its log says why")
        })
    }

    /// An agent without a key was heard of under this name. One that the configuration
    /// only names may join.
    fn streams_locally(&self, agent: &AgentId) -> bool {
        let heard = |known: &api::Agent| known.id == *agent && known.state != AgentState::NeverSeen;
        !self.handle.access_view().is_enrolled(agent) && self.handle.board().agents.iter().any(heard)
    }

    fn identity(&self, issued: Issued, agent: &AgentId) -> v1::Identity {
        let authority = self.tls.authority();
        v1::Identity {
            certificate_pem: issued.pem,
            ca_pem: authority.bundle(),
            installation: authority.installation().to_owned(),
            agent_id: agent.to_string(),
            not_before_ms: issued.not_before.0,
            not_after_ms: issued.not_after.0,
        }
    }

    async fn join_with(&self, peer: &Peer, request: v1::JoinRequest) -> Result<v1::Identity, Status> {
        let v1::JoinRequest { token_id, secret, applicant } = request;
        let secret = Zeroizing::new(secret);
        let object = applicant.as_ref().map_or_else(String::new, |applicant| format!("agent:{}", applicant.agent_id));
        let checked = self.applicant(applicant).and_then(|applicant| {
            if secret.len() != 32 || token_id.is_empty() || token_id.len() > TOKEN_ID_MAX_BYTES {
                return Err(bad(JoinError::Secret));
            }
            Ok(applicant)
        });
        let Applicant { agent, key, labels } = checked.map_err(|status| self.denied(peer, "join", object, status))?;
        let issued = self.issue(&key, &agent)?;
        let is_local = self.streams_locally(&agent);
        let enrolment = Enrolment {
            is_local,
            token: token_id,
            secret: SecretHash::of(&secret),
            agent: agent.clone(),
            key: key.fingerprint().into(),
            labels,
            remote: peer.ip,
            not_after: issued.not_after,
        };
        let caller = Caller::new(Principal::nobody(), peer.to_string());
        answer(self.handle.access(caller, AccessAct::Enrol(enrolment)).await)?;
        tracing::info!(%agent, from = %peer, "an agent joined");
        Ok(self.identity(issued, &agent))
    }

    async fn ask(
        &self,
        peer: &Peer,
        request: v1::RequestApprovalRequest,
    ) -> Result<v1::RequestApprovalResponse, Status> {
        let csr_der = request.applicant.as_ref().map(|applicant| applicant.csr_der.clone()).unwrap_or_default();
        let checked = self.applicant(request.applicant);
        let Applicant { agent, key, labels } =
            checked.map_err(|status| self.denied(peer, "ask for approval", String::new(), status))?;
        let fingerprint = key.fingerprint();
        let asked = ApprovalRequest { agent, key: fingerprint.into(), csr_der, labels, remote: peer.ip };
        let caller = Caller::new(Principal::nobody(), peer.to_string());
        let expires = match answer(self.handle.access(caller, AccessAct::RequestApproval(asked)).await)? {
            Granted::Waiting { expires } => expires,
            _ => {
                let known = self.handle.access_view().pending_request(&fingerprint.into(), self.clock.wall());
                known.map_or(self.clock.wall(), |known| known.expires)
            }
        };
        Ok(v1::RequestApprovalResponse {
            fingerprint: fingerprint.0.to_vec(),
            expires_ms: expires.0,
            poll_after_ms: POLL_AFTER_MS,
        })
    }

    async fn poll(&self, peer: &Peer, fingerprint: Fingerprint) -> Result<v1::PollApprovalResponse, Status> {
        let pending = self.handle.access_view().pending_request(&fingerprint.into(), self.clock.wall());
        let state = |state: ApprovalState, identity| v1::PollApprovalResponse {
            state: state.into(),
            identity,
            poll_after_ms: POLL_AFTER_MS,
        };
        let Some(pending) = pending else { return Ok(state(ApprovalState::Unspecified, None)) };
        match pending.state {
            PendingState::Waiting => return Ok(state(ApprovalState::Waiting, None)),
            PendingState::Rejected => return Ok(state(ApprovalState::Rejected, None)),
            PendingState::Approved => {}
        }
        let key = AgentKey::of_request(&pending.csr_der).map_err(bad)?;
        let issued = self.issue(&key, &pending.agent)?;
        let act = AccessAct::Issue { key: fingerprint.into(), not_after: issued.not_after };
        let caller = Caller::new(Principal::nobody(), peer.to_string());
        answer(self.handle.access(caller, act).await)?;
        tracing::info!(agent = %pending.agent, from = %peer, "an approved agent joined");
        Ok(state(ApprovalState::Approved, Some(self.identity(issued, &pending.agent))))
    }

    async fn renew_for(&self, peer: &Peer, agent: AgentId, request: v1::RenewRequest) -> Result<v1::Identity, Status> {
        let Who::Key(shown) = peer.who else { return Err(not_allowed(&NotAllowed::NoIdentity)) };
        let object = format!("agent:{agent}");
        let key = AgentKey::of_request(&request.csr_der);
        let key = key.map_err(|why| self.denied(peer, "renew certificate", object, bad(why)))?;
        let issued = self.issue(&key, &agent)?;
        let act = AccessAct::Renew {
            agent: agent.clone(),
            old: shown.key.into(),
            new: key.fingerprint().into(),
            not_after: issued.not_after,
        };
        let caller = Caller::new(Principal::agent(&agent), peer.to_string());
        answer(self.handle.access(caller, act).await)?;
        Ok(self.identity(issued, &agent))
    }

    fn pong(&self, peer: &Peer, request: v1::PingRequest) -> Result<v1::PingResponse, Status> {
        if request.padding.len() > PING_PADDING_MAX_BYTES {
            return Err(bad(format!(
                "padding of {} bytes is over the limit of {PING_PADDING_MAX_BYTES}",
                request.padding.len()
            )));
        }
        let now = self.clock.wall();
        let mut pong = v1::PingResponse { wall_ms: now.0, ..v1::PingResponse::default() };
        pong.padding = request.padding;
        if let Who::Key(shown) = peer.who {
            let (agent, _) = peer.agent(&self.handle.access_view()).map_err(|why| not_allowed(&why))?;
            if shown.is_expired(now) {
                return Err(not_allowed(&NotAllowed::Expired));
            }
            pong.agent_id = agent.to_string();
        }
        if peer.who != Who::Nobody {
            pong.installation = self.tls.installation();
            env!("CARGO_PKG_VERSION").clone_into(&mut pong.version);
        }
        Ok(pong)
    }
}

/// Counts a refusal, and passes it on.
fn counted<T>(outcome: Result<T, Status>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).inspect_err(super::count)
}

#[tonic::async_trait]
impl EnrolService for Enrol {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let peer = super::peer_of(&request)?;
        let rate = peer.rate_key();
        self.take(&self.attempts, &rate).map_err(|status| self.denied(&peer, "join", String::new(), status))?;
        let identity = self.join_with(&peer, request.into_inner()).await;
        if identity.is_ok() {
            Self::give_back(&self.attempts, &rate);
        }
        counted(identity.map(|identity| v1::JoinResponse { identity: Some(identity) }))
    }

    async fn request_approval(
        &self,
        request: Request<v1::RequestApprovalRequest>,
    ) -> Result<Response<v1::RequestApprovalResponse>, Status> {
        let peer = super::peer_of(&request)?;
        let taken = self.take(&self.attempts, &peer.rate_key());
        taken.map_err(|status| self.denied(&peer, "ask for approval", String::new(), status))?;
        counted(self.ask(&peer, request.into_inner()).await)
    }

    async fn poll_approval(
        &self,
        request: Request<v1::PollApprovalRequest>,
    ) -> Result<Response<v1::PollApprovalResponse>, Status> {
        let peer = super::peer_of(&request)?;
        let rate = peer.rate_key();
        self.take(&self.light, &rate)?;
        let fingerprint = Fingerprint::of_bytes(&request.into_inner().fingerprint).map_err(bad)?;
        let told = self.poll(&peer, fingerprint).await;
        if told.as_ref().is_ok_and(|told| told.state() == ApprovalState::Waiting) {
            Self::give_back(&self.light, &rate);
        }
        counted(told)
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let peer = super::peer_of(&request)?;
        let known = peer.agent(&self.handle.access_view()).map_err(|why| not_allowed(&why));
        let (agent, _) = known.map_err(|status| self.denied(&peer, "renew certificate", String::new(), status))?;
        self.take(&self.attempts, &format!("agent:{agent}"))?;
        let identity = self.renew_for(&peer, agent, request.into_inner()).await;
        counted(identity.map(|identity| v1::RenewResponse { identity: Some(identity) }))
    }

    async fn ping(&self, request: Request<v1::PingRequest>) -> Result<Response<v1::PingResponse>, Status> {
        let peer = super::peer_of(&request)?;
        let rate = match peer.who {
            Who::Key(shown) => shown.key.to_string(),
            _ => peer.rate_key(),
        };
        self.take(&self.light, &rate)?;
        counted(self.pong(&peer, request.into_inner()))
    }
}
