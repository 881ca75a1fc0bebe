//! Commands about who may do what: log in, and let people and agents in.

use super::{Session, print};
use crate::args::{AgentsAct, AuditAct, CaAct, JoinTokenAct, LoginArgs, Output, TokensAct, UsersAct};
use crate::client::{Answer, Client, ClientError};
use crate::exit::Failure;
use crate::hosts::{Host, Hosts};
use crate::prompt::{ask, ask_new_password, ask_secret, line_of_stdin};
use crate::render;
use crate::target::Target;
use crate::text::{clean, clean_json};
use signalbox_proto::api::{
    Act, AuditEntry, Login, Made, NewApiToken, NewJoinToken, NewPassword, NewRole, NewUser, WhoAmI,
};
use std::path::Path;

/// Lines of the audit in one answer.
const AUDIT_PAGE: u32 = 1000;
/// Bytes of a file of certificates.
const CA_MAX_BYTES: u64 = 256 * 1024;

impl Session<'_> {
    /// Logs in at a collector and keeps the token; the last login is asked from then on.
    pub(super) async fn login(&self, args: &LoginArgs) -> Result<(), Failure> {
        let path = Hosts::path();
        // Before anything is asked: a file that cannot be used must not cost a token.
        let mut hosts = Hosts::read(path.as_deref())?;
        // What vouched for this collector last time does so again.
        let known = hosts.get(&args.url).and_then(|host| host.ca.clone());
        let ca = args.ca.as_deref().map(read_certificates).transpose()?.or(known);
        let target = |token: Option<String>| Target::Url { url: args.url.clone(), token, ca: ca.clone() };
        let bare = Client::of(&target(None), self.cli.timeout)?;
        let (token, expires) = if args.token_stdin {
            (line_of_stdin("token")?, None)
        } else {
            let made = self.made_login(&bare, args).await?;
            (made.secret, Some(made.expires))
        };
        let client = Client::of(&target(Some(token.clone())), self.cli.timeout)?;
        let answer = self.ask("logging in", client.whoami()).await?;
        let name = answer.value.name.clone();
        hosts.set(&args.url, Host { token, name, ca, expires });
        hosts.write(path.as_deref())?;
        self.emit(&answer, |look, who: &WhoAmI| {
            let until = expires.map(|at| format!(" until {}", crate::when::dated(look.now, at))).unwrap_or_default();
            let file = path.as_deref().unwrap_or(Path::new("")).display();
            format!("logged in to {} as {}{until}; kept in {file}\n", clean(&args.url), clean(&who.name))
        })
    }

    async fn made_login(&self, bare: &Client, args: &LoginArgs) -> Result<Made, Failure> {
        let name = match &args.name {
            Some(name) => name.clone(),
            None => ask("name")?,
        };
        let password =
            if args.password_stdin { line_of_stdin("password")? } else { ask_secret(&format!("password of {name}"))? };
        let purpose = format!("signalbox@{}", rustix::system::uname().nodename().to_string_lossy());
        let purpose: String = purpose.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
        Ok(self.ask("logging in", bare.login(&Login { name, password, purpose })).await?.value)
    }

    /// Has the token refused and forgets it; it is forgotten also when the collector
    /// does not know it any more.
    pub(super) async fn logout(&self, url: Option<&str>) -> Result<(), Failure> {
        let path = Hosts::path();
        let mut hosts = Hosts::read(path.as_deref())?;
        let Some(url) = url.or(self.cli.collector.as_deref()).or(hosts.current()).map(str::to_owned) else {
            return Err(Failure::Usage("there is no login to forget".to_owned()));
        };
        let Some(Host { token, ca, .. }) = hosts.get(&url).cloned() else {
            return Err(Failure::Usage(format!("there is no login for {url}")));
        };
        let client = Client::of(&Target::Url { url: url.clone(), token: Some(token), ca }, self.cli.timeout)?;
        match client.logout().await {
            Ok(answer) => self.done(&answer)?,
            Err(ClientError::Refused { status: 401, .. }) => {
                print(&format!("the login for {} was over already\n", clean(&url)))?;
            }
            Err(error) => return Err(error.into()),
        }
        hosts.remove(&url);
        Ok(hosts.write(path.as_deref())?)
    }

    pub(super) async fn whoami(&self) -> Result<(), Failure> {
        let answer = self.ask("asking who I am", self.client.whoami()).await?;
        self.emit(&answer, render::access::whoami)
    }

    pub(super) async fn join_token(&self, act: &JoinTokenAct) -> Result<(), Failure> {
        match act {
            JoinTokenAct::Create { ttl, uses, labels, cidrs, agent } => {
                let new = NewJoinToken {
                    ttl: ttl.to_string(),
                    uses: *uses,
                    labels: labels.iter().cloned().collect(),
                    cidrs: cidrs.clone(),
                    agent: agent.clone(),
                };
                let answer = self.ask("making a token", self.client.new_join_token(&new)).await?;
                self.made(&answer, "on the other host, as root:")
            }
            JoinTokenAct::List => {
                let answer = self.ask("reading tokens", self.client.join_tokens()).await?;
                self.emit(&answer, |look, tokens| render::access::join_tokens(look, tokens))
            }
            JoinTokenAct::Revoke { id } => self.done(&self.ask("revoking", self.client.revoke_join_token(id)).await?),
        }
    }

    /// The secret alone on standard output, so that it can be kept; all else beside it.
    fn made(&self, answer: &Answer<Made>, label: &str) -> Result<(), Failure> {
        let Made { secret, expires, command, .. } = &answer.value;
        if self.cli.output == Output::Json {
            return print(&format!("{}\n", clean_json(&answer.body)));
        }
        print(&format!("{}\n", clean(secret)))?;
        let until = crate::when::dated(self.look().now, *expires);
        eprintln!("good until {until}; it is not shown again");
        if !command.is_empty() {
            eprintln!("{label}\n  {} {}", clean(command), clean(secret));
        }
        Ok(())
    }

    pub(super) async fn agents(&self, act: Option<&AgentsAct>) -> Result<(), Failure> {
        let call = match act {
            None | Some(AgentsAct::List) => {
                let answer = self.ask("reading agents", self.client.agents()).await?;
                return self.emit(&answer, |look, agents| render::agents::list(look, agents));
            }
            Some(AgentsAct::Pending) => {
                let answer = self.ask("reading agents", self.client.pending_agents()).await?;
                return self.emit(&answer, |look, pending| render::access::pending(look, pending));
            }
            Some(AgentsAct::Keys) => {
                let answer = self.ask("reading agents", self.client.agent_keys()).await?;
                return self.emit(&answer, |look, keys| render::access::keys(look, keys));
            }
            Some(AgentsAct::Retire { host, reason }) => {
                let act = Act { reason: reason.clone() };
                self.ask("retiring", self.client.retire(host, &act)).await
            }
            Some(AgentsAct::Approve { fingerprint }) => {
                self.ask("approving", self.client.decide_pending(fingerprint, true)).await
            }
            Some(AgentsAct::Reject { fingerprint }) => {
                self.ask("rejecting", self.client.decide_pending(fingerprint, false)).await
            }
            Some(AgentsAct::Revoke { host, reason }) => {
                let act = Act { reason: reason.clone() };
                self.ask("revoking", self.client.revoke_agent(host, &act)).await
            }
        };
        self.done(&call?)
    }

    pub(super) async fn users(&self, act: &UsersAct) -> Result<(), Failure> {
        let call = match act {
            UsersAct::List => {
                let answer = self.ask("reading users", self.client.users()).await?;
                return self.emit(&answer, |look, users| render::access::users(look, users));
            }
            UsersAct::Passwd { name, stdin } => return self.passwd(name.as_deref(), *stdin).await,
            UsersAct::Add { name, role, scope } => {
                let new = NewUser { name: name.clone(), role: *role, scope: scope.clone() };
                self.ask("adding", self.client.add_user(&new)).await
            }
            UsersAct::Disable { name } => self.ask("disabling", self.client.switch_user(name, false)).await,
            UsersAct::Enable { name } => self.ask("enabling", self.client.switch_user(name, true)).await,
            UsersAct::Role { name, role, scope, all } => {
                let scope = (*all || !scope.is_empty()).then(|| scope.clone());
                self.ask("changing", self.client.set_role(name, &NewRole { role: *role, scope })).await
            }
        };
        self.done(&call?)
    }

    async fn passwd(&self, name: Option<&str>, stdin: bool) -> Result<(), Failure> {
        let own = self.ask("asking who I am", self.client.whoami()).await?.value;
        let is_own = name.is_none_or(|name| name == own.name);
        if is_own && own.kind != "user" {
            let why = format!("{} is no user and has no password; name one: signalbox users passwd NAME", own.name);
            return Err(Failure::Usage(why));
        }
        let user = name.unwrap_or(&own.name);
        let old = match (is_own, stdin) {
            (false, _) => String::new(),
            (true, true) => line_of_stdin("old password")?,
            (true, false) => ask_secret("old password")?,
        };
        let new = if stdin { line_of_stdin("new password")? } else { ask_new_password(user)? };
        let body = NewPassword { old, new };
        let answer = if is_own {
            self.ask("changing", self.client.own_password(&body)).await?
        } else {
            self.ask("changing", self.client.set_password(user, &body)).await?
        };
        self.done(&answer)
    }

    pub(super) async fn tokens(&self, act: &TokensAct) -> Result<(), Failure> {
        match act {
            TokensAct::Create { name, role, permissions, scope, ttl } => {
                let new = NewApiToken {
                    name: name.clone(),
                    role: *role,
                    permissions: permissions.clone(),
                    scope: scope.clone(),
                    ttl: ttl.to_string(),
                };
                let answer = self.ask("making a token", self.client.new_token(&new)).await?;
                self.made(&answer, "")
            }
            TokensAct::List => {
                let answer = self.ask("reading tokens", self.client.tokens()).await?;
                self.emit(&answer, |look, tokens| render::access::tokens(look, tokens))
            }
            TokensAct::Revoke { id } => self.done(&self.ask("revoking", self.client.revoke_token(id)).await?),
        }
    }

    pub(super) async fn login_link(&self, name: &str) -> Result<(), Failure> {
        let answer = self.ask("making a link", self.client.login_link(name)).await?;
        self.made(&answer, "")
    }

    pub(super) async fn audit(&self, act: &AuditAct) -> Result<(), Failure> {
        match act {
            AuditAct::List { limit, from } => {
                let answer = self.ask("reading the audit", self.client.audit(*from, *limit)).await?;
                self.emit(&answer, |look, lines| render::access::audit(look, lines))
            }
            AuditAct::Verify => {
                let answer = self.ask("verifying the audit", self.client.verify_audit()).await?;
                self.emit(&answer, render::access::verdict)?;
                if answer.value.whole { Ok(()) } else { Err(Failure::Told) }
            }
            AuditAct::Export => self.export_audit().await,
        }
    }

    /// Every line, oldest first, one JSON document a line.
    async fn export_audit(&self) -> Result<(), Failure> {
        let mut next = 1;
        loop {
            let lines = self.client.audit(Some(next), AUDIT_PAGE).await?.value;
            let Some(last) = lines.last().map(|line| line.no) else { return Ok(()) };
            for line in &lines {
                print(&format!("{}\n", clean_json(&json(line)?)))?;
            }
            if last < next {
                return Err(Failure::Usage(format!("the collector sent line {last} when asked for {next}")));
            }
            next = last + 1;
        }
    }

    pub(super) async fn ca(&self, act: &CaAct) -> Result<(), Failure> {
        match act {
            CaAct::Show => {
                let answer = self.ask("reading certificates", self.client.ca()).await?;
                if self.cli.output == Output::Table {
                    for line in render::access::ca(&self.look(), &answer.value).lines() {
                        eprintln!("{line}");
                    }
                }
                self.emit(&answer, |_, ca| crate::text::clean_lines(&ca.pem).join("\n") + "\n")
            }
            CaAct::Drop => self.done(&self.ask("dropping the old root", self.client.drop_ca()).await?),
            CaAct::Rotate => self.done(&self.ask("rotating", self.client.rotate_ca()).await?),
        }
    }
}

fn json(line: &AuditEntry) -> Result<String, Failure> {
    serde_json::to_string(line).map_err(|error| Failure::Terminal(error.into()))
}

fn read_certificates(path: &Path) -> Result<String, Failure> {
    let refuse = |why: String| Failure::Usage(format!("read {}: {why}", path.display()));
    let n_bytes = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if n_bytes > CA_MAX_BYTES {
        return Err(refuse(format!("{n_bytes} bytes are over the limit of {CA_MAX_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    if text.contains("PRIVATE KEY") {
        return Err(refuse("it holds a private key; give the certificates alone".to_owned()));
    }
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(refuse("it holds no certificate; print one with: signalbox ca show".to_owned()));
    }
    Ok(text)
}
