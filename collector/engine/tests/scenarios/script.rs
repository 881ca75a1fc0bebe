//! Reads a script line by line and does what it says.

use crate::world::{Way, World};
use signalbox_engine::config;
use signalbox_engine::event::{Act, DeliveryOutcome};
use signalbox_proto::api::{IncidentLabel, IncidentState, Outcome};
use signalbox_proto::names::{AgentId, Labels, METRIC_NAME};
use signalbox_proto::selector::{Selector, Test};
use signalbox_proto::text::parse_span;
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;

/// Virtual time 0 of a script: 2026-01-01T00:00:00Z.
const START: UnixMillis = UnixMillis(1_767_225_600_000);

type Outcomes = Result<(), String>;

/// Runs a script; the error begins with the line's number.
pub(crate) fn run(text: &str, way: Way) -> Outcomes {
    let mut world = World::new(way, START);
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_end();
        at += 1;
        let here = |error: String| format!("{at}: {line}\n    {error}");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "rules:" {
            let end = lines[at..].iter().position(|next| !next.is_empty() && !next.starts_with(' '));
            let end = end.map_or(lines.len(), |n| at + n);
            rules(&mut world, &lines[at..end].join("\n")).map_err(here)?;
            at = end;
            continue;
        }
        if !line.starts_with("expect refused") {
            no_refusals(&mut world).map_err(here)?;
        }
        step(&mut world, line).map_err(here)?;
    }
    no_refusals(&mut world)
}

fn no_refusals(world: &mut World) -> Outcomes {
    match world.answers.drain(..).find_map(Result::err) {
        Some(error) => Err(format!("the command before was refused: {error}")),
        None => Ok(()),
    }
}

/// The block is a list of rules, or a whole configuration, indented by two.
fn rules(world: &mut World, block: &str) -> Outcomes {
    let body: Vec<&str> = block.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    let mut text = body.join("\n");
    if text.trim_start().starts_with("- ") {
        text = format!("rules:\n{text}\nchannels: [{{name: ops}}]\nroutes: [{{channel: ops}}]\n");
    }
    let files = BTreeMap::from([("rules.yaml".to_owned(), text)]);
    let (set, findings) = config::parse(&files);
    world.take_rules(set.ok_or_else(|| format!("the rules are refused: {findings:#?}"))?);
    Ok(())
}

fn step(world: &mut World, line: &str) -> Outcomes {
    let (word, rest) = cut(line);
    match word {
        "at" => {
            let to = START + span(rest)?;
            if to < world.now {
                return Err("time does not go back".to_owned());
            }
            world.go_to(to);
        }
        "agent" => agent(world, rest)?,
        "load" => {
            let (interval, rest) = cut(rest);
            let (agent, labels, values) = series_values(rest)?;
            world.load(&agent, &labels, span(interval)?, &values);
        }
        "backfill" => {
            let (interval, rest) = cut(rest);
            let (from, rest) = cut(rest);
            let (agent, labels, values) = series_values(rest)?;
            world.backfill(&agent, &labels, span(interval)?, START + span(from)?, &values);
        }
        "gone" => {
            let (agent, rest) = cut(rest);
            world.gone(&series(&id(agent)?, rest)?);
        }
        "restart" => world.restart(),
        "ingest" => match rest {
            "pauses" => world.ingest_pauses(true),
            "goes on" => world.ingest_pauses(false),
            other => return Err(format!("ingest does not {other:?}")),
        },
        "by" => command(world, rest)?,
        "channels" if rest == "wait" => world.channels_wait = true,
        "deliver" => deliver(world, rest)?,
        "expect" => expect(world, rest)?,
        other => return Err(format!("there is no word {other:?}")),
    }
    Ok(())
}

fn agent(world: &mut World, rest: &str) -> Outcomes {
    let (name, rest) = cut(rest);
    let agent = id(name)?;
    let (verb, rest) = cut(rest);
    match verb {
        "connects" => {
            let (mut pairs, mut offset_ms) = (Vec::new(), 0);
            for word in rest.split_whitespace() {
                let (name, value) = word.split_once('=').ok_or("write label=value")?;
                match name {
                    "clock" => offset_ms = -signed(value)?,
                    _ => pairs.push((name.to_owned(), value.to_owned())),
                }
            }
            world.connect(&agent, Labels::new(pairs).map_err(show)?, offset_ms);
        }
        "disconnects" => world.disconnect(&agent, None),
        "stops" => world.disconnect(&agent, Some(rest.to_owned())),
        "silent" => world.speaks(&agent, false),
        "speaks" => world.speaks(&agent, true),
        "steps" => world.step_clock(&agent, signed(rest)?),
        other => return Err(format!("agents do not {other:?}")),
    }
    Ok(())
}

fn command(world: &mut World, rest: &str) -> Outcomes {
    let (author, rest) = cut(rest);
    let (verb, rest) = cut(rest);
    let (object, rest) = cut(rest);
    let author = if author == "nobody" { "" } else { author };
    let text = rest.to_owned();
    let act = match verb {
        "ack" => Act::Acknowledge { incident: number(object)?, text },
        "note" => Act::Note { incident: number(object)?, text },
        "assign" => {
            let (assignee, text) = cut(rest);
            Act::Assign { incident: number(object)?, assignee: assignee.to_owned(), text: text.to_owned() }
        }
        "close" => {
            let (label, text) = cut(rest);
            let label = match label {
                "real" => IncidentLabel::Real,
                "false" => IncidentLabel::False,
                "noisy" => IncidentLabel::Noisy,
                other => return Err(format!("there is no label {other:?}")),
            };
            Act::Close { incident: number(object)?, label, text: text.to_owned() }
        }
        "snooze" => {
            let (length, reason) = cut(rest);
            Act::Snooze { scope: object.to_owned(), only: Vec::new(), span: span(length)?, reason: reason.to_owned() }
        }
        "unsnooze" => Act::EndSnooze { id: object.parse().map_err(show)?, reason: text },
        "retire" => Act::RetireAgent { agent: id(object)?, reason: text },
        other => return Err(format!("nobody can {other:?}")),
    };
    world.command(author, act);
    Ok(())
}

/// `deliver INC-1 raised accepted|failed|refused`: the latest such notice.
fn deliver(world: &mut World, rest: &str) -> Outcomes {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let [incident, transition, outcome] = words[..] else { return Err("write INC-1 raised accepted".to_owned()) };
    let wanted =
        |notice: &&signalbox_engine::decision::Notice| notice.incident == incident && notice.transition == transition;
    let key = world.told.iter().rev().find(wanted).ok_or("there was no such notice")?.key.clone();
    let outcome = match outcome {
        "accepted" => DeliveryOutcome::Accepted { answer: "200 OK".to_owned() },
        "failed" => DeliveryOutcome::Failed { error: "connection refused".to_owned() },
        "refused" => DeliveryOutcome::Refused { error: "400 no such user".to_owned() },
        other => return Err(format!("there is no outcome {other:?}")),
    };
    world.deliver(&key, outcome);
    Ok(())
}

fn expect(world: &mut World, rest: &str) -> Outcomes {
    let (what, rest) = cut(rest);
    match what {
        "refused" => {
            let error = world.answers.drain(..).find_map(Result::err).ok_or("nothing was refused")?.to_string();
            return if error.contains(rest) { Ok(()) } else { Err(format!("refused, but with: {error}")) };
        }
        "notice" => {
            world.look();
            let notice = world.notices.pop_front().ok_or("nobody was told anything")?;
            let told =
                format!("{} {} {} attempt {}", notice.transition, notice.incident, notice.channel, notice.attempt);
            return if told.starts_with(rest) { Ok(()) } else { Err(format!("the next notice is: {told}")) };
        }
        "no" if rest == "notices" => {
            world.look();
            return match world.notices.front() {
                Some(notice) => Err(format!("somebody was told: {} {}", notice.transition, notice.incident)),
                None => Ok(()),
            };
        }
        _ => {}
    }
    let board = world.look();
    match what {
        "item" => {
            let (wanted, words) = item_id(rest);
            let item = board.item(wanted).ok_or_else(|| {
                let items = board.status.entities.iter().flat_map(|entity| &entity.items);
                format!("there is no such item, but {:?}", items.map(|item| item.id.as_str()).collect::<Vec<_>>())
            })?;
            let mut shown = vec![item.level.word(), item.freshness.word()];
            shown.extend(item.flapping.then_some("flapping"));
            shown.extend(item.pending.map(|_| "pending"));
            shown.extend(item.amber_hidden.then_some("hidden"));
            shown.extend((!item.snoozes.is_empty()).then_some("snoozed"));
            all_of(words, &shown)
        }
        "entity" => {
            let (wanted, words) = cut(rest);
            let entity = board.entity(wanted).ok_or("there is no such entity")?;
            let shown = vec![
                entity.level.word(),
                if entity.grey { "grey" } else { "known" },
                &entity.owner,
                entity.layer.word(),
            ];
            let (words, why) = words.split_once("because ").unwrap_or((words, ""));
            all_of(words, &shown).map_err(|error| format!("{error}: {}", entity.why))?;
            if entity.why.contains(why) { Ok(()) } else { Err(format!("but because {:?}", entity.why)) }
        }
        "agent" => {
            let (wanted, words) = cut(rest);
            let agent = board.agents.iter().find(|agent| agent.id.as_str() == wanted);
            all_of(words, &[agent.map_or("hidden", |agent| agent.state.word())])
        }
        "incident" => incident(&board, rest),
        "ledger" => ledger(&board, rest),
        "no" => no_such(&board, rest),
        other => Err(format!("there is no {other:?} to expect")),
    }
}

fn incident(board: &signalbox_engine::Board, rest: &str) -> Outcomes {
    let (wanted, words) = cut(rest);
    let incident = board.incident(number(wanted)?).ok_or("there is no such incident")?;
    if let Some(title) = words.strip_prefix("titled ") {
        return if incident.title == title { Ok(()) } else { Err(format!("its title is {:?}", incident.title)) };
    }
    if let Some(line) = words.strip_prefix("says ") {
        let found = incident
            .timeline
            .iter()
            .any(|entry| format!("{} {}: {}", entry.kind, entry.author, entry.text).contains(line));
        return if found { Ok(()) } else { Err(format!("its timeline is {:#?}", incident.timeline)) };
    }
    let state = match incident.state {
        IncidentState::Detected => "detected",
        IncidentState::Acknowledged => "acknowledged",
        IncidentState::Restored => "restored",
        IncidentState::Closed => "closed",
    };
    let since = |at: UnixMillis| Millis(u64::try_from(at.0 - START.0).unwrap_or(0));
    let symptom = format!("symptom={}", since(incident.first_symptom));
    let raised = format!("raised={}", since(incident.detected));
    let over = incident.restored.map(|at| format!("over={}", since(at))).unwrap_or_default();
    let (rule, entity) = (format!("rule={}", incident.rule), format!("on={}", incident.entity));
    let assignee = format!("assignee={}", incident.assignee);
    let worst = format!("worst={}", incident.worst);
    let reopened = format!("reopened={}", incident.n_reopened);
    let owner = format!("owner={}", incident.owner);
    let late = if incident.late { "late" } else { "live" };
    let shown = [
        state,
        incident.level.word(),
        late,
        &symptom,
        &raised,
        &over,
        &rule,
        &entity,
        &assignee,
        &worst,
        &reopened,
        &owner,
    ];
    all_of(words, &shown)
}

fn ledger(board: &signalbox_engine::Board, rest: &str) -> Outcomes {
    let (wanted, rest) = cut(rest);
    let (transition, rest) = cut(rest);
    let (outcome, reason) = cut(rest);
    let incident = board.incident(number(wanted)?).ok_or("there is no such incident")?;
    let word = |outcome: Outcome| format!("{outcome:?}").to_lowercase();
    let fits = |line: &&signalbox_proto::api::LedgerLine| {
        line.transition == transition && word(line.outcome) == outcome && line.reason.contains(reason)
    };
    match incident.ledger.iter().find(fits) {
        Some(_) => Ok(()),
        None => Err(format!("its ledger is {:#?}", incident.ledger)),
    }
}

fn no_such(board: &signalbox_engine::Board, rest: &str) -> Outcomes {
    let (what, rest) = cut(rest);
    let there = match what {
        "item" => board.item(rest).is_some(),
        "incident" => board.incident(number(rest)?).is_some(),
        "incidents" => !board.incidents.is_empty(),
        other => return Err(format!("there is no {other:?} to miss")),
    };
    if there { Err("there is one".to_owned()) } else { Ok(()) }
}

fn all_of(wanted: &str, shown: &[&str]) -> Outcomes {
    let missing = wanted.split_whitespace().find(|word| match word.strip_prefix("not-") {
        Some(unwanted) => shown.contains(&unwanted),
        None => !shown.contains(word),
    });
    match missing {
        Some(word) => Err(format!("not {word}, but {}", shown.join(" "))),
        None => Ok(()),
    }
}

/// An item's id may hold blanks within its braces.
fn item_id(text: &str) -> (&str, &str) {
    match text.find('}') {
        Some(end) if text[..end].contains('{') => (&text[..=end], text[end + 1..].trim()),
        _ => cut(text),
    }
}

fn cut(text: &str) -> (&str, &str) {
    text.trim().split_once(' ').map_or((text.trim(), ""), |(word, rest)| (word, rest.trim()))
}

fn show(error: impl ToString) -> String {
    error.to_string()
}

fn span(text: &str) -> Result<Millis, String> {
    parse_span(text).map_err(show)
}

fn signed(text: &str) -> Result<i64, String> {
    let (sign, rest) =
        if let Some(rest) = text.strip_prefix('-') { (-1, rest) } else { (1, text.trim_start_matches('+')) };
    Ok(sign * i64::try_from(span(rest)?.0).map_err(show)?)
}

fn id(text: &str) -> Result<AgentId, String> {
    AgentId::parse(text).map_err(show)
}

fn number(text: &str) -> Result<u64, String> {
    text.trim_start_matches("INC-").parse().map_err(show)
}

/// A series as a selector writes it, with the host's label added.
fn series(agent: &AgentId, text: &str) -> Result<Labels, String> {
    let selector = Selector::parse(text).map_err(show)?;
    let mut pairs = vec![("host".to_owned(), agent.to_string())];
    for matcher in selector.matchers() {
        let Test::Is(value) = &matcher.test else { return Err("write name=\"value\"".to_owned()) };
        pairs.push((matcher.label.clone(), value.clone()));
    }
    debug_assert!(pairs.iter().any(|(name, _)| name == METRIC_NAME));
    Labels::new(pairs).map_err(show)
}

/// `web1 name{label="value"} 1 2 3x10 _x5`: `_` is no sample, `NaN` is one.
fn series_values(text: &str) -> Result<(AgentId, Labels, Vec<Option<f64>>), String> {
    let (agent, rest) = cut(text);
    let agent = id(agent)?;
    let (name, words) = item_id(rest);
    let mut values = Vec::new();
    for word in words.split_whitespace() {
        let (value, times) = word.split_once('x').unwrap_or((word, "1"));
        let value = if value == "_" { None } else { Some(value.parse::<f64>().map_err(show)?) };
        values.extend(std::iter::repeat_n(value, times.parse::<usize>().map_err(show)?));
    }
    Ok((agent.clone(), series(&agent, name)?, values))
}
