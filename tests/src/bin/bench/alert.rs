//! From a fault to the webhook that tells of it, faults at random phase.

use crate::report::Report;
use anyhow::{Context, Result, ensure};
use e2e::process::{Agent, Collector, wait_for};
use e2e::random::Random;
use e2e::sink::{Delivery, Sink};
use signalbox_proto::api::Incident;
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::units::UnixMillis;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

const RULES: &str = r#"
rules:
  - id: ballast
    selector: signalbox_process_resident_bytes{watch="ballast"}
    red: "> 30000000"
    raise_for: 0s
    clear_for: 0s
    flapping: off
    owner: bench
    sop: none
  - id: death
    selector: signalbox_process_up{watch="victim"}
    red: "< 1"
    raise_for: 0s
    clear_for: 0s
    flapping: off
    owner: bench
    sop: none
routes:
  - channel: hook
"#;

/// More than the rule's threshold, and written within a few milliseconds: the fault
/// shall be a step.
const BALLAST_BYTES: usize = 50_000_000;
/// Everything that is awaited here comes within seconds, or something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    sink: Sink,
    collector: Collector,
    _agent: Agent,
    clock: SystemClock,
    random: Random,
}

/// Times of one fault in milliseconds.
struct Told {
    /// Fault to webhook.
    total: f64,
    /// Sample to webhook.
    after_sample: f64,
}

pub(crate) fn run(faults: usize, report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sink = Sink::start()?;
    let notify = format!("channels:\n  - name: hook\n    webhook: {{url: \"{}\"}}\n", sink.url());
    let rules = [("rules.yaml", RULES), ("notify.yaml", &notify)];
    let collector = Collector::start(&folder.path().join("collector"), &rules)?;
    let config = format!(
        "agent_id: bench\ncollector: {}\nprocesses:\n  - {{name: ballast, match: {{pattern: 'bench ballast'}}}}\n  - {{name: victim, match: {{pattern: 'sleep 98765'}}}}\n",
        collector.endpoint()
    );
    let agent = Agent::start(&folder.path().join("agent"), &config)?;
    let clock = SystemClock::start();
    let seed = clock.wall().0.unsigned_abs() | 1;
    println!("seed {seed}");
    let mut bench = Bench { sink, collector, _agent: agent, clock, random: Random::new(seed) };
    let polled = bench.polled(faults)?;
    let note = "raise_for 0, polled at 1 s, random phase";
    report.add_spans("fault to webhook, polled", polled.iter().map(|told| told.total).collect(), note);
    report.add_spans("sample to webhook", polled.iter().map(|told| told.after_sample).collect(), "same faults");
    let deaths = bench.deaths(faults)?;
    report.add_spans("death to webhook, by event", deaths.iter().map(|told| told.total).collect(), "pidfd, SIGKILL");
    Ok(())
}

impl Bench {
    fn polled(&mut self, faults: usize) -> Result<Vec<Told>> {
        let mut ballast = Ballast::start()?;
        self.wait_fresh(":ballast")?;
        let mut told = Vec::new();
        for _ in 0..faults {
            self.pause();
            let before = self.sink.accepted().len();
            let fault = self.clock.wall();
            ballast.tell("up")?;
            told.push(self.told(before, fault, "ballast", "firing")?);
            let before = self.sink.accepted().len();
            let repair = self.clock.wall();
            ballast.tell("down")?;
            self.told(before, repair, "ballast", "resolved")?;
        }
        Ok(told)
    }

    fn deaths(&mut self, faults: usize) -> Result<Vec<Told>> {
        let mut told = Vec::new();
        for _ in 0..faults {
            let before = self.sink.accepted().len();
            let started = self.clock.wall();
            let mut victim = Command::new("sleep").arg("98765").spawn().context("start a victim")?;
            if told.is_empty() {
                self.wait_up()?;
            } else {
                self.told(before, started, "death", "resolved")?;
            }
            self.pause();
            let before = self.sink.accepted().len();
            let fault = self.clock.wall();
            victim.kill()?;
            // A zombie is dead to the agent; it is reaped only afterwards, as a slow parent would.
            told.push(self.told(before, fault, "death", "firing")?);
            victim.wait()?;
        }
        Ok(told)
    }

    fn told(&self, before: usize, fault: UnixMillis, rule: &str, status: &str) -> Result<Told> {
        let wanted = |delivery: &Delivery| {
            let alert = &delivery.body["alerts"][0];
            delivery.body["status"] == status && alert["labels"]["alertname"] == rule
        };
        let delivery =
            wait_for("the webhook", PATIENCE, || Ok(self.sink.accepted().into_iter().skip(before).find(wanted)))?;
        let incident = delivery.body["alerts"][0]["annotations"]["incident"].as_str().context("an incident's id")?;
        let sampled = self.sampled(incident, fault)?;
        #[allow(clippy::cast_precision_loss)]
        Ok(Told { total: (delivery.at.0 - fault.0) as f64, after_sample: (delivery.at.0 - sampled.0) as f64 })
    }

    /// Time of the sample that moved the incident: the first line of its timeline
    /// after the fault.
    fn sampled(&self, incident: &str, fault: UnixMillis) -> Result<UnixMillis> {
        let client = self.collector.client();
        let path = format!("/incidents/{}", incident.trim_start_matches("INC-"));
        wait_for("the timeline", PATIENCE, || {
            let incident: Incident = client.get(&path)?;
            Ok(incident.timeline.iter().map(|entry| entry.at).find(|at| *at >= fault))
        })
    }

    fn wait_fresh(&self, item: &str) -> Result<()> {
        let client = self.collector.client();
        wait_for("the item", PATIENCE, || Ok(client.item(item)?.filter(|item| item.value.is_some())))?;
        Ok(())
    }

    fn wait_up(&self) -> Result<()> {
        let client = self.collector.client();
        let level = signalbox_proto::status::Level::Green;
        wait_for("a green victim", PATIENCE, || Ok(client.item(":death")?.filter(|item| item.level == level)))?;
        Ok(())
    }

    /// A second and a random part of another: faults come at any phase of the tick.
    fn pause(&mut self) {
        std::thread::sleep(Duration::from_millis(1000 + self.random.below(1000)));
    }
}

struct Ballast {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Ballast {
    fn start() -> Result<Ballast> {
        let own = std::env::current_exe()?;
        let mut child = Command::new(own).arg("ballast").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("stdin")?;
        let output = BufReader::new(child.stdout.take().context("stdout")?);
        Ok(Ballast { child, input, output })
    }

    fn tell(&mut self, word: &str) -> Result<()> {
        writeln!(self.input, "{word}")?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        ensure!(answer.trim() == word, "the ballast said {answer:?}");
        Ok(())
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The ballast itself: holds 50 MB from `up` to `down`.
pub(crate) fn ballast() -> Result<()> {
    let mut held: Vec<u8> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        // Written bytes are resident; a fresh vector gives the old one back.
        held = if line == "up" { vec![1; BALLAST_BYTES] } else { Vec::new() };
        println!("{line}");
    }
    drop(held);
    Ok(())
}
