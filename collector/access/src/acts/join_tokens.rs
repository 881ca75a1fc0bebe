//! Join tokens, and how one becomes an identity.

use super::{check_end, check_id, check_life, conflict, done, full, invalid};
use crate::access::Work;
use crate::answer::{Answer, Granted, Refused};
use crate::event::{Enrolment, NewJoinToken};
use crate::limits::{
    CERTIFICATE_LIFE, CIDRS_MAX, JOIN_TOKEN_LIFE_MAX, JOIN_TOKEN_SHOWN, JOIN_TOKEN_USES_MAX, JOIN_TOKENS_MAX,
};
use crate::rows::{JoinTokenRow, KeyState};
use core::net::IpAddr;
use ipnet::IpNet;
use signalbox_proto::join::Refusal;
use signalbox_proto::names::Labels;
use signalbox_proto::units::UnixMillis;

impl Work<'_> {
    pub(crate) fn create_join_token(&mut self, new: &NewJoinToken) -> Answer {
        check_id("a join token", &new.id)?;
        check_life("a join token", new.life, JOIN_TOKEN_LIFE_MAX)?;
        if new.uses == 0 || new.uses > JOIN_TOKEN_USES_MAX {
            return invalid(format!("a join token lets 1 to {JOIN_TOKEN_USES_MAX} agents in, not {}", new.uses));
        }
        if new.agent.is_some() && new.uses != 1 {
            return invalid("a join token for one agent has one use");
        }
        if new.cidrs.len() > CIDRS_MAX {
            return invalid(format!("{} networks are over the limit of {CIDRS_MAX} a join token", new.cidrs.len()));
        }
        if self.tables.join_tokens.get(&new.id).is_some() {
            return conflict(format!("there is a join token {} already", new.id));
        }
        let at = self.at;
        if self.tables.join_tokens.len() >= JOIN_TOKENS_MAX {
            self.tables.join_tokens.remove_if(|_, token| at >= token.expires || token.uses_left == 0);
        }
        if self.tables.join_tokens.len() >= JOIN_TOKENS_MAX {
            return full(JOIN_TOKENS_MAX, "join tokens", "wait until some are over");
        }
        let expires = at + new.life;
        let row = JoinTokenRow {
            secret: new.secret,
            created: at,
            created_by: self.who(),
            expires,
            uses_left: new.uses,
            labels: new.labels.clone(),
            cidrs: new.cidrs.clone(),
            agent: new.agent.clone(),
            revoked: false,
        };
        self.after = describe(&row, new.life.to_string());
        self.tables.join_tokens.insert(new.id.clone(), row);
        Ok(Granted::Made { done: format!("join token {} made", new.id), expires })
    }

    pub(crate) fn revoke_join_token(&mut self, id: &str) -> Answer {
        let at = self.at;
        let Some(token) = self.tables.join_tokens.get_mut(&id.to_owned()) else {
            return Err(Refused::NotFound(format!("join token {id}")));
        };
        if token.revoked {
            return conflict(format!("join token {id} is revoked already"));
        }
        if at >= token.expires || token.uses_left == 0 {
            return conflict(format!("join token {id} is over already"));
        }
        self.before = format!("{} uses left", token.uses_left);
        token.revoked = true;
        self.after = "revoked".to_owned();
        done(format!("join token {id} revoked"))
    }

    /// Counts a use down and binds the key, or says why not. A caller who does not
    /// know the secret learns nothing, not even whether there is such a token.
    /// Those that the user made let nobody in any more.
    pub(crate) fn revoke_join_tokens_made_by(&mut self, user: &str) -> usize {
        let made = self.tables.join_tokens.iter().filter(|(_, row)| row.created_by == user && !row.revoked);
        let ids: Vec<_> = made.map(|(id, _)| id.clone()).collect();
        for id in &ids {
            if let Some(row) = self.tables.join_tokens.get_mut(id) {
                row.revoked = true;
            }
        }
        ids.len()
    }

    pub(crate) fn enrol(&mut self, enrolment: &Enrolment) -> Answer {
        check_end(self.event.at, enrolment.not_after, CERTIFICATE_LIFE)?;
        let Some(token) = self.tables.join_tokens.get(&enrolment.token) else {
            return refused(Refusal::NotAccepted, "there is no such join token");
        };
        if token.secret != enrolment.secret {
            return refused(Refusal::NotAccepted, format!("wrong secret for join token {}", enrolment.token));
        }
        let by = format!("join-token:{} of {}", enrolment.token, token.created_by);
        let is_repeat = self.is_repeat(enrolment, &by);
        check_use(token, enrolment, is_repeat, self.at)?;
        if is_repeat {
            return self.join_again(enrolment);
        }
        let named = token.agent.is_some();
        if enrolment.is_local && !named {
            let why = format!(
                "agent {} streams over the Unix socket; a token that names it may take it over",
                enrolment.agent
            );
            return refused(Refusal::NameTaken, why);
        }
        let allowed = token.labels.clone();
        let labels = self.bind(&enrolment.agent, &enrolment.key, enrolment.not_after, &allowed, &by, named)?;
        if let Some(token) = self.tables.join_tokens.get_mut(&enrolment.token) {
            token.uses_left -= 1;
        }
        self.after = format!("key {} by {by}", enrolment.key);
        Ok(Granted::Identity { agent: enrolment.agent.clone(), labels })
    }

    /// The same agent joined with the same key and token, and never used the key: the
    /// answer was lost on its way.
    fn is_repeat(&self, enrolment: &Enrolment, by: &str) -> bool {
        let bound = self.tables.keys.get(&enrolment.key);
        let identity = self.tables.agents.get(&enrolment.agent);
        bound.is_some_and(|row| row.agent == enrolment.agent && row.state == KeyState::Active && !row.used)
            && identity.is_some_and(|row| row.revoked.is_none() && row.joined_by == by)
    }

    /// Costs no use, and binds nothing that is not bound.
    fn join_again(&mut self, enrolment: &Enrolment) -> Answer {
        if let Some(row) = self.tables.keys.get_mut(&enrolment.key) {
            row.not_after = enrolment.not_after;
        }
        let agent = enrolment.agent.clone();
        let labels = self.tables.agents.get(&agent).map_or_else(Labels::default, |row| row.labels.clone());
        self.after = format!("key {} again: it had no answer", enrolment.key);
        Ok(Granted::Identity { agent, labels })
    }

    pub(crate) fn sweep_join_tokens(&mut self) {
        let at = self.at;
        self.tables.join_tokens.remove_if(|_, token| at >= token.expires + JOIN_TOKEN_SHOWN);
    }
}

pub(super) fn refused<T>(refusal: Refusal, why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Join { refusal, why: why.into() })
}

/// Everything but the secret. A repeat needs no use that is left.
fn check_use(token: &JoinTokenRow, enrolment: &Enrolment, is_repeat: bool, at: UnixMillis) -> Result<(), Refused> {
    let id = &enrolment.token;
    if token.revoked {
        return refused(Refusal::TokenRevoked, format!("join token {id} is revoked"));
    }
    if at >= token.expires {
        return refused(Refusal::TokenExpired, format!("join token {id} has expired"));
    }
    if token.uses_left == 0 && !is_repeat {
        return refused(Refusal::TokenUsed, format!("join token {id} is used up"));
    }
    if !is_inside(&token.cidrs, enrolment.remote) {
        return refused(Refusal::AddressNotAllowed, format!("join token {id} is not for this address"));
    }
    if token.agent.as_ref().is_some_and(|agent| *agent != enrolment.agent) {
        return refused(Refusal::NameNotAllowed, format!("join token {id} is for another agent"));
    }
    if let Some(name) = first_not_allowed(&enrolment.labels, &token.labels) {
        return refused(Refusal::LabelsNotAllowed, format!("join token {id} does not allow label {name:?}"));
    }
    Ok(())
}

/// True when the address lies in one of the networks, or there are none. An address
/// that is not known lies in none.
fn is_inside(cidrs: &[IpNet], remote: Option<IpAddr>) -> bool {
    let remote = remote.map(|remote| remote.to_canonical());
    cidrs.is_empty() || remote.is_some_and(|remote| cidrs.iter().any(|cidr| cidr.contains(&remote)))
}

/// The first of these labels that is not among the allowed ones, value and all.
pub(crate) fn first_not_allowed<'a>(labels: &'a Labels, allowed: &Labels) -> Option<&'a str> {
    labels.iter().find(|(name, value)| allowed.get(name) != Some(value)).map(|(name, _)| name)
}

fn describe(row: &JoinTokenRow, life: String) -> String {
    let cidrs: Vec<String> = row.cidrs.iter().map(ToString::to_string).collect();
    let from = if cidrs.is_empty() { "any address".to_owned() } else { cidrs.join(", ") };
    let agent = row.agent.as_ref().map_or_else(|| "any agent".to_owned(), |agent| format!("agent {agent}"));
    format!("{} uses in {life} for {agent} from {from}, labels {}", row.uses_left, row.labels)
}
