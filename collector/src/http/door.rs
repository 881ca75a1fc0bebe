//! What every handler may use: the running collector, the channels, and how this
//! door is set up.

use crate::handle::{Handle, HandleError};
use crate::http::auth::forbidden;
use crate::http::error::Failure;
use crate::http::limits::Limits;
use crate::http::password::Passwords;
use crate::http::secret::{Fresh, Prefix};
use crate::http::throttle::Throttle;
use crate::notify::Notifiers;
use crate::tls::Tls;
use axum::http::StatusCode;
use reqwest::Url;
use signalbox_access::event::{Denial, Record};
use signalbox_access::{AccessAct, Caller, Denied, Granted, Permission, Refused, Role, Scope};
use signalbox_proto::clock::Clock;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// How the door is set up.
#[derive(Clone)]
pub struct Settings {
    /// Bounds.
    pub limits: Limits,
    /// Names under which people reach it, beside those of its certificate.
    pub names: Vec<String>,
    /// Where people find the page: `https://host:8440`.
    pub external_url: String,
    /// What `signalbox-agent join` is told: `https://host:8441`.
    pub agents_address: String,
    /// Accounts of this host beside root and the collector's own, and their roles.
    pub local_operators: BTreeMap<String, Role>,
    /// User id of the collector.
    pub own_uid: u32,
    /// Everything that must survive.
    pub data_dir: PathBuf,
    /// Keys and certificates.
    pub tls: Arc<Tls>,
    /// TCP is served inside TLS.
    pub http_tls: bool,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Settings {
    /// The role of an account of this host; none: it may not come in.
    pub(crate) fn role_of(&self, uid: u32, user: &str) -> Option<Role> {
        if uid == 0 || uid == self.own_uid { Some(Role::Admin) } else { self.local_operators.get(user).copied() }
    }
}

/// The door while it is open.
pub(crate) struct Door {
    pub(crate) settings: Settings,
    /// [`Settings::external_url`], if it is one.
    pub(crate) external: Option<Url>,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
}

/// What every handler may use.
#[derive(Clone)]
pub struct App {
    pub(crate) handle: Handle,
    pub(crate) notifiers: Arc<Notifiers>,
    pub(crate) door: Arc<Door>,
}

impl App {
    /// Over the running collector and its channels.
    pub fn new(handle: Handle, notifiers: Arc<Notifiers>, settings: Settings) -> App {
        let throttle = Throttle::new(settings.limits.login_failures, settings.limits.login_window);
        let external = Url::parse(&settings.external_url).ok();
        let door = Door { settings, external, passwords: Passwords::default(), throttle };
        App { handle, notifiers, door: Arc::new(door) }
    }

    /// Every name of this collector, in lower case.
    pub(crate) fn names(&self) -> Vec<String> {
        let settings = &self.door.settings;
        let mut names: Vec<String> = settings.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        names.extend(settings.tls.server_names().iter().map(|name| name.to_ascii_lowercase()));
        names
    }

    /// Somebody acts on who may do what; answered after the commit that holds it.
    pub(crate) async fn access(&self, caller: &Caller, act: AccessAct) -> Result<Granted, Failure> {
        match self.handle.access(caller.clone(), act).await? {
            Err(Refused::Denied(denied)) => Err(forbidden(&caller.principal, denied)),
            answer => Ok(answer?),
        }
    }

    /// Somebody was refused: told to the audit, not waited for.
    pub(crate) fn denied(&self, caller: &Caller, denial: Denial) {
        self.handle.denied(caller.clone(), denial);
    }

    /// The answer about something that is not in somebody's sight; on record where
    /// it may exist, which only a scope can hide.
    pub(crate) fn out_of_sight(
        &self,
        caller: &Caller,
        permission: Permission,
        object: &str,
        answer: Failure,
    ) -> Failure {
        if !matches!(caller.principal.scope, Scope::All) {
            let why = Denied::Scope(permission).to_string();
            self.denied(caller, Denial { act: permission.word().to_owned(), object: object.to_owned(), why });
        }
        answer
    }

    /// Something was done that no table holds: it is on record before it is answered.
    pub(crate) async fn record(&self, caller: &Caller, record: Record) -> Result<(), Failure> {
        Ok(self.handle.record(caller.clone(), record).await?)
    }
}

/// Makes the link of the first start: the way in for the first admin, good for
/// [`signalbox_access::limits::LOGIN_LINK_LIFE`]. None once an admin has a password.
///
/// # Errors
/// The collector did not take it.
pub async fn first_login(handle: &Handle, external_url: &str) -> Result<Option<String>, HandleError> {
    if handle.access_view().has_admin() {
        return Ok(None);
    }
    let fresh = Fresh::make().map_err(|failure| HandleError::Store(failure.error))?;
    match handle.access(Caller::system(), AccessAct::FirstLink { secret: fresh.hash }).await? {
        Ok(_) => Ok(Some(link(external_url, &fresh))),
        // Somebody was faster.
        Err(Refused::Conflict(_)) => Ok(None),
        Err(refused) => Err(HandleError::Store(refused.to_string())),
    }
}

/// The address of a login link.
pub(crate) fn link(external_url: &str, fresh: &Fresh) -> String {
    format!("{}/login?code={}", external_url.trim_end_matches('/'), fresh.text(Prefix::None))
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        let (status, remedy) = match &refused {
            Refused::NotFound(_) => (StatusCode::NOT_FOUND, "the list of its kind has what there is"),
            Refused::Conflict(_) => (StatusCode::CONFLICT, "look at its present state first"),
            Refused::Invalid(_) => (StatusCode::BAD_REQUEST, "mend the field and send it again"),
            Refused::Limit(_) => (StatusCode::CONFLICT, "remove what is not needed any more"),
            Refused::Denied(_) => (StatusCode::FORBIDDEN, "signalbox whoami shows what you may do"),
            Refused::Join { .. } => (StatusCode::CONFLICT, "signalbox agents pending lists what waits"),
            Refused::Login(_) => return wrong_login(),
        };
        Failure::new(status, refused.to_string(), remedy)
    }
}

/// Whatever was wrong with a login.
pub(crate) fn wrong_login() -> Failure {
    let remedy = "an admin can make a new link: signalbox login-link NAME";
    Failure::new(StatusCode::UNAUTHORIZED, "name, password or link is wrong", remedy)
}
