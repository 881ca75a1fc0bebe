//! E-mail to a real SMTP server (aiosmtpd), threaded by incident, and safe from
//! what labels may hold.

use crate::common::{AT_ONCE, Line, PATIENCE, block_on, now, speaker};
use anyhow::{Context, Result, ensure};
use e2e::process::{Collector, Process, free_port, wait_for};
use signalbox_proto::units::Millis;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

const STEP: Millis = Millis(100);

/// aiosmtpd from Debian's package, unpacked by tests/run.sh; every mail is printed.
fn smtp_server(folder: &Path) -> Result<(Process, u16)> {
    let port = free_port()?;
    let mut command = Command::new("python3");
    command.args(["-u", "-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Debugging", "stdout"]);
    command.args(["-l", &format!("127.0.0.1:{port}")]);
    if let Some(path) = std::env::var_os("SIGNALBOX_TEST_PYTHON") {
        command.env("PYTHONPATH", path);
    }
    let server = Process::start("aiosmtpd", &mut command, &folder.join("mail.log"))?;
    wait_for("the mail server", PATIENCE, || Ok(TcpStream::connect(("127.0.0.1", port)).ok()))?;
    Ok((server, port))
}

#[test]
fn raised_and_restored_arrive_as_one_thread() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_server, port) = smtp_server(folder.path())?;
    let notify = format!(
        "channels:\n  - name: ops-mail\n    email:\n      server: 127.0.0.1\n      port: {port}\n      from: signalbox@example.org\n      to: [ops@example.org]\n      starttls: never\nroutes:\n  - channel: ops-mail\n"
    );
    let rules = [("rules.yaml", AT_ONCE), ("notify.yaml", notify.as_str())];
    let collector = Collector::start(&folder.path().join("collector"), &rules)?;
    let answer = collector.client().post("/notify/test/ops-mail", &serde_json::json!({}))?;
    ensure!(answer.status == 200 && answer.body.contains("\"accepted\":true"), "{}", answer.body);
    block_on(async {
        let mut line = Line::open(&collector.endpoint(), speaker("mailed", 1, 1, STEP.0)?, now(), STEP).await?;
        line.send(2, &[1.0]).await?;
        line.send(2, &[0.0]).await
    })?;
    let log = folder.path().join("mail.log");
    let mails = wait_for("three mails", PATIENCE, || {
        let text = std::fs::read_to_string(&log)?;
        Ok((text.matches("MESSAGE FOLLOWS").count() >= 3).then_some(text))
    })?;
    let header = |name: &str| -> Vec<String> {
        mails.lines().filter_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned()).collect()
    };
    let subjects = header("Subject:");
    ensure!(subjects.iter().any(|subject| subject.contains("TEST")), "{subjects:?}");
    ensure!(subjects.iter().filter(|subject| subject.contains("INC-1")).count() == 2, "{subjects:?}");
    let ids = header("Message-ID:");
    ensure!(ids.len() >= 3, "{ids:?}");
    let thread = header("References:").into_iter().next_back().context("the second refers to the first")?;
    ensure!(!thread.is_empty(), "{mails}");
    Ok(())
}
