//! Every example that is shipped is good, every faulty file is refused with the
//! words that mend it, and the units are as hard as the docs say.
//!
//! `tests/configs/invalid/*/FILE.yaml` says in its first line what must be said of
//! it: `# expect: words`. In all files `@DATA@` and `/etc/signalbox` stand for a
//! folder of the test, in which each secret that a file points at is made.

use anyhow::{Context, Result, ensure};
use e2e::process::binary;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit code for a faulty configuration, as in sysexits.h.
const FAULTY: Option<i32> = Some(78);
/// The worst score of a unit, tenths (`systemd-analyze security --threshold`).
const EXPOSURE_MAX: u32 = 20;

/// Which program reads a file, and as what.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Agent,
    Collector,
    /// A file of the collector's rules folder.
    Rules,
}

fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests/ has a parent")?.to_owned())
}

fn yaml_files(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = root()?.join(folder);
    let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    ensure!(!paths.is_empty(), "no file in {}", folder.display());
    Ok(paths)
}

/// Makes the secrets below `folder` that `text` points at.
fn make_secrets(text: &str, folder: &Path) -> Result<()> {
    let start = format!("file:{}", folder.display());
    for (at, _) in text.match_indices(&start) {
        let path = text[at + "file:".len()..].split(['"', '\n', ',', '}']).next().unwrap_or_default();
        fs::create_dir_all(Path::new(path).parent().context("a secret lies in a folder")?)?;
        let secret = if path.ends_with("url") { "https://chat.example.com/hooks/secret\n" } else { "secret\n" };
        fs::write(path, secret)?;
    }
    Ok(())
}

/// Runs `check-config` over the file in a folder of its own; gives the exit code
/// and what was said.
fn check(kind: Kind, file: &Path) -> Result<(Option<i32>, String)> {
    let temporary = tempfile::tempdir()?;
    let folder = temporary.path();
    let place = folder.display().to_string();
    let text = fs::read_to_string(file)?.replace("@DATA@", &place).replace("/etc/signalbox", &place);
    make_secrets(&text, folder)?;
    fs::create_dir(folder.join("rules"))?;
    let name = file.file_name().context("a file has a name")?;
    let (program, config) = match kind {
        Kind::Agent => (binary("AGENT_BIN", "agent", "signalbox-agent")?, folder.join(name)),
        Kind::Collector => (collector()?, folder.join(name)),
        Kind::Rules => (collector()?, folder.join("collector.yaml")),
    };
    match kind {
        Kind::Agent | Kind::Collector => {
            fs::write(&config, text)?;
            // Scripts are taken from no file that a group may write, whatever the umask.
            fs::set_permissions(&config, fs::Permissions::from_mode(0o644))?;
        }
        Kind::Rules => {
            fs::write(folder.join("rules").join(name), text)?;
            fs::write(&config, "rules_dir: rules\n")?;
        }
    }
    let out = Command::new(program).arg("check-config").arg(&config).output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    Ok((out.status.code(), said))
}

fn collector() -> Result<PathBuf> {
    binary("COLLECTOR_BIN", "release", "signalbox-collector")
}

fn all_are_good(kind: Kind, files: Vec<PathBuf>) -> Result<()> {
    for file in files {
        let (code, said) = check(kind, &file)?;
        ensure!(code == Some(0), "{}: exit {code:?}: {said}", file.display());
    }
    Ok(())
}

fn all_are_refused(kind: Kind, folder: &str) -> Result<()> {
    let mut faults = Vec::new();
    for file in yaml_files(folder)? {
        let text = fs::read_to_string(&file)?;
        let first = text.lines().next().and_then(|line| line.strip_prefix("# expect: "));
        let wanted = first.with_context(|| format!("{} begins with # expect: words", file.display()))?;
        let (code, said) = check(kind, &file)?;
        if code != FAULTY || !said.contains(wanted) {
            faults.push(format!("{}: expected exit 78 and {wanted:?}, got {code:?}:\n{said}", file.display()));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn examples_are_good() -> Result<()> {
    let of = |end: &'static str| -> Result<Vec<PathBuf>> {
        let mut files = yaml_files("deploy/examples")?;
        files.retain(|file| file.to_string_lossy().ends_with(end));
        ensure!(!files.is_empty(), "an example of {end}");
        Ok(files)
    };
    all_are_good(Kind::Agent, of("agent.yaml")?)?;
    all_are_good(Kind::Collector, of("collector.yaml")?)?;
    all_are_good(Kind::Rules, of("notify.yaml")?)?;
    all_are_good(Kind::Rules, of("entities.yaml")?)?;
    all_are_good(Kind::Rules, yaml_files("deploy/examples/rules")?)?;
    all_are_good(Kind::Rules, yaml_files("deploy/rules")?)
}

#[test]
fn good_files_are_taken() -> Result<()> {
    all_are_good(Kind::Agent, yaml_files("tests/configs/valid/agent")?)?;
    all_are_good(Kind::Collector, yaml_files("tests/configs/valid/collector")?)?;
    all_are_good(Kind::Rules, yaml_files("tests/configs/valid/notify")?)
}

#[test]
fn faulty_agent_files_are_refused_with_the_remedy() -> Result<()> {
    all_are_refused(Kind::Agent, "tests/configs/invalid/agent")
}

#[test]
fn faulty_collector_files_are_refused_with_the_remedy() -> Result<()> {
    all_are_refused(Kind::Collector, "tests/configs/invalid/collector")
}

#[test]
fn faulty_channels_are_refused_and_no_secret_is_repeated() -> Result<()> {
    all_are_refused(Kind::Rules, "tests/configs/invalid/notify")?;
    let literal = root()?.join("tests/configs/invalid/notify/secret-written-out.yaml");
    let (_, said) = check(Kind::Rules, &literal)?;
    ensure!(!said.contains("hunter2"), "the secret is repeated: {said}");
    Ok(())
}

#[test]
fn units_are_as_hard_as_the_docs_say() -> Result<()> {
    for unit in ["signalbox-agent.service", "signalbox-collector.service"] {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=true", &format!("--threshold={EXPOSURE_MAX}"), "--no-pager"]);
        let Ok(out) = analyze.arg(root()?.join("deploy/systemd").join(unit)).output() else {
            println!("SKIPPED: systemd-analyze is not installed");
            return Ok(());
        };
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        ensure!(out.status.success(), "{unit} is over {EXPOSURE_MAX} tenths:\n{said}");
    }
    Ok(())
}
