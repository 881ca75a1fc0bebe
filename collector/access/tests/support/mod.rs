//! Tables with a clock that stands still, and short words for what people do.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use signalbox_access::access::Access;
use signalbox_access::event::{ApprovalRequest, Enrolment, Grant, NewApiToken, NewJoinToken, PasswordHash};
use signalbox_access::limits::CERTIFICATE_LIFE;
use signalbox_access::rows::Table;
use signalbox_access::{
    AccessAct, AccessEvent, AccessView, Answer, AuditKey, AuditLine, Caller, Granted, KeyFingerprint, Principal,
    Refused, Role, Scope, SecretHash,
};
use signalbox_proto::join::Refusal;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;

pub const START: UnixMillis = UnixMillis(1_795_400_000_000);
pub const HOUR: Millis = Millis::from_mins(60);
pub const DAY: Millis = Millis::from_mins(24 * 60);

pub fn audit_key() -> AuditKey {
    AuditKey::new([7; 32])
}

pub fn secret(text: &str) -> SecretHash {
    SecretHash::of(text.as_bytes())
}

pub fn key(text: &str) -> KeyFingerprint {
    KeyFingerprint::of_spki(text.as_bytes())
}

pub fn agent(name: &str) -> AgentId {
    AgentId::parse(name).unwrap()
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap()
}

pub fn password(text: &str) -> PasswordHash {
    PasswordHash(format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA${text}"))
}

pub fn admin() -> Caller {
    Caller::new(Principal::local("root", Role::Admin), "unix:uid=0")
}

pub fn nobody() -> Caller {
    Caller::new(Principal::nobody(), "192.0.2.9")
}

/// Every row that a disk would hold.
pub type Disk = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

pub struct World {
    pub access: Access,
    pub at: UnixMillis,
    pub disk: Disk,
    pub lines: Vec<AuditLine>,
}

impl World {
    pub fn new() -> World {
        let (access, fault) = Access::restore(no_rows(), None, audit_key()).unwrap();
        assert_eq!(fault, None);
        World { access, at: START, disk: Disk::new(), lines: Vec::new() }
    }

    /// Decides, keeps, adopts.
    pub fn turn(&mut self, events: &[AccessEvent]) -> Vec<Answer> {
        let decision = self.access.decide(events);
        for row in decision.rows() {
            let place = (row.table, row.key.clone());
            match &row.value {
                Some(value) => self.disk.insert(place, value.clone()),
                None => self.disk.remove(&place),
            };
        }
        self.lines.extend_from_slice(decision.lines());
        let answers = decision.answers().to_vec();
        self.access.adopt(decision);
        answers
    }

    pub fn by(&mut self, caller: &Caller, act: AccessAct) -> Answer {
        let event = AccessEvent { at: self.at, caller: caller.clone(), act };
        self.turn(&[event]).remove(0)
    }

    pub fn admin(&mut self, act: AccessAct) -> Answer {
        self.by(&admin(), act)
    }

    pub fn pass(&mut self, span: Millis) {
        self.at = self.at + span;
    }

    pub fn view(&self) -> AccessView {
        self.access.view()
    }

    /// A new life from what the disk holds.
    pub fn restart(&mut self) {
        let rows = self.disk.iter().map(|((table, key), value)| (*table, key.clone(), value.clone()));
        let (access, fault) = Access::restore(rows, self.lines.last(), audit_key()).unwrap();
        assert_eq!(fault, None);
        self.access = access;
    }

    pub fn last(&self) -> &AuditLine {
        self.lines.last().unwrap()
    }

    pub fn user(&mut self, name: &str, role: Role) {
        let act = AccessAct::CreateUser { name: name.to_owned(), role, scope: Scope::All };
        self.admin(act).unwrap();
        let act = AccessAct::SetPassword { user: name.to_owned(), hash: password(name), verified: None };
        self.admin(act).unwrap();
    }

    /// A session of a user made by [`World::user`], as a caller.
    pub fn login(&mut self, name: &str, session: &str) -> Caller {
        let act = AccessAct::Login { user: name.to_owned(), verified: password(name), session: secret(session) };
        self.by(&nobody(), act).unwrap();
        let principal = self.view().principal_of_session(&secret(session), self.at).unwrap();
        Caller::new(principal, "192.0.2.1")
    }

    pub fn join_token(&mut self, change: impl FnOnce(&mut NewJoinToken)) -> Answer {
        let mut new = new_join_token();
        change(&mut new);
        self.admin(AccessAct::CreateJoinToken(new))
    }

    pub fn enrol(&mut self, change: impl FnOnce(&mut Enrolment)) -> Answer {
        let mut enrolment = Enrolment {
            is_local: false,
            token: "t1".to_owned(),
            secret: secret("t1"),
            agent: agent("web1"),
            key: key("web1"),
            labels: Labels::default(),
            remote: Some("192.0.2.5".parse().unwrap()),
            not_after: self.at + CERTIFICATE_LIFE,
        };
        change(&mut enrolment);
        self.by(&nobody(), AccessAct::Enrol(enrolment))
    }

    pub fn request(&mut self, name: &str, remote: &str) -> Answer {
        let request = ApprovalRequest {
            agent: agent(name),
            key: key(name),
            csr_der: vec![1, 2, 3],
            labels: labels(&[("site", "lab")]),
            remote: Some(remote.parse().unwrap()),
        };
        self.by(&nobody(), AccessAct::RequestApproval(request))
    }

    pub fn renew(&mut self, name: &str, old: &str, new: &str) -> Answer {
        let not_after = self.at + CERTIFICATE_LIFE;
        let caller = Caller::new(Principal::agent(&agent(name)), "192.0.2.5");
        self.by(&caller, AccessAct::Renew { agent: agent(name), old: key(old), new: key(new), not_after })
    }

    pub fn api_token(&mut self, change: impl FnOnce(&mut NewApiToken)) -> Answer {
        let mut new = NewApiToken {
            id: "a1".to_owned(),
            secret: secret("a1"),
            name: "deploy".to_owned(),
            grant: Grant::Role(Role::Operator),
            scope: Scope::All,
            life: DAY,
        };
        change(&mut new);
        self.admin(AccessAct::CreateApiToken(new))
    }
}

pub fn no_rows() -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    Vec::new()
}

pub fn new_join_token() -> NewJoinToken {
    NewJoinToken {
        id: "t1".to_owned(),
        secret: secret("t1"),
        life: HOUR,
        uses: 1,
        labels: Labels::default(),
        cidrs: Vec::new(),
        agent: None,
    }
}

/// What an agent would be told.
pub fn refusal(answer: Answer) -> Refusal {
    match answer {
        Err(Refused::Join { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

pub fn is_identity(answer: &Answer) -> bool {
    matches!(answer, Ok(Granted::Identity { .. }))
}
