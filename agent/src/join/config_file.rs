//! Writes what a join decided into the agent's configuration, and nothing else.
//!
//! The text is edited, not written anew: remarks and all other settings stay. The
//! result is loaded and compared with what was there before it takes the file's
//! place; a file whose form this cannot edit is left alone with the line to write.

use crate::config::{self, Config, ConfigError, Endpoint, Overrides};
use signalbox_proto::names::AgentId;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// First lines of a file that was not there.
const HEAD: &str = "# Written by signalbox-agent join. All settings: docs/reference-config.md\n";

/// What shall stand in the file.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) collector: Endpoint,
    pub(crate) agent_id: Option<AgentId>,
    pub(crate) data_dir: Option<PathBuf>,
    /// Name and value, checked.
    pub(crate) labels: Vec<(String, String)>,
}

/// Why the file is left as it is.
#[derive(Debug, Error)]
pub(crate) enum PlanError {
    /// The configuration is not good, with or without the change.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A setting is there with another value.
    #[error("{path}:{line}: {key} is {found}, and join was told {wanted}; change the file, or leave the option away")]
    Other {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        line: usize,
        /// Which setting.
        key: &'static str,
        /// Its value there.
        found: String,
        /// The value that was asked for.
        wanted: String,
    },
    /// Another file of `conf.d` sets it.
    #[error("collector is set in {path}; remove it there, and join again")]
    Elsewhere {
        /// Which.
        path: PathBuf,
    },
    /// The text has a form that is not edited.
    #[error(
        "{path} has a form that is not edited here; write this line into it and join again: collector: {collector}"
    )]
    Form {
        /// Which file.
        path: PathBuf,
        /// What to write.
        collector: String,
    },
    /// The file cannot be written.
    #[error("write {path}; run join as a user who may, or name another file with --config")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A changed file that waits to take the old one's place. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Plan {
    path: PathBuf,
    waiting: PathBuf,
    /// What is changed, as people read it; empty when nothing is.
    changes: Vec<String>,
    /// As it will be in force.
    pub(crate) config: Config,
}

impl Plan {
    /// Edits, writes beside the file, loads and compares. The file itself is not
    /// touched yet.
    ///
    /// # Errors
    /// [`PlanError`], with the remedy.
    pub(crate) fn make(path: &Path, settings: &Settings, overrides: &Overrides) -> Result<Plan, PlanError> {
        let failed = |source| PlanError::Write { path: path.to_owned(), source };
        let text = match fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }.into()),
        };
        // One that is refused for its collector alone is mended by the edit.
        let before = text.as_ref().map(|_| config::load(Some(path), overrides));
        let (edited, changes) = edit(path, text.as_deref(), settings)?;
        let waiting = path.with_extension("yaml.joining");
        write(&waiting, path, &edited).map_err(failed)?;
        let mut plan = match config::load(Some(&waiting), overrides) {
            Ok(config) => Plan { path: path.to_owned(), waiting, changes, config },
            Err(error) => {
                // It is beside the point whether this works; the error is what counts.
                let _ = fs::remove_file(&waiting);
                return Err(match (before, error) {
                    (Some(Err(error)), _) => error.into(),
                    (_, ConfigError::Conflict { key, second, .. }) if key == "collector" => {
                        PlanError::Elsewhere { path: second }
                    }
                    _ => form(path, settings),
                });
            }
        };
        let expected = before.and_then(Result::ok).map(|before| Config {
            collector: settings.collector.clone(),
            agent_id: plan.config.agent_id.clone(),
            data_dir: plan.config.data_dir.clone(),
            labels: if settings.labels.is_empty() { before.labels.clone() } else { plan.config.labels.clone() },
            ..before
        });
        if plan.config.collector != settings.collector || expected.is_some_and(|expected| expected != plan.config) {
            return Err(form(path, settings));
        }
        if text.as_deref() == Some(&edited) {
            plan.changes.clear();
        }
        Ok(plan)
    }

    /// Puts the changed file in place. Gives what was changed.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(crate) fn commit(self) -> Result<Vec<String>, PlanError> {
        if self.changes.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |source| PlanError::Write { path: self.path.clone(), source };
        fs::rename(&self.waiting, &self.path).map_err(failed)?;
        Ok(self.changes.clone())
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // Gone already after a commit.
        let _ = fs::remove_file(&self.waiting);
    }
}

fn form(path: &Path, settings: &Settings) -> PlanError {
    PlanError::Form { path: path.to_owned(), collector: settings.collector.to_string() }
}

/// Writes with the mode and owner of the file that it will replace.
fn write(waiting: &Path, of: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = of.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir)?;
    }
    let old = fs::metadata(of).ok();
    let _ = fs::remove_file(waiting);
    let mode = old.as_ref().map_or(0o644, |old| old.mode() & 0o777);
    let mut file = File::options().write(true).create_new(true).mode(mode).open(waiting)?;
    file.write_all(text.as_bytes())?;
    if let Some(old) = old
        && rustix::process::geteuid().is_root()
    {
        std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    file.sync_all()
}

/// The text with the settings in it, and what was changed.
fn edit(path: &Path, text: Option<&str>, settings: &Settings) -> Result<(String, Vec<String>), PlanError> {
    let mut lines: Vec<String> = text.unwrap_or(HEAD).lines().map(str::to_owned).collect();
    let mut changes = Vec::new();
    let wanted = settings.collector.to_string();
    match find(&lines, "collector") {
        None => {
            insert(&mut lines, "collector", &wanted);
            changes.push(format!("collector: {wanted}"));
        }
        Some((at, found)) if found != wanted => {
            lines[at] = format!("collector: {wanted}");
            changes.push(format!("collector: {wanted} (was {found})"));
        }
        Some(_) => {}
    }
    let data_dir = settings.data_dir.as_ref().map(|dir| dir.display().to_string());
    let agent_id = settings.agent_id.as_ref().map(ToString::to_string);
    for (key, wanted) in [("agent_id", agent_id), ("data_dir", data_dir)] {
        let Some(wanted) = wanted else { continue };
        match find(&lines, key) {
            None => {
                insert(&mut lines, key, &wanted);
                changes.push(format!("{key}: {wanted}"));
            }
            Some((_, found)) if found == wanted => {}
            Some((at, found)) => {
                return Err(PlanError::Other { path: path.to_owned(), line: at + 1, key, found, wanted });
            }
        }
    }
    if !settings.labels.is_empty() {
        if let Some((at, found)) = find(&lines, "labels") {
            let wanted = "--label".to_owned();
            return Err(PlanError::Other { path: path.to_owned(), line: at + 1, key: "labels", found, wanted });
        }
        lines.push("labels:".to_owned());
        let quoted = |value: &str| format!("'{}'", value.replace('\'', "''"));
        lines.extend(settings.labels.iter().map(|(name, value)| format!("  {name}: {}", quoted(value))));
        changes.push("labels".to_owned());
    }
    Ok((lines.join("\n") + "\n", changes))
}

/// The line of a top-level setting and its value, without quotes and remark.
fn find(lines: &[String], key: &str) -> Option<(usize, String)> {
    let value = |line: &String| line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':')).map(str::to_owned);
    let (at, value) = lines.iter().enumerate().find_map(|(at, line)| value(line).map(|value| (at, value)))?;
    let value = value.split(" #").next().unwrap_or_default().trim();
    let bare = value.trim_matches(|c| c == '"' || c == '\'');
    Some((at, bare.to_owned()))
}

/// Writes a setting below its commented example, or at the end.
fn insert(lines: &mut Vec<String>, key: &str, value: &str) {
    let example = format!("{key}:");
    let is_example = |line: &String| line.strip_prefix('#').is_some_and(|rest| rest.trim_start().starts_with(&example));
    let at = lines.iter().position(is_example).map_or(lines.len(), |at| at + 1);
    lines.insert(at, format!("{key}: {value}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn settings() -> Settings {
        let collector = Endpoint::parse("https://c.example").unwrap();
        Settings { collector, agent_id: None, data_dir: None, labels: Vec::new() }
    }

    /// What the file holds after a join, and what is said about it; or the refusal.
    fn joined(before: Option<&str>, settings: &Settings) -> Result<(String, Vec<String>), String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.yaml");
        if let Some(text) = before {
            fs::write(&path, text).unwrap();
        }
        let overrides = Overrides { joining: true, ..Overrides::default() };
        let made = Plan::make(&path, settings, &overrides);
        let unchanged = fs::read_to_string(&path).ok();
        assert_eq!(unchanged.as_deref(), before, "a plan changes nothing");
        let told =
            made.and_then(Plan::commit).map_err(|error| error.to_string().replace(dir.path().to_str().unwrap(), ""));
        let n_files = fs::read_dir(dir.path()).unwrap().count();
        assert!(n_files <= 1, "nothing is left over");
        told.map(|told| (fs::read_to_string(&path).unwrap(), told))
    }

    #[test]
    fn a_file_that_was_not_there_is_written() {
        let (text, told) = joined(None, &settings()).unwrap();
        assert_eq!(text, format!("{HEAD}collector: https://c.example:8441\n"));
        assert_eq!(told, ["collector: https://c.example:8441"]);
    }

    #[test]
    fn only_the_collector_changes_and_remarks_stay() {
        let before = "# mine\ninterval: 2s # slow\ncollector: unix:/run/x.sock  # here\nlabels: {region: eu}\n";
        let (text, told) = joined(Some(before), &settings()).unwrap();
        assert_eq!(text, "# mine\ninterval: 2s # slow\ncollector: https://c.example:8441\nlabels: {region: eu}\n");
        assert_eq!(told, ["collector: https://c.example:8441 (was unix:/run/x.sock)"]);
        assert_eq!(joined(Some(&text), &settings()).unwrap(), (text, Vec::new()), "a second join changes nothing");
    }

    #[test]
    fn a_setting_goes_below_its_example() {
        let (text, _) = joined(Some("#collector: unix:/x\ninterval: 2s\n"), &settings()).unwrap();
        assert_eq!(text, "#collector: unix:/x\ncollector: https://c.example:8441\ninterval: 2s\n");
    }

    #[test]
    fn options_of_the_join_are_written_down() {
        let mut settings = settings();
        settings.agent_id = Some(AgentId::parse("web-1").unwrap());
        settings.labels = vec![("owner".to_owned(), "it's us".to_owned())];
        let (text, told) = joined(Some("interval: 2s"), &settings).unwrap();
        assert!(text.ends_with("agent_id: web-1\nlabels:\n  owner: 'it''s us'\n"), "{text}");
        assert_eq!(told.len(), 3);
        let error = joined(Some("interval: 2s\nagent_id: db-1\n"), &settings).unwrap_err();
        assert!(error.contains("agent.yaml:2: agent_id is db-1, and join was told web-1"), "{error}");
        let error = joined(Some("labels: {a: b}\n"), &settings).unwrap_err();
        assert!(error.contains("agent.yaml:1: labels"), "{error}");
    }

    #[test]
    fn a_form_that_cannot_be_edited_is_left_alone_with_the_line_to_write() {
        for before in ["{interval: 2s}\n", "interval: 2s\n...\n", "\"collector\": unix:/x\n"] {
            let error = joined(Some(before), &settings()).unwrap_err();
            assert!(error.contains("write this line into it") && error.contains("collector: https://c"), "{error}");
        }
        let mended = joined(Some("collector: http://127.0.0.1:8441\n"), &settings()).unwrap();
        assert_eq!(mended.0, "collector: https://c.example:8441\n");
        let error = joined(Some("intervall: 2s\n"), &settings()).unwrap_err();
        assert!(error.contains("agent.yaml:1:1:"), "{error}");
    }

    #[test]
    fn a_collector_that_conf_d_sets_is_pointed_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.yaml");
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        fs::write(dir.path().join("conf.d/10.yaml"), "collector: unix:/x\n").unwrap();
        let overrides = Overrides { joining: true, ..Overrides::default() };
        let error = Plan::make(&path, &settings(), &overrides).unwrap_err().to_string();
        assert!(error.contains("conf.d/10.yaml; remove it there"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn the_files_mode_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.yaml");
        fs::write(&path, "interval: 2s\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let overrides = Overrides { joining: true, ..Overrides::default() };
        Plan::make(&path, &settings(), &overrides).unwrap().commit().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
}
