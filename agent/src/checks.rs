//! Which checks the configuration asks for.

use crate::check::application::process::{SCAN_EVERY, process_checks};
use crate::check::own::{Own, OwnCounters};
use crate::check::script::{OWN_PROGRAM, ScriptCheck};
use crate::check::{self, Check, Pattern, ProcessSpec};
use crate::config::{Config, ConfigError, Process, ProcessMatch};
use crate::sampler::Slot;
use signalbox_proto::limits::CHECKS_PER_AGENT_MAX;
use signalbox_proto::units::Millis;
use std::path::Path;
use std::sync::Arc;

/// Makes the checks of a configuration: the machine, the processes, the scripts, the agent itself.
///
/// # Errors
/// [`ConfigError::UnknownCheck`] when a machine check is named that does not exist,
/// [`ConfigError::TooManyChecks`].
pub(crate) fn build(config: &Config, counters: &Arc<OwnCounters>) -> Result<Vec<Slot>, ConfigError> {
    let machine = check::machine_checks(Path::new("/"), &config.machine.network_ignore);
    let known: Vec<&str> = machine.iter().map(|check| check.name()).collect();
    let named = config.machine.disable.iter().chain(config.machine.intervals.keys());
    for name in named {
        if !known.contains(&name.as_str()) {
            return Err(ConfigError::UnknownCheck { name: name.clone(), known: known.join(", ") });
        }
    }
    let interval = |check: &dyn Check| -> Millis {
        config.machine.intervals.get(check.name()).copied().unwrap_or(config.machine.interval)
    };
    let mut slots: Vec<Slot> = machine
        .into_iter()
        .filter(|check| !config.machine.disable.contains(check.name()))
        .map(|check| {
            let interval = interval(check.as_ref());
            Slot::new(check, interval)
        })
        .collect();
    let specs = config.processes.iter().map(spec).collect();
    let watches = process_checks(Path::new("/"), specs);
    slots.extend(watches.into_iter().zip(&config.processes).map(|(check, own)| Slot::new(check, own.interval)));
    slots.extend(config.scripts.iter().map(|spec| {
        let check = ScriptCheck::new(spec.clone(), Path::new(OWN_PROGRAM));
        Slot::new(Box::new(check), spec.interval)
    }));
    slots.push(Slot::new(Box::new(Own::new(Arc::clone(counters))), config.machine.interval));
    // A Hello that names more is refused, each time.
    if slots.len() > CHECKS_PER_AGENT_MAX {
        return Err(ConfigError::TooManyChecks { n: slots.len(), limit: CHECKS_PER_AGENT_MAX });
    }
    Ok(slots)
}

fn spec(process: &Process) -> ProcessSpec {
    let pattern = match &process.by {
        ProcessMatch::Name(name) => Pattern::Name(name.clone()),
        ProcessMatch::Pattern(text) => Pattern::command(text).expect("it was compiled when the configuration was read"),
        ProcessMatch::PidFile(path) => Pattern::PidFile(path.clone()),
        ProcessMatch::Unit(unit) => Pattern::Unit(unit.clone()),
    };
    ProcessSpec { name: process.name.clone(), pattern, scan_every: SCAN_EVERY }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, load};

    fn built(n_processes: usize) -> Result<Vec<Slot>, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.yaml");
        let watch = |n| format!("  - {{name: p{n}, match: {{name: p{n}}}}}\n");
        let text: String = (0..n_processes).map(watch).collect();
        std::fs::write(&file, format!("agent_id: web1\nprocesses:\n{text}")).unwrap();
        build(&load(Some(&file), &Overrides::default()).unwrap(), &Arc::default())
    }

    #[test]
    fn more_checks_than_a_collector_takes_are_refused_with_the_remedy() {
        let n_others = built(1).unwrap().len() - 1;
        let n_most = CHECKS_PER_AGENT_MAX - n_others;
        assert_eq!(built(n_most).unwrap().len(), CHECKS_PER_AGENT_MAX);
        let error = built(n_most + 1).err().unwrap().to_string();
        assert!(error.starts_with("1025 checks are configured, the limit is 1024: remove processes"), "{error}");
    }
}
