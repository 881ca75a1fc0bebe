//! Users, tokens, identities and the audit.

use super::push_wrapped;
use super::table::{Column, Field, table};
use crate::look::{Look, Shown};
use crate::text::clean;
use crate::when::{age, dated, rfc3339};
use signalbox_proto::api::{
    AgentIdentity, ApiToken, AuditEntry, AuditVerdict, CaReport, JoinToken, PendingAgent, User, WhoAmI,
};
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;

use Column::{Number, Tight, Wide};

fn plain(text: &str) -> Field {
    Field::plain(clean(text))
}

/// `a, b`; `all` for none.
fn or_all(list: &[String]) -> String {
    if list.is_empty() { "all".to_owned() } else { clean(&list.join(" or ")).into_owned() }
}

fn pairs(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    clean(&pairs.join(" ")).into_owned()
}

/// Until when something may be used.
fn standing(look: &Look, revoked: bool, expires: UnixMillis) -> Field {
    if revoked {
        Field::painted(Shown::Grey, "revoked")
    } else if expires <= look.now {
        Field::painted(Shown::Grey, "over")
    } else {
        Field::plain(age(look.now, expires))
    }
}

/// Who asks, and what they may do.
pub fn whoami(look: &Look, who: &WhoAmI) -> String {
    let role = who.role.map_or_else(|| "permissions of its own".to_owned(), |role| role.to_string());
    let mut out = format!("{}  {role} from {}\n", look.strong(&clean(&who.name)), clean(&who.from));
    push_wrapped(&mut out, look, 2, "may:   ", &clean(&who.permissions.join(", ")));
    push_wrapped(&mut out, look, 2, "scope: ", &or_all(&who.scope));
    out
}

/// Join tokens, the newest first.
pub fn join_tokens(look: &Look, tokens: &[JoinToken]) -> String {
    if tokens.is_empty() {
        return "there is no join token; make one with: signalbox join-token create\n".to_owned();
    }
    let titles =
        [Tight("ID"), Number("LEFT"), Tight("UNTIL"), Tight("BY"), Wide("AGENT"), Wide("LABELS"), Wide("FROM")];
    let row = |token: &JoinToken| {
        vec![
            plain(&token.id),
            Field::plain(token.uses_left.to_string()),
            standing(look, token.revoked, token.expires),
            plain(&token.created_by),
            plain(token.agent.as_deref().unwrap_or("any")),
            Field::plain(pairs(&token.labels)),
            Field::plain(if token.cidrs.is_empty() { "anywhere".to_owned() } else { or_all(&token.cidrs) }),
        ]
    };
    table(look, &titles, tokens.iter().map(row).collect())
}

/// Agents that wait.
pub fn pending(look: &Look, agents: &[PendingAgent]) -> String {
    if agents.is_empty() {
        return "no agent waits for approval\n".to_owned();
    }
    let mut out = String::new();
    for agent in agents {
        let state =
            if agent.approved { "approved, has not come with its certificate yet" } else { "waits for approval" };
        out.push_str(&format!("{}  {state}\n", look.strong(&clean(&agent.agent))));
        push_wrapped(&mut out, look, 2, "from ", &format!("{}, {}", clean(&agent.from), dated(look.now, agent.asked)));
        if !agent.labels.is_empty() {
            push_wrapped(&mut out, look, 2, "labels ", &pairs(&agent.labels));
        }
        // Never wrapped: it is compared digit by digit and copied whole.
        out.push_str(&format!("  key  {}\n", clean(&agent.fingerprint)));
    }
    out.push_str("compare the key with the one that the host prints, then: signalbox agents approve KEY\n");
    out
}

/// Identities by agent.
pub fn keys(look: &Look, keys: &[AgentIdentity]) -> String {
    if keys.is_empty() {
        return "no agent has an identity\n".to_owned();
    }
    let titles = [Tight("AGENT"), Tight("STATE"), Tight("CERTIFICATE"), Tight("JOINED"), Tight("KEY"), Wide("LABELS")];
    let row = |key: &AgentIdentity| {
        let shown = match key.state.as_str() {
            "active" if key.not_after > look.now => Shown::Green,
            "active" => Shown::Amber,
            _ => Shown::Grey,
        };
        vec![
            plain(&key.agent),
            Field::painted(shown, clean(&key.state)),
            standing(look, false, key.not_after),
            Field::plain(rfc3339(key.joined)),
            Field::plain(clean(key.fingerprint.get(..16).unwrap_or(&key.fingerprint))),
            Field::plain(pairs(&key.labels)),
        ]
    };
    table(look, &titles, keys.iter().map(row).collect())
}

/// Users by name.
pub fn users(look: &Look, users: &[User]) -> String {
    if users.is_empty() {
        return "there is no user; add one with: signalbox users add NAME --role ROLE\n".to_owned();
    }
    let titles = [Tight("NAME"), Tight("ROLE"), Tight("STATE"), Number("SESSIONS"), Tight("SINCE"), Wide("SCOPE")];
    let row = |user: &User| {
        let (shown, state) = match (user.disabled, user.has_password) {
            (true, _) => (Shown::Grey, "disabled"),
            (false, true) => (Shown::Green, "active"),
            (false, false) => (Shown::Amber, "no password"),
        };
        vec![
            plain(&user.name),
            Field::plain(user.role.word()),
            Field::painted(shown, state),
            Field::plain(user.n_sessions.to_string()),
            Field::plain(rfc3339(user.created)),
            Field::plain(or_all(&user.scope)),
        ]
    };
    table(look, &titles, users.iter().map(row).collect())
}

/// API tokens, the newest first.
pub fn tokens(look: &Look, tokens: &[ApiToken]) -> String {
    if tokens.is_empty() {
        return "there is no API token\n".to_owned();
    }
    let titles = [Tight("ID"), Tight("NAME"), Tight("UNTIL"), Tight("USER"), Tight("BY"), Wide("MAY"), Wide("SCOPE")];
    let row = |token: &ApiToken| {
        let may = match (token.role, &token.user) {
            (Some(role), _) => role.word().to_owned(),
            (None, Some(_)) => "as the user".to_owned(),
            (None, None) => clean(&token.permissions.join(", ")).into_owned(),
        };
        vec![
            plain(&token.id),
            plain(&token.name),
            standing(look, token.revoked, token.expires),
            plain(token.user.as_deref().unwrap_or("")),
            plain(&token.created_by),
            Field::plain(may),
            Field::plain(or_all(&token.scope)),
        ]
    };
    table(look, &titles, tokens.iter().map(row).collect())
}

/// Lines of the record.
pub fn audit(look: &Look, lines: &[AuditEntry]) -> String {
    if lines.is_empty() {
        return "there is no such line\n".to_owned();
    }
    let mut out = String::new();
    for line in lines {
        let role = if line.role.is_empty() { String::new() } else { format!(" ({})", clean(&line.role)) };
        let head = format!("{:>6}  {}  ", line.no, rfc3339(line.at));
        let mut text = format!("{}{role} from {}: {}", clean(&line.who), clean(&line.from), clean(&line.act));
        if !line.object.is_empty() {
            text.push_str(&format!(" {}", clean(&line.object)));
        }
        if !line.before.is_empty() || !line.after.is_empty() {
            text.push_str(&format!(" [{} -> {}]", clean(&line.before), clean(&line.after)));
        }
        text.push_str(&format!(": {}", clean(&line.result)));
        push_wrapped(&mut out, look, 0, &head, &text);
    }
    out
}

/// Whether the record is whole.
pub fn verdict(look: &Look, verdict: &AuditVerdict) -> String {
    if verdict.whole {
        let mark = look.paint(Shown::Green, &format!("{} whole", Shown::Green.symbol()));
        let since = if verdict.first > 1 { format!(" from line {} on", verdict.first) } else { String::new() };
        let (n, head) = (verdict.n_lines, clean(&verdict.head));
        return format!("{mark}: {n} lines{since}, each as it was written, head {head}\n");
    }
    let mark = look.paint(Shown::Red, &format!("{} not whole", Shown::Red.symbol()));
    format!("{mark} after {} good lines: {}\n", verdict.n_lines, clean(&verdict.fault))
}

/// The certificate authority in words; the certificates themselves go apart.
pub fn ca(look: &Look, ca: &CaReport) -> String {
    let whose = if ca.external { "the site's own" } else { "made by this collector" };
    let mut out = format!("installation {}, certificate authority {whose}\n", clean(&ca.installation));
    for root in &ca.roots {
        let state = if root.issues { "issues" } else { "is trusted" };
        let until = dated(look.now, root.dropped.unwrap_or(root.not_after));
        let then = if root.dropped.is_some() { ", then dropped (sooner: signalbox ca drop)" } else { "" };
        out.push_str(&format!("root {} {state} until {until}{then}\n", clean(&root.pin)));
    }
    let names = clean(&ca.server_names.join(", ")).into_owned();
    out.push_str(&format!("the collector's certificate is good until {}", dated(look.now, ca.server_not_after)));
    out.push_str(&format!(" for {names}\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{ago, look};
    use super::*;
    use signalbox_proto::api::Role;
    use signalbox_proto::units::Millis;

    const HOSTILE: &str = "a\u{1b}[2Jb";

    #[test]
    fn users_are_listed_with_what_stops_them() {
        let user = |name: &str, disabled, has_password, scope: &[&str]| User {
            name: name.to_owned(),
            role: Role::ChangeManager,
            scope: scope.iter().map(|text| (*text).to_owned()).collect(),
            disabled,
            has_password,
            created: ago(7200),
            created_by: "admin".to_owned(),
            n_sessions: 2,
        };
        let users_of = [
            user("ada", false, true, &[]),
            user(HOSTILE, true, true, &["{owner=\"dba\"}"]),
            user("new", false, false, &[]),
        ];
        let text = users(&look(200), &users_of);
        assert!(!text.contains('\u{1b}') && text.contains("a\\u{1b}[2Jb"), "{text}");
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1][..4], ["ada", "change_manager", "active", "2"]);
        assert!(words[2].contains(&"disabled") && words[2].contains(&"{owner=\"dba\"}"));
        assert!(text.contains("no password"));
    }

    #[test]
    fn what_is_over_and_what_is_revoked_is_said() {
        let now = look(80).now;
        let token = |expires, revoked| JoinToken { id: "k3".to_owned(), expires, revoked, ..JoinToken::default() };
        let text = join_tokens(&look(200), &[token(now + Millis(60_000), false), token(now, false), token(now, true)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("in 1m") && lines[2].contains("over") && lines[3].contains("revoked"), "{text}");
    }

    #[test]
    fn a_pending_key_is_never_broken() {
        let fingerprint = "ab".repeat(32);
        let agent =
            PendingAgent { fingerprint: fingerprint.clone(), agent: HOSTILE.to_owned(), ..PendingAgent::default() };
        let labels = [("owner".to_owned(), HOSTILE.to_owned())].into();
        let text = pending(&look(40), &[PendingAgent { labels, ..agent }]);
        assert!(text.contains(&fingerprint) && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains("labels owner=a\\u{1b}[2Jb"), "who approves sees what it lets the agent say: {text}");
        assert!(text.contains("signalbox agents approve KEY"));
    }

    #[test]
    fn a_line_of_the_audit_says_who_what_and_what_came_of_it() {
        let line = AuditEntry {
            no: 7,
            at: ago(60),
            who: "ada".to_owned(),
            role: "admin".to_owned(),
            from: "192.0.2.7".to_owned(),
            act: "set role".to_owned(),
            object: "user:bob".to_owned(),
            before: "viewer".to_owned(),
            after: "operator".to_owned(),
            result: "done".to_owned(),
            ..AuditEntry::default()
        };
        let text = audit(&Look { width: None, ..look(80) }, &[line]);
        assert!(text.ends_with("ada (admin) from 192.0.2.7: set role user:bob [viewer -> operator]: done\n"), "{text}");
        assert!(text.starts_with("     7  2"), "{text}");
    }

    #[test]
    fn a_record_that_is_not_whole_names_the_line() {
        let bad = AuditVerdict { n_lines: 3, fault: "line 4 is missing".to_owned(), ..AuditVerdict::default() };
        assert_eq!(verdict(&look(80), &bad), "● not whole after 3 good lines: line 4 is missing\n");
        let good = AuditVerdict { whole: true, n_lines: 3, head: "ab".to_owned(), ..AuditVerdict::default() };
        assert_eq!(verdict(&look(80), &good), "✓ whole: 3 lines, each as it was written, head ab\n");
        let trimmed = AuditVerdict { first: 8, ..good };
        assert!(verdict(&look(80), &trimmed).contains("3 lines from line 8 on,"));
    }
}
