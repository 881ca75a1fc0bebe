//! Sessions: begun by a password or a link, kept alive by use, ended.

use super::done;
use crate::access::Work;
use crate::answer::{Answer, Granted, Refused};
use crate::event::PasswordHash;
use crate::limits::{SESSION_LIFE, SESSIONS_MAX, SESSIONS_PER_USER_MAX, TOUCH_EVERY};
use crate::rows::{SessionRow, UserRow};
use crate::secret::SecretHash;
use crate::view::session_end;

impl Work<'_> {
    pub(crate) fn use_login_link(&mut self, secret: &SecretHash, session: SecretHash) -> Answer {
        let Some(link) = self.tables.login_links.get(secret).filter(|link| self.at < link.expires) else {
            return Err(Refused::Login("there is no such login link, or it is over".to_owned()));
        };
        let user = link.user.clone();
        self.may_log_in(&user)?;
        self.tables.login_links.remove(secret);
        self.begin_session(&user, session, true)
    }

    /// The shell has checked the password against `verified`, which must be what is
    /// kept still: it may have changed meanwhile.
    pub(crate) fn login(&mut self, user: &str, verified: &PasswordHash, session: SecretHash) -> Answer {
        self.check_verified(user, verified)?;
        self.begin_session(user, session, false)
    }

    pub(crate) fn check_verified(&self, user: &str, verified: &PasswordHash) -> Result<(), Refused> {
        let row = self.may_log_in(user)?;
        if row.password.as_ref() != Some(verified) {
            return Err(Refused::Login(format!("the password of user {user} has just changed")));
        }
        Ok(())
    }

    fn may_log_in(&self, user: &str) -> Result<&UserRow, Refused> {
        let row = self.tables.users.get(&user.to_owned());
        let row = row.ok_or_else(|| Refused::Login(format!("there is no user {user}")))?;
        if row.disabled {
            return Err(Refused::Login(format!("user {user} is disabled")));
        }
        Ok(row)
    }

    fn begin_session(&mut self, user: &str, session: SecretHash, by_link: bool) -> Answer {
        if self.tables.sessions.get(&session).is_some() {
            return Err(Refused::Conflict("this session is there already".to_owned()));
        }
        self.make_room(user)?;
        let at = self.at;
        let from = self.event.caller.from.clone();
        let row = SessionRow { user: user.to_owned(), begun: at, used: at, from, by_link };
        self.tables.sessions.insert(session, row);
        let account = self.user_mut(user)?;
        let (role, must_set_password) = (account.role, account.password.is_none());
        self.after = format!("session of user {user}");
        Ok(Granted::Session { user: user.to_owned(), role, must_set_password, expires: at + SESSION_LIFE })
    }

    /// A user's oldest session goes for the newest; all users together have a limit.
    fn make_room(&mut self, user: &str) -> Result<(), Refused> {
        let at = self.at;
        if self.tables.sessions.len() >= SESSIONS_MAX {
            self.tables.sessions.remove_if(|_, row| at >= session_end(row));
        }
        let own = self.tables.sessions.iter().filter(|(_, row)| row.user == user);
        let mut own: Vec<_> = own.map(|(key, row)| (row.used, *key)).collect();
        own.sort();
        let n_over = (own.len() + 1).saturating_sub(SESSIONS_PER_USER_MAX);
        for (_, key) in &own[..n_over] {
            self.tables.sessions.remove(key);
        }
        if self.tables.sessions.len() >= SESSIONS_MAX {
            return super::full(SESSIONS_MAX, "sessions", "wait until some are over");
        }
        Ok(())
    }

    /// Whoever holds the session may end it, known or not: logging out always works.
    pub(crate) fn end_session(&mut self, session: &SecretHash) -> Answer {
        let Some(row) = self.tables.sessions.get(session) else { return Ok(Granted::Nothing) };
        self.before = format!("session of user {}", row.user);
        self.tables.sessions.remove(session);
        done("logged out")
    }

    pub(crate) fn end_sessions(&mut self, user: &str) -> Answer {
        self.user_mut(user)?;
        let n_ended = self.end_sessions_of(user, None);
        self.after = format!("{n_ended} sessions ended");
        done(format!("{n_ended} sessions of user {user} ended"))
    }

    pub(crate) fn end_sessions_of(&mut self, user: &str, but: Option<SecretHash>) -> usize {
        self.tables.sessions.remove_if(|key, row| row.user == user && Some(*key) != but)
    }

    /// Written down once a minute at most: requests must not cost a commit each.
    pub(crate) fn touch_session(&mut self, session: &SecretHash) -> Answer {
        let at = self.at;
        let is_due = |row: &SessionRow| at < session_end(row) && at.since(row.used) >= TOUCH_EVERY;
        if self.tables.sessions.get(session).is_some_and(is_due)
            && let Some(row) = self.tables.sessions.get_mut(session)
        {
            row.used = at;
        }
        Ok(Granted::Nothing)
    }
}
