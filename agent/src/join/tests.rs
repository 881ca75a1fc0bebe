//! The command against a collector on loopback: what is written, what is said, and
//! what is never told to whom.

use super::*;
use crate::identity::testing::Authority;
use crate::net::testing::{DAY, FakeCollector, NOW};
use clap::Parser;
use std::fs;

const SECRET: [u8; 32] = [0x5e; 32];

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: JoinArgs,
}

struct World {
    dir: tempfile::TempDir,
    collector: FakeCollector,
    address: String,
}

async fn world() -> World {
    let collector = FakeCollector::new();
    let address = collector.listen().await.to_string();
    World { dir: tempfile::tempdir().unwrap(), collector, address }
}

impl World {
    fn token(&self) -> String {
        JoinToken::new("k3f9", SECRET, self.collector.ca.pin()).unwrap().reveal().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the command with the token and these options.
    async fn join(&self, token: &str, more: &[&str]) -> Result<(), String> {
        let (config, state) = (self.path("agent.yaml"), self.path("state"));
        let paths = ["--config", config.to_str().unwrap(), "--state", state.to_str().unwrap()];
        let words = ["join", &self.address].into_iter().chain((!token.is_empty()).then_some(token));
        let cli =
            Cli::try_parse_from(words.chain(paths).chain(more.iter().copied())).map_err(|error| error.to_string())?;
        let clock: Arc<dyn Clock> = self.collector.clock.clone();
        super::run(&cli.args, &clock).await.map_err(|error| format!("{error:#}"))
    }

    /// Nothing of a join is left on this host.
    fn is_untouched(&self) {
        assert!(!self.path("agent.yaml").exists());
        assert!(Folder::of(&self.path("state")).stamp().is_none());
    }
}

#[tokio::test]
async fn one_token_and_one_command_make_an_agent() {
    let world = world().await;
    world.join(&world.token(), &["--agent-id", "web-1", "--label", "region=eu"]).await.unwrap();
    assert_eq!(world.collector.state().joins, [("web-1".to_owned(), SECRET.to_vec(), 1)]);
    let identity = Folder::of(&world.path("state")).load().unwrap();
    assert_eq!((identity.agent.as_str(), identity.not_after), ("web-1", NOW + DAY.times(7)));
    let config = config::load(Some(&world.path("agent.yaml")), &Overrides::default()).unwrap();
    assert_eq!(config.collector.to_string(), format!("https://{}", world.address));
    assert_eq!((config.agent_id.as_str(), config.labels.get("region")), ("web-1", Some("eu")));
    assert_eq!(config.data_dir, world.path("state"));
}

#[tokio::test]
async fn an_agent_has_one_identity_until_it_is_told_to_replace_it() {
    let world = world().await;
    world.join(&world.token(), &["--agent-id", "web-1"]).await.unwrap();
    let first = Folder::of(&world.path("state")).load().unwrap().fingerprint;
    let error = world.join(&world.token(), &["--agent-id", "web-1"]).await.unwrap_err();
    assert!(error.contains("has an identity") && error.contains("web-1") && error.contains("--replace"), "{error}");
    assert_eq!(world.collector.state().joins.len(), 1, "the token was not spent");
    world.join(&world.token(), &["--agent-id", "web-1", "--replace"]).await.unwrap();
    assert_ne!(Folder::of(&world.path("state")).load().unwrap().fingerprint, first);
}

#[tokio::test]
async fn the_secret_is_told_to_nobody_but_the_collector_of_the_pin() {
    let world = world().await;
    let other = JoinToken::new("k3f9", SECRET, Authority::new("other", NOW).pin()).unwrap();
    let error = world.join(&other.reveal(), &[]).await.unwrap_err();
    assert!(error.contains("is not the collector of this token"), "{error}");
    assert!(!error.contains(&other.reveal()[10..30]), "the secret is in no message");
    assert!(world.collector.state().joins.is_empty());
    world.is_untouched();
}

#[tokio::test]
async fn every_refusal_says_what_to_do_and_leaves_the_host_as_it_was() {
    let world = world().await;
    for refusal in Refusal::ALL {
        world.collector.state().refuses = Some(refusal);
        let error = world.join(&world.token(), &["--agent-id", "web-1"]).await.unwrap_err();
        assert!(error.contains("as web-1: the collector refused: not so; "), "{error}");
        world.is_untouched();
    }
    world.collector.state().refuses = Some(Refusal::TokenUsed);
    let error = world.join(&world.token(), &[]).await.unwrap_err();
    assert!(error.contains("make a new token: signalbox join-token create"), "{error}");
    world.collector.state().refuses = Some(Refusal::NameTaken);
    let error = world.join(&world.token(), &[]).await.unwrap_err();
    assert!(error.contains("--agent-id"), "{error}");
}

#[tokio::test]
async fn a_token_is_not_spent_when_this_host_cannot_keep_what_it_gives() {
    let world = world().await;
    fs::write(world.path("state"), "a file in the folder's place").unwrap();
    let error = world.join(&world.token(), &[]).await.unwrap_err();
    assert!(error.contains("write ") && error.contains("state"), "{error}");
    fs::remove_file(world.path("state")).unwrap();
    fs::write(world.path("agent.yaml"), "intervall: 2s\n").unwrap();
    let error = world.join(&world.token(), &[]).await.unwrap_err();
    assert!(error.contains("agent.yaml:1:1:"), "{error}");
    assert!(world.collector.state().joins.is_empty());
}

#[tokio::test]
async fn what_is_no_token_is_refused_before_anything_is_done() {
    let world = world().await;
    let token = world.token();
    for (text, part) in [("sba1.x.y", "this is no join token"), (&token[..40], "join token")] {
        let error = world.join(text, &[]).await.unwrap_err();
        assert!(error.contains(part) && !error.contains(&text[5..]), "{error}");
    }
    assert!(world.join("", &[]).await.unwrap_err().contains("TOKEN"));
    assert!(world.join(&token, &["--label", "region"]).await.unwrap_err().contains("NAME=VALUE"));
    assert!(world.join(&token, &["--label", "1=2"]).await.unwrap_err().contains("label name"));
    assert!(!world.path("state").exists());
    world.is_untouched();
}

#[tokio::test]
async fn a_host_without_a_token_waits_for_an_admin() {
    let world = world().await;
    world.collector.state().n_waits = 1;
    let pin = world.collector.ca.pin().to_string();
    world.join("", &["--pin", &pin, "--agent-id", "web-1"]).await.unwrap();
    assert_eq!(world.collector.state().n_waits, 0);
    assert_eq!(Folder::of(&world.path("state")).load().unwrap().agent.as_str(), "web-1");
    assert!(world.collector.state().joins.is_empty());
}

#[tokio::test]
async fn a_rejected_request_is_told() {
    let world = world().await;
    world.collector.state().rejects = true;
    let ca = world.path("ca.pem");
    fs::write(&ca, "no certificate").unwrap();
    assert!(world.join("", &["--ca", ca.to_str().unwrap()]).await.unwrap_err().contains("holds no certificate"));
    fs::write(&ca, world.collector.ca.pem()).unwrap();
    let error = world.join("", &["--ca", ca.to_str().unwrap()]).await.unwrap_err();
    assert!(error.contains("an admin has rejected"), "{error}");
    world.is_untouched();
}

#[tokio::test]
async fn an_agent_that_runs_is_found_by_its_lock() {
    let world = world().await;
    let held = lock::lock(&world.path("state")).unwrap();
    assert_eq!(
        lock::holder(&world.path("state")).map(rustix::process::Pid::as_raw_nonzero).map(i32::from),
        i32::try_from(std::process::id()).ok()
    );
    drop(held);
    assert!(lock::holder(&world.path("state")).is_none());
}

#[test]
fn the_last_hint_names_the_configuration_that_was_used() {
    let next = |more: &[&str]| {
        let words = ["join", "c.example", "sbj1.x"].into_iter().chain(more.iter().copied());
        Cli::try_parse_from(words).unwrap().args.next()
    };
    assert!(next(&["--config", "/srv/agent.yaml"]).ends_with("signalbox-agent run --config /srv/agent.yaml"));
    for default in [&[][..], &["--config", DEFAULT_FILE]] {
        assert!(next(default).contains("systemctl enable --now") && !next(default).contains("--config"));
    }
}
