//! The agents' port: every call of every service, as every kind of caller.
//!
//! A bad certificate ends the handshake, so that no call is made at all; one that is
//! good lets its holder do what it says and nothing else.

use crate::common::{PATIENCE, block_on, now, speaker};
use anyhow::{Context, Result, bail, ensure};
use e2e::process::Collector;
use e2e::tls::{self, Forge, Identity};
use rcgen::{Issuer, KeyPair};
use signalbox_collector::http::{Kind, routes};
use signalbox_proto::api::NewJoinToken;
use signalbox_proto::wire::v1;
use signalbox_proto::wire::v1::enrol_service_client::EnrolServiceClient;
use signalbox_proto::wire::v1::ingest_service_client::IngestServiceClient;
use signalbox_proto::wire::v1::stream_request::Message as Said;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// No call was made: the connection ended first.
    Broken,
    /// A status.
    Status(Code),
}

/// Every call of the service definitions, as `Service.Call`.
fn calls() -> Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/signalbox/v1");
    let mut calls = Vec::new();
    for file in fs::read_dir(&folder).context("list the service definitions")? {
        let (text, mut service) = (fs::read_to_string(file?.path())?, String::new());
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("service ") {
                service = rest.split([' ', '{']).next().unwrap_or_default().to_owned();
            }
            if let Some(rest) = line.strip_prefix("rpc ") {
                calls.push(format!("{service}.{}", rest.split('(').next().unwrap_or_default()));
            }
        }
    }
    calls.sort();
    ensure!(calls.len() >= 6, "{calls:?}");
    Ok(calls)
}

/// The collector of the tests, and those who were let in.
struct Scene {
    collector: Collector,
    ca: String,
    /// An agent's.
    good: Identity,
    /// Revoked after it joined.
    revoked: Identity,
}

fn token(uses: u32, ttl: &str, cidrs: &[&str]) -> NewJoinToken {
    let cidrs = cidrs.iter().map(|cidr| (*cidr).to_owned()).collect();
    NewJoinToken { ttl: ttl.to_owned(), uses, labels: BTreeMap::new(), cidrs, agent: None }
}

impl Scene {
    async fn set(folder: &Path) -> Result<Scene> {
        let collector = Collector::start(folder, &[])?;
        let ca = collector.ca_pem()?;
        let made = collector.join_token(&token(2, "1h", &[]))?;
        let join = async |agent: &str| -> Result<Identity> {
            let channel = tls::channel(collector.grpc, &ca, None).await?;
            Ok(tls::join(channel, &made.secret, agent, now().0).await?)
        };
        let (good, revoked) = (join("good").await?, join("revoked").await?);
        let gone = collector.client().post("/agents/revoked/revoke", &serde_json::json!({}))?;
        ensure!(gone.status == 200, "revoke: {} {}", gone.status, gone.body);
        Ok(Scene { collector, ca, good, revoked })
    }

    /// Identities that no collector gave, by what is wrong with them.
    fn forged(&self) -> Result<Vec<(&'static str, Identity)>> {
        let forge = Forge { uri: uri(&self.good)? };
        let key = fs::read_to_string(self.collector.folder.join("data/ca/ca.key")).context("read the CA's key")?;
        let real = Issuer::from_ca_cert_pem(&self.ca, KeyPair::from_pem(&key)?)?;
        let other = forge.other_ca(rcgen::DistinguishedName::new())?;
        let mut server_only = forge.params(-1, 6)?;
        server_only.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let mut no_usage = forge.params(-1, 6)?;
        no_usage.extended_key_usages = Vec::new();
        let (signed, by_other) = (forge.params(-1, 6)?, forge.signed(&forge.params(-1, 6)?, &other)?);
        let mut with_root = by_other.clone();
        with_root.chain.push_str(&other.pem());
        Ok(vec![
            ("self-signed", forge.self_signed()?),
            ("another authority's", by_other),
            ("another authority's, with its root", with_root),
            ("of a key that nobody has, signed by the authority", forge.signed(&signed, &real)?),
            ("expired, of a key that nobody has", forge.signed(&forge.params(-20, -10)?, &real)?),
            ("not yet valid", forge.signed(&forge.params(2, 6)?, &real)?),
            ("for servers only", forge.signed(&server_only, &real)?),
            ("for no use", forge.signed(&no_usage, &real)?),
            ("an authority's own", Identity { chain: self.ca.clone(), key }),
        ])
    }

    async fn ask(&self, call: &str, identity: Option<&Identity>) -> Result<Came> {
        match tls::channel(self.collector.grpc, &self.ca, identity).await {
            Ok(channel) => came(call, channel).await,
            Err(_) => Ok(Came::Broken),
        }
    }
}

/// The URI by which an identity's certificate names agent `good`.
fn uri(identity: &Identity) -> Result<String> {
    let der = pem_body(&identity.chain)?;
    let text = String::from_utf8_lossy(&der);
    let (_, rest) = text.split_once("spiffe://").context("a certificate names its agent")?;
    let (installation, _) = rest.split_once("/agent/good").context("the agent's name")?;
    Ok(format!("spiffe://{installation}/agent/good"))
}

fn pem_body(pem: &str) -> Result<Vec<u8>> {
    use rustls::pki_types::pem::PemObject;
    Ok(rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes())?.to_vec())
}

/// Makes one call; a call that nobody thought about fails.
async fn came(call: &str, channel: Channel) -> Result<Came> {
    let mut enrol = EnrolServiceClient::new(channel.clone());
    let applicant = || -> Result<Option<v1::Applicant>> {
        Ok(Some(v1::Applicant {
            agent_id: "mallory".to_owned(),
            csr_der: tls::request("mallory")?.1,
            wall_ms: now().0,
            ..v1::Applicant::default()
        }))
    };
    let answer = match call {
        "EnrolService.Join" => {
            let request = v1::JoinRequest { token_id: "none".to_owned(), secret: vec![7; 32], applicant: applicant()? };
            enrol.join(request).await.map(|_| ())
        }
        "EnrolService.RequestApproval" => {
            enrol.request_approval(v1::RequestApprovalRequest { applicant: applicant()? }).await.map(|_| ())
        }
        "EnrolService.PollApproval" => {
            enrol.poll_approval(v1::PollApprovalRequest { fingerprint: vec![9; 32] }).await.map(|_| ())
        }
        "EnrolService.Renew" => enrol.renew(v1::RenewRequest { csr_der: tls::request("x")?.1 }).await.map(|_| ()),
        "EnrolService.Ping" => enrol.ping(v1::PingRequest::default()).await.map(|_| ()),
        "IngestService.Stream" => stream(channel, "good").await,
        other => bail!("the call {other} is new: say here what a stranger must not do with it"),
    };
    Ok(of(answer))
}

fn of(answer: Result<(), Status>) -> Came {
    match answer {
        Ok(()) => Came::Status(Code::Ok),
        // A connection that ended under the call has no status of the collector's.
        Err(status) if std::error::Error::source(&status).is_some() => Came::Broken,
        Err(status) => Came::Status(status.code()),
    }
}

/// Opens a stream as this agent and waits for the first word.
async fn stream(channel: Channel, agent: &str) -> Result<(), Status> {
    let internal = |error: anyhow::Error| Status::internal(format!("{error:#}"));
    let hello = speaker(agent, 1, 1, 1000).map_err(internal)?.hello(now(), vec![1]);
    let (tx, rx) = tokio::sync::mpsc::channel(1);
    let said = v1::StreamRequest { message: Some(Said::Hello((&hello).into())) };
    tx.send(said).await.map_err(|error| internal(error.into()))?;
    let answer = IngestServiceClient::new(channel).stream(tokio_stream::wrappers::ReceiverStream::new(rx)).await?;
    let mut heard = answer.into_inner();
    match tokio::time::timeout(PATIENCE, heard.message()).await {
        Ok(message) => message.map(|_| ()),
        Err(_) => Err(Status::deadline_exceeded("the collector says nothing")),
    }
}

#[test]
fn every_call_answers_every_caller_exactly_as_it_must() -> Result<()> {
    let folder = tempfile::tempdir()?;
    block_on(async {
        let scene = Scene::set(folder.path()).await?;
        let mut wrong = Vec::new();
        let mut n_cells = 0;
        let mut check = |who: &str, call: &str, got: Came, expected: Came| {
            n_cells += 1;
            if got != expected {
                wrong.push(format!("{call} as {who}: {got:?}, not {expected:?}"));
            }
        };
        let keys_before: serde_json::Value = scene.collector.client().get("/agents/keys")?;
        for call in &calls()? {
            for (what, identity) in scene.forged()? {
                check(what, call, scene.ask(call, Some(&identity)).await?, Came::Broken);
            }
            check("a revoked agent", call, scene.ask(call, Some(&scene.revoked)).await?, Came::Broken);
            let stranger = match call.as_str() {
                "EnrolService.Ping" | "EnrolService.RequestApproval" | "EnrolService.PollApproval" => Code::Ok,
                "EnrolService.Join" => Code::PermissionDenied,
                _ => Code::Unauthenticated,
            };
            check("nobody", call, scene.ask(call, None).await?, Came::Status(stranger));
        }
        let keys: serde_json::Value = scene.collector.client().get("/agents/keys")?;
        ensure!(keys == keys_before, "refused calls changed the agents' keys:\n{keys_before}\n{keys}");
        // Last, because it takes a new key.
        for call in &calls()? {
            let agent = match call.as_str() {
                "EnrolService.Join" => Code::PermissionDenied,
                _ => Code::Ok,
            };
            check("an agent", call, scene.ask(call, Some(&scene.good)).await?, Came::Status(agent));
        }
        ensure!(wrong.is_empty(), "{} of {n_cells} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
        println!("{n_cells} cells, 0 unexpected");
        Ok(())
    })
}

#[test]
fn an_agent_speaks_for_itself_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    block_on(async {
        let scene = Scene::set(folder.path()).await?;
        for other in ["web1", "revoked", "GOOD", "good-"] {
            let channel = tls::channel(scene.collector.grpc, &scene.ca, Some(&scene.good)).await?;
            let said = stream(channel, other).await.err().with_context(|| format!("good may speak as {other}"))?;
            ensure!(said.code() == Code::PermissionDenied, "{other}: {said:?}");
        }
        // Nor does the local socket know an agent that has a key: it could be anybody here.
        let channel = tls::unix(&scene.collector.folder.join("data/agent.sock")).await?;
        let said =
            stream(channel, "good").await.err().context("the socket lets somebody speak as an enrolled agent")?;
        ensure!(said.code() == Code::PermissionDenied, "{said:?}");
        let lines = super::audit(&scene.collector.client())?;
        ensure!(
            lines.iter().any(|line| line.result.starts_with("denied") && line.who.contains("good")),
            "on record: {lines:?}"
        );
        Ok(())
    })
}

#[test]
fn a_join_token_does_what_it_says_and_no_more() -> Result<()> {
    let folder = tempfile::tempdir()?;
    block_on(async {
        let collector = Collector::start(folder.path(), &[])?;
        let ca = collector.ca_pem()?;
        let join = async |secret: &str, agent: &str| -> Result<Option<String>> {
            let channel = tls::channel(collector.grpc, &ca, None).await?;
            let refused = tls::join(channel, secret, agent, now().0).await.err();
            let word = |status: Status| {
                let word = status.metadata().get("signalbox-refusal").and_then(|value| value.to_str().ok());
                word.map_or_else(|| format!("{status:?}"), str::to_owned)
            };
            Ok(refused.map(word))
        };
        let once = collector.join_token(&token(1, "1h", &["127.0.0.0/8"]))?.secret;
        ensure!(join(&once, "a").await?.is_none(), "a good token lets its holder in");
        ensure!(join(&once, "b").await?.as_deref() == Some("token_used"), "once means once");
        let elsewhere = collector.join_token(&token(1, "1h", &["192.0.2.0/24"]))?.secret;
        ensure!(join(&elsewhere, "c").await?.as_deref() == Some("address_not_allowed"));
        let two = collector.join_token(&token(2, "1h", &[]))?;
        ensure!(join(&two.secret, "a").await?.as_deref() == Some("name_taken"), "a name is given once");
        let short = collector.join_token(&token(1, "1s", &[]))?.secret;
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        ensure!(join(&short, "d").await?.as_deref() == Some("token_expired"));
        let gone = collector.client().send("DELETE", &format!("/api/signalbox/v1/join-tokens/{}", two.id), &[], "")?;
        ensure!(gone.status == 200, "{gone:?}");
        ensure!(join(&two.secret, "e").await?.as_deref() == Some("token_revoked"));
        // Whoever has not the secret learns nothing about the token.
        let mut guess = once.clone();
        let at =
            guess.find('.').and_then(|at| guess[at + 1..].find('.').map(|next| at + next + 2)).context("a token")?;
        let other = if &guess[at..=at] == "A" { "B" } else { "A" };
        guess.replace_range(at..=at, other);
        ensure!(join(&guess, "f").await?.as_deref() == Some("not_accepted"));
        let keys: serde_json::Value = collector.client().get("/agents/keys")?;
        ensure!(keys.as_array().map(Vec::len) == Some(1), "one agent was let in: {keys}");
        Ok(())
    })
}

#[test]
fn who_does_not_speak_tls_is_not_answered() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[])?;
    for said in
        [&b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"]
    {
        let mut stream = TcpStream::connect(("127.0.0.1", collector.grpc))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(said)?;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        // At most a TLS alert: record type 21.
        ensure!(answer.first().is_none_or(|first| *first == 21), "{:?}", String::from_utf8_lossy(&answer));
    }
    // Inside of TLS, without h2 or beside the services, there is nothing either.
    block_on(async {
        let channel = tls::channel(collector.grpc, &collector.ca_pem()?, None).await?;
        let mut grpc = tonic::client::Grpc::new(channel);
        for path in ["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.health.v1.Health/Check", "/"] {
            grpc.ready().await?;
            let path = tonic::codegen::http::uri::PathAndQuery::try_from(path)?;
            let codec = tonic_prost::ProstCodec::<v1::PingRequest, v1::PingResponse>::default();
            let said = grpc.unary(tonic::Request::new(v1::PingRequest::default()), path.clone(), codec).await;
            let code = said.err().map(|status| status.code());
            ensure!(code == Some(Code::Unimplemented), "{path}: {code:?}");
        }
        Ok(())
    })
}

/// An agent's certificate is worth as much to operators' routes as none.
#[test]
fn an_agents_certificate_opens_nothing_on_the_operators_port() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start_with(folder.path(), &[], "tls: {http: true}")?;
    let ca = collector.ca_pem()?;
    let made = collector.join_token(&token(1, "1h", &[]))?;
    block_on(async {
        let channel = tls::channel(collector.grpc, &ca, None).await?;
        let good = tls::join(channel, &made.secret, "good", now().0).await?;
        let mut n_asked = 0;
        for route in routes().iter().filter(|route| route.access.to_string() != "open") {
            let path = route.path.replace(['{', '}'], "x");
            let wanted = match route.kind {
                Kind::Page if route.method == "GET" => "303",
                // A form that does not prove that it is ours.
                Kind::Page => "403",
                Kind::Api | Kind::Prometheus | Kind::Plain => "401",
            };
            let got = status_as(&collector, &ca, &good, &format!("{} {path}", route.method)).await?;
            ensure!(got == wanted, "{} {path}: {got}, not {wanted}", route.method);
            n_asked += 1;
        }
        ensure!(n_asked >= 40, "{n_asked} routes");
        Ok(())
    })
}

/// The status of one request over HTTPS with this identity.
async fn status_as(collector: &Collector, ca: &str, identity: &Identity, request: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut config = tls::client_config(ca, Some(identity))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = tls::stream(collector.http, config).await?;
    let head = format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    // A peer that closes without a word of TLS has answered all the same.
    let _end = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    Ok(text.split(' ').nth(1).unwrap_or_default().to_owned())
}
