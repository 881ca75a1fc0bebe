//! The agent's side of `EnrolService`: join, ask for approval, renew, ping.
//!
//! Generated types do not leave this module.

use crate::identity::key::NextKey;
use crate::net::{CallError, Fault, Http2};
use signalbox_proto::join::{Fingerprint, JoinToken, REFUSAL_KEY, Refusal};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_proto::wire::v1;
use signalbox_proto::wire::v1::enrol_service_client::EnrolServiceClient;
use std::error::Error as _;
use std::sync::Arc;
use thiserror::Error;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};

/// An answer that has not come by then is given up.
const CALL_TIMEOUT: Millis = Millis(15_000);
/// The largest answer: a chain and two roots, or the padding of a ping.
const ANSWER_MAX_BYTES: usize = 256 * 1024;
/// Words of a collector that are shown.
const TOLD_MAX_CHARS: usize = 300;

/// Why there is no answer, or not the wanted one.
#[derive(Debug, Error)]
pub(crate) enum EnrolError {
    /// The collector says no.
    #[error("the collector refused: {told}; {}", advice(*refusal))]
    Refused {
        /// Which no.
        refusal: Refusal,
        /// In its own words.
        told: String,
    },
    /// It says something else.
    #[error("the collector answered {code}: {told}")]
    Status {
        /// The gRPC code.
        code: Code,
        /// In its own words.
        told: String,
    },
    /// The way there is broken.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The connection ended while the answer was awaited.
    #[error(transparent)]
    Ended(Arc<Fault>),
    /// Something else than a collector answered.
    #[error(transparent)]
    Call(CallError),
    /// No answer.
    #[error(
        "no answer within {0}; the connection stands but the call is stuck: a device between the two may hold it back"
    )]
    Silent(Millis),
    /// The answer lacks something.
    #[error("the collector's answer has no {0}; is it of a newer version?")]
    Incomplete(&'static str),
    /// The request cannot be made.
    #[error("sign the request for a certificate")]
    Key(#[from] rcgen::Error),
}

/// What an agent tells about itself when it asks for an identity.
#[derive(Debug, Clone)]
pub(crate) struct Applicant {
    pub(crate) agent: AgentId,
    pub(crate) labels: Labels,
    pub(crate) boot_id: String,
}

/// A certificate and the roots, PEM, as the collector gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) certificate_pem: String,
    pub(crate) ca_pem: String,
    pub(crate) agent: String,
}

/// What became of a request for approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Approval {
    /// Ask again after this long.
    Waiting(Millis),
    /// It was granted.
    Approved(Granted),
    /// An admin said no.
    Rejected,
    /// Nobody asked, or it is forgotten.
    Unknown,
}

/// The answer to a ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pong {
    pub(crate) wall: UnixMillis,
    /// Empty without a client certificate, as what follows.
    pub(crate) agent: String,
    pub(crate) installation: String,
    pub(crate) version: String,
    pub(crate) n_padding: usize,
}

/// Calls over one connection.
#[derive(Debug, Clone)]
pub(crate) struct Enrol {
    http2: Http2,
    client: EnrolServiceClient<Http2>,
}

impl Enrol {
    /// Over a connection that stands.
    pub(crate) fn over(http2: Http2) -> Enrol {
        let client = EnrolServiceClient::with_origin(http2.clone(), http2.origin());
        Enrol { http2, client: client.max_decoding_message_size(ANSWER_MAX_BYTES) }
    }

    /// Turns a token into an identity.
    ///
    /// # Errors
    /// [`EnrolError`]; the token's secret is in none of its texts.
    pub(crate) async fn join(
        &mut self,
        token: &JoinToken,
        applicant: &Applicant,
        key: &NextKey,
        now: UnixMillis,
    ) -> Result<Granted, EnrolError> {
        let request = v1::JoinRequest {
            token_id: token.id().to_owned(),
            secret: token.secret().to_vec(),
            applicant: Some(wire(applicant, key, now)?),
        };
        let call = self.client.join(Request::new(request));
        granted(answer(&self.http2, CALL_TIMEOUT, call).await?.identity)
    }

    /// Asks an admin. Gives the fingerprint to compare and when to ask what became of it.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub(crate) async fn request_approval(
        &mut self,
        applicant: &Applicant,
        key: &NextKey,
        now: UnixMillis,
    ) -> Result<(UnixMillis, Millis), EnrolError> {
        let request = v1::RequestApprovalRequest { applicant: Some(wire(applicant, key, now)?) };
        let call = self.client.request_approval(Request::new(request));
        let told = answer(&self.http2, CALL_TIMEOUT, call).await?;
        if told.fingerprint != key.fingerprint().0 {
            return Err(EnrolError::Incomplete("fingerprint of this key"));
        }
        Ok((UnixMillis(told.expires_ms), Millis(told.poll_after_ms.into())))
    }

    /// What became of a request for approval.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub(crate) async fn poll_approval(&mut self, fingerprint: Fingerprint) -> Result<Approval, EnrolError> {
        let request = v1::PollApprovalRequest { fingerprint: fingerprint.0.to_vec() };
        let call = self.client.poll_approval(Request::new(request));
        let told = answer(&self.http2, CALL_TIMEOUT, call).await?;
        Ok(match told.state() {
            v1::ApprovalState::Waiting => Approval::Waiting(Millis(told.poll_after_ms.into())),
            v1::ApprovalState::Approved => Approval::Approved(granted(told.identity)?),
            v1::ApprovalState::Rejected => Approval::Rejected,
            v1::ApprovalState::Unspecified => Approval::Unknown,
        })
    }

    /// A certificate for another key of the same agent.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub(crate) async fn renew(&mut self, key: &NextKey) -> Result<Granted, EnrolError> {
        let request = v1::RenewRequest { csr_der: key.request()? };
        let call = self.client.renew(Request::new(request));
        granted(answer(&self.http2, CALL_TIMEOUT, call).await?.identity)
    }

    /// There and back, with so many bytes in both directions.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub(crate) async fn ping(&mut self, now: UnixMillis, n_padding: usize, wait: Millis) -> Result<Pong, EnrolError> {
        // Not zeros: a device that packs the bytes would let a large ping pass as a small one.
        let padding: Vec<u8> = (0..n_padding).map(|i| ((i * i) >> 3) as u8).collect();
        let request = v1::PingRequest { wall_ms: now.0, padding };
        let call = self.client.ping(Request::new(request));
        let told = answer(&self.http2, wait, call).await?;
        Ok(Pong {
            wall: UnixMillis(told.wall_ms),
            agent: told.agent_id,
            installation: told.installation,
            version: told.version,
            n_padding: told.padding.len(),
        })
    }
}

async fn answer<T>(
    http2: &Http2,
    wait: Millis,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, EnrolError> {
    match timeout(wait.std(), call).await {
        Err(_) => Err(EnrolError::Silent(wait)),
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(refusal(http2, &status).await),
    }
}

async fn refusal(http2: &Http2, status: &Status) -> EnrolError {
    let mut source = status.source();
    while let Some(cause) = source {
        match cause.downcast_ref::<CallError>() {
            Some(CallError::Ended(fault)) => return EnrolError::Ended(fault.clone()),
            Some(CallError::Answer { status, server }) => {
                return EnrolError::Call(CallError::Answer { status: *status, server: server.clone() });
            }
            _ => source = cause.source(),
        }
    }
    // A status that the collector did not send has a source: the connection.
    if status.source().is_some()
        && let Some(fault) = http2.ended().await
    {
        return EnrolError::Ended(fault);
    }
    let message = status.message().strip_prefix("refused: ").unwrap_or(status.message());
    let told = message.chars().filter(|c| !c.is_control()).take(TOLD_MAX_CHARS).collect();
    let word = status.metadata().get(REFUSAL_KEY).and_then(|word| word.to_str().ok());
    match word.and_then(Refusal::parse) {
        Some(refusal) => EnrolError::Refused { refusal, told },
        None => EnrolError::Status { code: status.code(), told },
    }
}

fn wire(applicant: &Applicant, key: &NextKey, now: UnixMillis) -> Result<v1::Applicant, EnrolError> {
    let labels = applicant.labels.iter();
    Ok(v1::Applicant {
        agent_id: applicant.agent.to_string(),
        csr_der: key.request()?,
        boot_id: applicant.boot_id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        labels: labels.map(|(name, value)| v1::Label { name: name.to_owned(), value: value.to_owned() }).collect(),
        wall_ms: now.0,
    })
}

fn granted(identity: Option<v1::Identity>) -> Result<Granted, EnrolError> {
    let v1::Identity { certificate_pem, ca_pem, agent_id, .. } = identity.ok_or(EnrolError::Incomplete("identity"))?;
    Ok(Granted { certificate_pem, ca_pem, agent: agent_id })
}

/// What to do about a no.
fn advice(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotAccepted => "copy the whole token, or make a new one: signalbox join-token create",
        Refusal::TokenExpired | Refusal::TokenUsed | Refusal::TokenRevoked => {
            "make a new token: signalbox join-token create"
        }
        Refusal::AddressNotAllowed => "make a token for this host's network: signalbox join-token create --cidr",
        Refusal::LabelsNotAllowed => "remove labels from this agent's configuration, or make a token that allows them",
        Refusal::NameNotAllowed => "give the name that the token is for: --agent-id",
        Refusal::NameTaken => {
            "an agent has this name: give another one with --agent-id, or, if it is this host, make a token for it: \
             signalbox join-token create --agent NAME"
        }
        Refusal::KeyTaken => "run the command again: it makes another key",
        Refusal::KeyRevoked => {
            "an admin has revoked this agent: join with --replace and a token of signalbox join-token create --agent NAME"
        }
        Refusal::KeyUnknown => "the collector does not know this agent's key: get a new token and join with --replace",
        Refusal::ExpiredTooLong => {
            "the certificate is over for too long: get a token of signalbox join-token create --agent NAME and join with --replace"
        }
        Refusal::ClockFarOff => "set the clock of this host, for example with NTP",
        Refusal::BadRequest => "are agent and collector of versions that fit?",
        Refusal::TooMany => "wait a minute and try again",
    }
}
