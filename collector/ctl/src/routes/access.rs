//! Routes about who may do what.

use super::Result;
use crate::client::Client;
use reqwest::Method;
use signalbox_proto::api::{
    Act, AgentIdentity, ApiToken, AuditEntry, AuditVerdict, CaReport, Done, JoinToken, Login, Made, NewApiToken,
    NewJoinToken, NewPassword, NewRole, NewUser, PendingAgent, SelfReport, User, WhoAmI,
};

const NOTHING: Option<&()> = None;

#[allow(clippy::missing_errors_doc, reason = "every function fails in the ways that ClientError lists")]
impl Client {
    /// `GET /whoami`.
    pub async fn whoami(&self) -> Result<WhoAmI> {
        self.get(&["whoami"], &[]).await
    }

    /// `POST /login`.
    pub async fn login(&self, login: &Login) -> Result<Made> {
        self.send(Method::POST, &["login"], Some(login)).await
    }

    /// `POST /logout`.
    pub async fn logout(&self) -> Result<Done> {
        self.send(Method::POST, &["logout"], NOTHING).await
    }

    /// `POST /password`.
    pub async fn own_password(&self, new: &NewPassword) -> Result<Done> {
        self.send(Method::POST, &["password"], Some(new)).await
    }

    /// `GET /join-tokens`.
    pub async fn join_tokens(&self) -> Result<Vec<JoinToken>> {
        self.get(&["join-tokens"], &[]).await
    }

    /// `POST /join-tokens`.
    pub async fn new_join_token(&self, new: &NewJoinToken) -> Result<Made> {
        self.send(Method::POST, &["join-tokens"], Some(new)).await
    }

    /// `DELETE /join-tokens/{id}`.
    pub async fn revoke_join_token(&self, id: &str) -> Result<Done> {
        self.send(Method::DELETE, &["join-tokens", id], NOTHING).await
    }

    /// `GET /agents/pending`.
    pub async fn pending_agents(&self) -> Result<Vec<PendingAgent>> {
        self.get(&["agents", "pending"], &[]).await
    }

    /// `POST /agents/pending/{fingerprint}/{approve|reject}`.
    pub async fn decide_pending(&self, fingerprint: &str, approve: bool) -> Result<Done> {
        let verb = if approve { "approve" } else { "reject" };
        self.send(Method::POST, &["agents", "pending", fingerprint, verb], NOTHING).await
    }

    /// `GET /agents/keys`.
    pub async fn agent_keys(&self) -> Result<Vec<AgentIdentity>> {
        self.get(&["agents", "keys"], &[]).await
    }

    /// `POST /agents/{id}/revoke`.
    pub async fn revoke_agent(&self, agent: &str, act: &Act) -> Result<Done> {
        self.send(Method::POST, &["agents", agent, "revoke"], Some(act)).await
    }

    /// `GET /users`.
    pub async fn users(&self) -> Result<Vec<User>> {
        self.get(&["users"], &[]).await
    }

    /// `POST /users`.
    pub async fn add_user(&self, new: &NewUser) -> Result<Done> {
        self.send(Method::POST, &["users"], Some(new)).await
    }

    /// `POST /users/{name}/{disable|enable}`.
    pub async fn switch_user(&self, name: &str, enable: bool) -> Result<Done> {
        let verb = if enable { "enable" } else { "disable" };
        self.send(Method::POST, &["users", name, verb], NOTHING).await
    }

    /// `POST /users/{name}/role`.
    pub async fn set_role(&self, name: &str, new: &NewRole) -> Result<Done> {
        self.send(Method::POST, &["users", name, "role"], Some(new)).await
    }

    /// `POST /users/{name}/password`.
    pub async fn set_password(&self, name: &str, new: &NewPassword) -> Result<Done> {
        self.send(Method::POST, &["users", name, "password"], Some(new)).await
    }

    /// `POST /users/{name}/login-link`.
    pub async fn login_link(&self, name: &str) -> Result<Made> {
        self.send(Method::POST, &["users", name, "login-link"], NOTHING).await
    }

    /// `GET /tokens`.
    pub async fn tokens(&self) -> Result<Vec<ApiToken>> {
        self.get(&["tokens"], &[]).await
    }

    /// `POST /tokens`.
    pub async fn new_token(&self, new: &NewApiToken) -> Result<Made> {
        self.send(Method::POST, &["tokens"], Some(new)).await
    }

    /// `DELETE /tokens/{id}`.
    pub async fn revoke_token(&self, id: &str) -> Result<Done> {
        self.send(Method::DELETE, &["tokens", id], NOTHING).await
    }

    /// `GET /audit`: the last lines, or those from a line on.
    pub async fn audit(&self, from: Option<u64>, limit: u32) -> Result<Vec<AuditEntry>> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(from.map(|from| ("from", from.to_string())));
        self.get(&["audit"], &query).await
    }

    /// `GET /audit/verify`.
    pub async fn verify_audit(&self) -> Result<AuditVerdict> {
        self.get(&["audit", "verify"], &[]).await
    }

    /// `GET /ca`.
    pub async fn ca(&self) -> Result<CaReport> {
        self.get(&["ca"], &[]).await
    }

    /// `POST /ca/rotate`.
    pub async fn rotate_ca(&self) -> Result<Done> {
        self.send(Method::POST, &["ca", "rotate"], NOTHING).await
    }

    /// `POST /ca/drop`.
    pub async fn drop_ca(&self) -> Result<Done> {
        self.send(Method::POST, &["ca", "drop"], NOTHING).await
    }

    /// `GET /doctor`.
    pub async fn self_report(&self) -> Result<SelfReport> {
        self.get(&["doctor"], &[]).await
    }
}
