//! Users: made, given a role, a password, a link; disabled and enabled.

use super::{check_name, conflict, done, full, invalid};
use crate::access::Work;
use crate::answer::{Answer, Granted, Refused};
use crate::event::PasswordHash;
use crate::limits::{LOGIN_LINK_LIFE, LOGIN_LINKS_MAX, PASSWORD_HASH_MAX_BYTES, USERS_MAX};
use crate::principal::Scope;
use crate::rows::{LoginLinkRow, SessionRow, UserRow};
use crate::secret::SecretHash;
use signalbox_proto::api::Role;

/// The user of the first start.
pub(crate) const FIRST_USER: &str = "admin";

impl Work<'_> {
    pub(crate) fn create_user(&mut self, name: &str, role: Role, scope: &Scope) -> Answer {
        check_name("name of a user", name)?;
        if self.tables.users.get(&name.to_owned()).is_some() {
            return conflict(format!("there is a user {name} already"));
        }
        if self.tables.users.len() >= USERS_MAX {
            return full(USERS_MAX, "users", "nobody is removed, disabled users count too");
        }
        let row = UserRow {
            role,
            scope: scope.clone(),
            password: None,
            disabled: false,
            created: self.at,
            created_by: self.who(),
        };
        self.tables.users.insert(name.to_owned(), row);
        self.after = format!("{role}, scope {scope}");
        done(format!("user {name} made"))
    }

    pub(crate) fn set_role(&mut self, user: &str, role: Role, scope: Option<&Scope>) -> Answer {
        if role != Role::Admin {
            self.spare_last_admin(user)?;
        }
        let row = self.user_mut(user)?;
        let before = format!("{}, scope {}", row.role, row.scope);
        row.role = role;
        if let Some(scope) = scope {
            row.scope = scope.clone();
        }
        let after = format!("{role}, scope {}", row.scope);
        (self.before, self.after) = (before, after);
        // A session that was begun under another role must prove itself anew.
        self.end_sessions_of(user, None);
        done(format!("user {user} is {role}"))
    }

    pub(crate) fn disable_user(&mut self, user: &str) -> Answer {
        let row = self.user_mut(user)?;
        if row.disabled {
            return conflict(format!("user {user} is disabled already"));
        }
        self.spare_last_admin(user)?;
        self.user_mut(user)?.disabled = true;
        let n_sessions = self.end_sessions_of(user, None);
        let n_tokens = self.revoke_tokens_of(user);
        // Nobody answers for what they made any more.
        let n_made = self.revoke_tokens_made_by(user) + self.revoke_join_tokens_made_by(user);
        self.tables.login_links.remove_if(|_, link| link.user == user);
        self.before = "enabled".to_owned();
        self.after = format!(
            "disabled; {n_sessions} sessions, {n_tokens} own tokens and {n_made} that they made for services and hosts ended"
        );
        done(format!("user {user} disabled"))
    }

    pub(crate) fn enable_user(&mut self, user: &str) -> Answer {
        let row = self.user_mut(user)?;
        if !row.disabled {
            return conflict(format!("user {user} is enabled already"));
        }
        row.disabled = false;
        (self.before, self.after) = ("disabled".to_owned(), "enabled".to_owned());
        done(format!("user {user} enabled"))
    }

    /// An admin sets anybody's; everybody their own, with the old one. A session that
    /// began with a login link just now is proof enough.
    pub(crate) fn set_password(&mut self, user: &str, hash: &PasswordHash, verified: Option<&PasswordHash>) -> Answer {
        let is_own = self.is_own(user);
        if !is_own {
            self.may_manage_users()?;
        }
        if !hash.0.starts_with("$argon2id$") || hash.0.len() > PASSWORD_HASH_MAX_BYTES {
            return invalid("a password is kept as argon2id in PHC form");
        }
        let session = self.event.caller.principal.session;
        let is_fresh = |row: &SessionRow| row.by_link && self.at < row.begun + LOGIN_LINK_LIFE;
        let by_link = session.and_then(|session| self.tables.sessions.get(&session)).is_some_and(is_fresh);
        let row = self.user_mut(user)?;
        if row.disabled {
            return conflict(format!("user {user} is disabled"));
        }
        let proved = by_link || row.password.is_none() || (verified.is_some() && row.password.as_ref() == verified);
        if is_own && !proved {
            return Err(Refused::Login("the old password is wrong".to_owned()));
        }
        let before = if row.password.is_some() { "a password" } else { "no password" };
        row.password = Some(hash.clone());
        if let Some(session) = session.filter(|_| is_own)
            && let Some(session) = self.tables.sessions.get_mut(&session)
        {
            session.by_link = false;
        }
        let n_ended = self.end_sessions_of(user, session.filter(|_| is_own));
        // Whoever knew the old password may have made themselves a token with it.
        let n_tokens = self.revoke_tokens_of(user);
        self.tables.login_links.remove_if(|_, link| link.user == user);
        self.before = before.to_owned();
        self.after = format!("a new password; {n_ended} other sessions and {n_tokens} tokens ended");
        done(format!("password of user {user} set"))
    }

    pub(crate) fn create_login_link(&mut self, secret: SecretHash, user: &str) -> Answer {
        let row = self.user_mut(user)?;
        if row.disabled {
            return conflict(format!("user {user} is disabled: enable it first"));
        }
        self.add_link(secret, user)
    }

    pub(crate) fn first_link(&mut self, secret: SecretHash) -> Answer {
        let is_admin = |row: &UserRow| row.role == Role::Admin && !row.disabled && row.password.is_some();
        if self.tables.users.iter().any(|(_, row)| is_admin(row)) {
            return conflict("an admin with a password is there already");
        }
        // Only the newest one counts: an older one may stand in a log.
        self.tables.login_links.remove_if(|_, link| link.user == FIRST_USER);
        self.check_room_for_link(&secret)?;
        let known = self.tables.users.get(&FIRST_USER.to_owned());
        match known.map(|row| row.role == Role::Admin && !row.disabled) {
            Some(true) => {}
            Some(false) => {
                return conflict(format!(
                    "user {FIRST_USER} is not an admin any more: on the collector's host let another admin in"
                ));
            }
            None => {
                self.create_user(FIRST_USER, Role::Admin, &Scope::All)?;
            }
        }
        self.add_link(secret, FIRST_USER)
    }

    /// Nobody could log in and let others in.
    fn spare_last_admin(&self, user: &str) -> Result<(), Refused> {
        let is_admin = |row: &UserRow| row.role == Role::Admin && !row.disabled;
        let mut admins = self.tables.users.iter().filter(|(_, row)| is_admin(row)).map(|(name, _)| name);
        match (admins.next(), admins.next()) {
            (Some(last), None) if last == user => {
                conflict(format!("user {user} is the last admin: make another one first"))
            }
            _ => Ok(()),
        }
    }

    fn check_room_for_link(&mut self, secret: &SecretHash) -> Result<(), Refused> {
        let at = self.at;
        self.tables.login_links.remove_if(|_, link| at >= link.expires);
        if self.tables.login_links.len() >= LOGIN_LINKS_MAX {
            return full(LOGIN_LINKS_MAX, "login links", format!("one is over within {LOGIN_LINK_LIFE}"));
        }
        if self.tables.login_links.get(secret).is_some() {
            return conflict("this login link is there already");
        }
        Ok(())
    }

    fn add_link(&mut self, secret: SecretHash, user: &str) -> Answer {
        self.check_room_for_link(&secret)?;
        let expires = self.at + LOGIN_LINK_LIFE;
        let row = LoginLinkRow { user: user.to_owned(), expires, created_by: self.who() };
        self.tables.login_links.insert(secret, row);
        self.after = format!("one login within {LOGIN_LINK_LIFE}");
        Ok(Granted::Made { done: format!("login link for user {user} made"), expires })
    }

    pub(crate) fn user_mut(&mut self, user: &str) -> Result<&mut UserRow, Refused> {
        let found = self.tables.users.get_mut(&user.to_owned());
        found.ok_or_else(|| Refused::NotFound(format!("user {user}")))
    }
}
