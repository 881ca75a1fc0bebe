//! API tokens: of services, with rights of their own; of users, for their tools.

use super::{check_id, check_life, check_name, conflict, done, full, invalid};
use crate::access::Work;
use crate::answer::{Answer, Granted, Refused};
use crate::event::{Grant, NewApiToken, NewUserToken};
use crate::limits::{API_TOKEN_LIFE_MAX, API_TOKENS_MAX, API_TOKENS_PER_USER_MAX};
use crate::principal::Scope;
use crate::rows::ApiTokenRow;

impl Work<'_> {
    pub(crate) fn create_api_token(&mut self, new: &NewApiToken) -> Answer {
        check_name("name of an API token", &new.name)?;
        match new.grant {
            Grant::Permissions(set) if set.is_empty() => return invalid("an API token needs a role or permissions"),
            Grant::Permissions(set) => {
                if let Some(permission) = set.iter().find(|permission| permission.is_for_people()) {
                    return invalid(format!("no API token of a service may have {permission}: it is for people"));
                }
            }
            Grant::Role(_) => {}
        }
        self.after = match new.grant {
            Grant::Role(role) => format!("{} as {role}, scope {}, for {}", new.name, new.scope, new.life),
            Grant::Permissions(set) => {
                let words: Vec<&str> = set.iter().map(|permission| permission.word()).collect();
                format!("{} with {}, scope {}, for {}", new.name, words.join(" "), new.scope, new.life)
            }
        };
        let row = ApiTokenRow {
            id: new.id.clone(),
            name: new.name.clone(),
            grant: Some(new.grant),
            user: None,
            scope: new.scope.clone(),
            created: self.at,
            created_by: self.who(),
            expires: self.at + new.life,
            revoked: false,
        };
        self.add_token(row, new.secret, new.life)
    }

    /// A tool's token, for whoever has just proved a password. It may what its user
    /// may, as long as the user may.
    pub(crate) fn login_token(&mut self, new: &NewUserToken) -> Answer {
        self.check_verified(&new.user, &new.verified)?;
        if new.purpose.chars().count() > crate::limits::NAME_MAX_BYTES {
            return invalid("the purpose is too long");
        }
        let at = self.at;
        let own = self.tables.api_tokens.iter().map(|(_, row)| row);
        let own = own.filter(|row| row.user.as_deref() == Some(&new.user) && !row.revoked && at < row.expires);
        if own.count() >= API_TOKENS_PER_USER_MAX {
            return full(API_TOKENS_PER_USER_MAX, "tokens of this user's tools", "revoke some");
        }
        self.after = format!("token {} for {:?}, for {}", new.id, new.purpose, new.life);
        let row = ApiTokenRow {
            id: new.id.clone(),
            name: new.purpose.clone(),
            grant: None,
            user: Some(new.user.clone()),
            scope: Scope::All,
            created: at,
            created_by: new.user.clone(),
            expires: at + new.life,
            revoked: false,
        };
        self.add_token(row, new.secret, new.life)
    }

    fn add_token(
        &mut self,
        row: ApiTokenRow,
        secret: crate::secret::SecretHash,
        life: signalbox_proto::units::Millis,
    ) -> Answer {
        check_id("an API token", &row.id)?;
        check_life("an API token", life, API_TOKEN_LIFE_MAX)?;
        let at = self.at;
        if self.tables.api_tokens.len() >= API_TOKENS_MAX {
            self.tables.api_tokens.remove_if(|_, row| row.revoked || at >= row.expires);
        }
        if self.tables.api_tokens.len() >= API_TOKENS_MAX {
            return full(API_TOKENS_MAX, "API tokens", "revoke some");
        }
        let is_known = self.tables.api_tokens.iter().any(|(_, known)| known.id == row.id);
        if is_known || self.tables.api_tokens.get(&secret).is_some() {
            return conflict(format!("there is an API token {} already", row.id));
        }
        let (id, expires) = (row.id.clone(), row.expires);
        self.tables.api_tokens.insert(secret, row);
        Ok(Granted::Made { done: format!("API token {id} made"), expires })
    }

    /// An admin revokes anybody's; everybody their own.
    pub(crate) fn revoke_api_token(&mut self, id: &str) -> Answer {
        let found = self.tables.api_tokens.iter().find(|(_, row)| row.id == id).map(|(key, row)| (*key, row.clone()));
        let is_own = found.as_ref().is_some_and(|(_, row)| row.user.as_deref().is_some_and(|user| self.is_own(user)));
        if !is_own {
            self.may_manage_users()?;
        }
        let Some((key, row)) = found else { return Err(Refused::NotFound(format!("API token {id}"))) };
        if row.revoked {
            return conflict(format!("API token {id} is revoked already"));
        }
        if let Some(row) = self.tables.api_tokens.get_mut(&key) {
            row.revoked = true;
        }
        self.before = match row.user {
            Some(user) => format!("token of user {user}"),
            None => format!("token {}", row.name),
        };
        self.after = "revoked".to_owned();
        done(format!("API token {id} revoked"))
    }

    /// Those of the user's tools.
    pub(crate) fn revoke_tokens_of(&mut self, user: &str) -> usize {
        self.revoke_tokens_if(|row| row.user.as_deref() == Some(user))
    }

    /// Those of services that the user made: nobody else answers for them.
    pub(crate) fn revoke_tokens_made_by(&mut self, user: &str) -> usize {
        self.revoke_tokens_if(|row| row.user.is_none() && row.created_by == user)
    }

    fn revoke_tokens_if(&mut self, goes: impl Fn(&ApiTokenRow) -> bool) -> usize {
        let own = self.tables.api_tokens.iter().filter(|(_, row)| goes(row) && !row.revoked);
        let keys: Vec<_> = own.map(|(key, _)| *key).collect();
        for key in &keys {
            if let Some(row) = self.tables.api_tokens.get_mut(key) {
                row.revoked = true;
            }
        }
        keys.len()
    }
}
