//! Agents: who is up, who is behind, who lost something.

use super::push_wrapped;
use super::table::{Column, Field, table};
use crate::look::{Look, Shown};
use crate::text::clean;
use crate::when::age;
use signalbox_proto::api::Agent;

/// One row for each, worst first; failing checks below.
pub fn list(look: &Look, agents: &[Agent]) -> String {
    if agents.is_empty() {
        return "no agent has spoken so far\n".to_owned();
    }
    let mut sorted: Vec<&Agent> = agents.iter().collect();
    sorted.sort_by_key(|agent| (std::cmp::Reverse(Shown::of_agent(agent.state)), agent.id.clone()));
    use Column::{Number, Tight, Wide};
    let titles = [
        Tight("AGENT"),
        Tight("STATE"),
        Number("FOR"),
        Number("HEARD"),
        Wide("VERSION"),
        Number("CLOCK"),
        Number("BACKLOG"),
        Number("DROPPED"),
        Tight("INC"),
    ];
    let mut out = table(look, &titles, sorted.iter().map(|agent| row(look, agent)).collect());
    for agent in sorted {
        for (check, error) in &agent.failing_checks {
            let label = format!("! {} {}: ", clean(agent.id.as_str()), clean(check));
            push_wrapped(&mut out, look, 0, &label, &clean(error));
        }
    }
    out
}

fn row(look: &Look, agent: &Agent) -> Vec<Field> {
    let shown = Shown::of_agent(agent.state);
    vec![
        Field::plain(clean(agent.id.as_str())),
        Field::painted(shown, format!("{} {}", shown.symbol(), agent.state.word().replace('_', " "))),
        Field::plain(age(look.now, agent.since)),
        Field::plain(age(look.now, agent.last_heard)),
        Field::plain(clean(&agent.version)),
        Field::plain(format!("{:+}ms", agent.clock_offset_ms)),
        Field::plain(agent.n_backlog.to_string()),
        Field::plain(agent.n_dropped.to_string()),
        Field::plain(agent.incident.map(|n| n.to_string()).unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{ago, look};
    use super::*;
    use expect_test::expect;
    use signalbox_proto::names::AgentId;
    use signalbox_proto::status::AgentState;

    fn agent(id: &str, state: AgentState) -> Agent {
        Agent {
            id: AgentId::parse(id).unwrap(),
            state,
            since: ago(7200),
            last_heard: ago(1),
            version: "0.1.0".to_owned(),
            boot_id: String::new(),
            labels: Default::default(),
            clock_offset_ms: -12,
            n_backlog: 0,
            n_dropped: 0,
            checks: vec![],
            failing_checks: Default::default(),
            incident: None,
        }
    }

    #[test]
    fn a_list_reads_at_80_columns_worst_first() {
        let mut sick = agent("web1", AgentState::Up);
        sick.version = "0.1.0\u{1b}[2J".to_owned();
        sick.failing_checks.insert("disk".to_owned(), "cannot read /proc/diskstats\u{7}".to_owned());
        let mut lost = agent("db1.example.org", AgentState::Unreachable);
        lost.incident = Some(18);
        lost.n_dropped = 1200;
        let agents = [sick, agent("new1", AgentState::NeverSeen), lost, agent("app1", AgentState::Missing)];
        expect![[r#"
            AGENT            STATE          FOR  HEARD  VERS  CLOCK  BACKLOG  DROPPED  INC
                                                        ION
            db1.example.org  ● unreachable   2h     1s  0.1.  -12ms        0     1200  18
                                                        0
            app1             ▲ missing       2h     1s  0.1.  -12ms        0        0
                                                        0
            new1             ? never seen    2h     1s  0.1.  -12ms        0        0
                                                        0
            web1             ✓ up            2h     1s  0.1.  -12ms        0        0
                                                        0\u{
                                                        1b}[
                                                        2J
            ! web1 disk: cannot read /proc/diskstats\u{7}
        "#]]
        .assert_eq(&list(&look(80), &agents));
    }

    #[test]
    fn no_agent_is_said() {
        assert_eq!(list(&look(80), &[]), "no agent has spoken so far\n");
    }
}
