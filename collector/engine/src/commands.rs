//! What operators do: checked, and done or refused.

use crate::decision::{Answer, CommandError};
use crate::event::{Act, Command};
use crate::incidents::MACHINE;
use crate::state::Incident;
use crate::work::Work;
use signalbox_proto::api::{Done, IncidentLabel, IncidentState, Snooze};
use signalbox_proto::names::AgentId;
use signalbox_proto::selector::Selector;
use signalbox_proto::status::{AgentState, Level};
use signalbox_proto::units::Millis;

/// Characters of an author, an assignee, a reason or a note.
const TEXT_MAX_CHARS: usize = 4096;
/// The longest snooze: what is quiet for longer should be a rule edit.
const SNOOZE_MAX: Millis = Millis::from_mins(366 * 24 * 60);
/// Snoozes in force at once.
const SNOOZES_MAX: usize = 1000;

impl Work<'_> {
    /// Does what an operator asks, or says why not. The record of it is the writer's.
    pub(crate) fn command(&mut self, command: &Command) {
        let answer =
            check_text("the author", &command.author, true).and_then(|()| self.act(&command.author, &command.act));
        self.answers.push(answer);
    }

    fn act(&mut self, author: &str, act: &Act) -> Answer {
        match act {
            Act::Acknowledge { incident, text } => self.acknowledge(author, *incident, text),
            Act::Assign { incident, assignee, text } => self.assign(author, *incident, assignee, text),
            Act::Note { incident, text } => {
                check_text("the note", text, true)?;
                self.existing(*incident)?;
                self.write_line(*incident, self.now, "note", author, text);
                done(format!("noted on INC-{incident}"))
            }
            Act::Close { incident, label, text } => self.close(author, *incident, *label, text),
            Act::Snooze { scope, only, span, reason } => self.snooze(author, (scope, only), *span, reason),
            Act::EndSnooze { id, reason } => self.end_snooze(author, *id, reason),
            Act::RetireAgent { agent, reason } => self.retire(author, agent, reason),
        }
    }

    fn existing(&mut self, number: u64) -> Result<&mut Incident, CommandError> {
        self.incidents.get_mut(&number).ok_or_else(|| CommandError::NotFound(format!("incident INC-{number}")))
    }

    fn acknowledge(&mut self, author: &str, number: u64, text: &str) -> Answer {
        check_text("the text", text, false)?;
        let now = self.now;
        let incident = self.existing(number)?;
        match incident.view.state {
            IncidentState::Detected => {}
            IncidentState::Acknowledged => {
                return conflict(format!("INC-{number} is acknowledged by {} already", incident.view.acknowledged_by));
            }
            IncidentState::Restored => return conflict(format!("INC-{number} is restored already")),
            IncidentState::Closed => return conflict(format!("INC-{number} is closed already")),
        }
        incident.view.state = IncidentState::Acknowledged;
        incident.view.acknowledged.get_or_insert(now);
        incident.view.acknowledged_by = author.to_owned();
        if incident.view.assignee.is_empty() {
            incident.view.assignee = author.to_owned();
        }
        self.write_line(number, now, "acknowledged", author, text);
        done(format!("INC-{number} acknowledged by {author}"))
    }

    fn assign(&mut self, author: &str, number: u64, assignee: &str, text: &str) -> Answer {
        check_text("the assignee", assignee, true)?;
        check_text("the text", text, false)?;
        let now = self.now;
        let incident = self.existing(number)?;
        if incident.view.state == IncidentState::Closed {
            return conflict(format!("INC-{number} is closed already"));
        }
        incident.view.assignee = assignee.to_owned();
        let words = if text.is_empty() { format!("to {assignee}") } else { format!("to {assignee}: {text}") };
        self.write_line(number, now, "assigned", author, &words);
        done(format!("INC-{number} assigned to {assignee}"))
    }

    fn close(&mut self, author: &str, number: u64, label: IncidentLabel, text: &str) -> Answer {
        check_text("the reason", text, label != IncidentLabel::Real)?;
        let now = self.now;
        let incident = self.existing(number)?;
        let open = incident.is_open();
        if incident.view.state == IncidentState::Closed && incident.view.label.is_some() {
            return conflict(format!("INC-{number} is closed already"));
        }
        if open && label == IncidentLabel::Real && incident.view.level > Level::Green {
            return conflict(format!(
                "INC-{number} is {} still: it can be closed as real once it is restored",
                incident.view.level
            ));
        }
        let view = &incident.view;
        let what = if view.item.is_empty() { view.entity.clone() } else { view.item.clone() };
        let still = (open && view.level > Level::Green).then_some((what, view.level));
        incident.view.state = IncidentState::Closed;
        incident.view.closed.get_or_insert(now);
        incident.view.label = Some(label);
        incident.view.label_reason = text.to_owned();
        let word = label_word(label);
        let words = if text.is_empty() { word.to_owned() } else { format!("{word}: {text}") };
        self.write_line(number, now, "closed", author, &words);
        if open {
            self.tell_closed(number, format!("closed by {author}: {words}"));
        }
        self.forget_if_old(number);
        let still = still.map(|(what, level)| {
            format!("; {what} is {level} still: nobody has it, and nobody is told before it was green once")
        });
        done(format!("INC-{number} closed as {word}{}", still.unwrap_or_default()))
    }

    fn snooze(&mut self, author: &str, (scope, only): (&str, &[String]), span: Millis, reason: &str) -> Answer {
        check_text("the reason", reason, true)?;
        check_text("the scope", scope, true)?;
        if span == Millis::ZERO || span > SNOOZE_MAX {
            return Err(CommandError::Invalid(format!("a snooze lasts from 1ms to {SNOOZE_MAX}, not {span}")));
        }
        if !scope.contains('/') || scope.contains('{') && !scope.contains(':') {
            // Neither an entity nor an item: it must point at series.
            if let Err(error) = Selector::parse(scope) {
                return Err(CommandError::Invalid(format!("the scope is no item, entity or selector: {error}")));
            }
        }
        let live = self.snoozes.keys().into_iter().filter_map(|id| self.snoozes.get(&id).cloned());
        if live.filter(|snooze| crate::snoozes::in_force(snooze, self.now)).count() >= SNOOZES_MAX {
            self.meta.limits.snoozes.meet(self.now);
            return conflict(format!("{SNOOZES_MAX} snoozes are in force already: end some first"));
        }
        self.meta.snoozes += 1;
        let id = self.meta.snoozes;
        let (from, until) = (self.now, self.now + span);
        let (scope, author, reason) = (scope.to_owned(), author.to_owned(), reason.to_owned());
        let within = if only.is_empty() {
            self.unmet(&scope)
        } else {
            format!("; {} items within your scope, and none that comes later", only.len())
        };
        let words = format!("snooze {id} on {scope} for {span}{within}");
        let only = only.to_vec();
        self.snoozes.insert(id, Snooze { id, scope, only, author, reason, from, until, ended: None });
        self.wake_snooze(id);
        Ok(Done { done: words, id: Some(id) })
    }

    fn end_snooze(&mut self, author: &str, id: u64, reason: &str) -> Answer {
        check_text("the reason", reason, false)?;
        let now = self.now;
        let Some(snooze) = self.snoozes.get_mut(&id) else {
            return Err(CommandError::NotFound(format!("snooze {id}")));
        };
        if !crate::snoozes::in_force(snooze, now) {
            return conflict(format!("snooze {id} is over already"));
        }
        snooze.ended = Some(now);
        self.snooze_due(id);
        done(format!("snooze {id} ended by {author}"))
    }

    fn retire(&mut self, author: &str, agent: &AgentId, reason: &str) -> Answer {
        check_text("the reason", reason, false)?;
        let state = self.agents.get(agent).map(|agent| agent.state);
        match state {
            None => return Err(CommandError::NotFound(format!("agent {agent}"))),
            Some(AgentState::Retired) => return conflict(format!("agent {agent} is retired already")),
            Some(AgentState::Up) => {
                return conflict(format!("agent {agent} is up: stop it first, or it would come back at once"));
            }
            Some(_) => {}
        }
        let why = if reason.is_empty() { format!("by {author}") } else { format!("by {author}: {reason}") };
        self.retire_agent(agent, &why);
        done(format!("agent {agent} retired by {author}"))
    }
}

/// The word of a label.
pub(crate) fn label_word(label: IncidentLabel) -> &'static str {
    match label {
        IncidentLabel::Real => "real",
        IncidentLabel::False => "false",
        IncidentLabel::Noisy => "noisy",
    }
}

fn done(words: String) -> Answer {
    Ok(Done { done: words, id: None })
}

fn conflict(words: String) -> Answer {
    Err(CommandError::Conflict(words))
}

fn check_text(what: &str, text: &str, needed: bool) -> Result<(), CommandError> {
    if needed && text.trim().is_empty() {
        return Err(CommandError::Invalid(format!("{what} is empty")));
    }
    if text.chars().count() > TEXT_MAX_CHARS {
        return Err(CommandError::Invalid(format!("{what} is over the limit of {TEXT_MAX_CHARS} characters")));
    }
    if text == MACHINE && what == "the author" {
        return Err(CommandError::Invalid(format!("the author {MACHINE:?} is kept for the collector itself")));
    }
    Ok(())
}
