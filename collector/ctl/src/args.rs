//! The command line, as clap reads it; [`access`] has what is about identities,
//! [`series`] what is about series.

mod access;
mod series;

pub use access::{AuditAct, CaAct, JoinTokenAct, LoginArgs, TokensAct, UsersAct};
pub use series::{LabelsArgs, ListArgs, QueryArgs};

use crate::when::When;
use clap::{Args, Parser, Subcommand, ValueEnum};
use signalbox_proto::api::IncidentLabel;
use signalbox_proto::status::Layer;
use signalbox_proto::text::parse_span;
use signalbox_proto::units::Millis;
use std::path::PathBuf;

/// Shortest pause of `status --watch`: the board is made new for every look.
pub(crate) const WATCH_MIN: Millis = Millis(200);

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused, not found, rules with errors, findings of the doctor
  2  usage
  3  collector not reachable
`status --check` is a Nagios plugin: 0 green, 1 amber, 2 red, 3 grey, unreachable or usage.";

/// The operator's command: what is wrong, why, since when, and who has it.
#[derive(Debug, Parser)]
#[command(name = "signalbox", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// The collector's address, https or on its own host http; also SIGNALBOX_COLLECTOR. Without any word: a
    /// socket on this host, the last login, http://127.0.0.1:8440
    #[arg(long, global = true, value_name = "URL", conflicts_with = "socket")]
    pub collector: Option<String>,
    /// The operators' socket on the collector's own host; also SIGNALBOX_SOCKET
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Give up on an answer after this long; the collector itself gives up after 30 s
    #[arg(long, global = true, default_value = "35s", value_name = "SPAN", value_parser = parse_timeout)]
    pub timeout: Millis,
    /// A table for people, or the API's own JSON document
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For spreadsheets: query, series, labels and cardinality only.
    Csv,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The board: what is wrong, worst first
    Status(StatusArgs),
    /// Agents and whether they are up
    Agents {
        /// List is the default
        #[command(subcommand)]
        act: Option<AgentsAct>,
    },
    /// Incidents: list, show, act on them
    #[command(args_conflicts_with_subcommands = true)]
    Incidents {
        /// Which to list
        #[command(flatten)]
        list: IncidentsList,
        /// List is the default
        #[command(subcommand)]
        act: Option<IncidentsAct>,
    },
    /// Snoozes: not to be told for a while
    Snooze {
        /// Add, list or end
        #[command(subcommand)]
        act: SnoozeAct,
    },
    /// PromQL at an instant or over a range; a bare selector: its samples, with a sparkline each
    Query(QueryArgs),
    /// Series that match
    Series(ListArgs),
    /// Label names, or the values of one
    Labels(LabelsArgs),
    /// Which metrics and labels have the most series
    Cardinality {
        /// At most this many of each kind
        #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
        limit: u64,
    },
    /// The proof of a verdict, from stored facts alone
    Explain {
        /// Item as the board names it: host/web1:filesystem-full{mountpoint="/"}
        item: String,
        /// At which instant: RFC 3339, or an age like 15m
        #[arg(long, value_name = "T", allow_hyphen_values = true)]
        at: Option<When>,
    },
    /// Rules: check files before they are put in force
    Rules {
        /// Check
        #[command(subcommand)]
        act: RulesAct,
    },
    /// Channels by which people are told
    Notify {
        /// Test or list
        #[command(subcommand)]
        act: NotifyAct,
    },
    /// Live full-screen board; q quits
    Top,
    /// Log in to a collector on another host, once
    Login(LoginArgs),
    /// Forget a login, and have its token refused from now on
    Logout {
        /// The collector; the one that is asked if not given
        url: Option<String>,
    },
    /// Who I am to the collector, and what I may do
    Whoami,
    /// Tokens with which agents join
    JoinToken {
        /// Create, list or revoke
        #[command(subcommand)]
        act: JoinTokenAct,
    },
    /// Users: who may log in, as what
    Users {
        /// List, add, disable, enable, role or passwd
        #[command(subcommand)]
        act: UsersAct,
    },
    /// API tokens of services
    Tokens {
        /// Create, list or revoke
        #[command(subcommand)]
        act: TokensAct,
    },
    /// A link that logs a user in once, within 15 minutes, and sets their password
    LoginLink {
        /// User
        name: String,
    },
    /// The record of who did what
    Audit {
        /// List, verify or export
        #[command(subcommand)]
        act: AuditAct,
    },
    /// The certificate authority of this installation
    Ca {
        /// Show or rotate
        #[command(subcommand)]
        act: CaAct,
    },
    /// Look for what is broken in this installation; every finding has its remedy
    Doctor,
    /// Completion script for a shell, on standard output
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Version of this command
    Version,
}

/// `signalbox status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Entities with their items and members (default)
    #[arg(long, conflicts_with = "flat")]
    pub tree: bool,
    /// One line for each item
    #[arg(long)]
    pub flat: bool,
    /// Only this layer
    #[arg(long, value_enum)]
    pub layer: Option<LayerArg>,
    /// Only what this team owns
    #[arg(long, value_name = "TEAM")]
    pub owner: Option<String>,
    /// Only this system
    #[arg(long)]
    pub system: Option<String>,
    /// Only this entity and what is below it
    #[arg(long, value_name = "ID")]
    pub entity: Option<String>,
    /// Green items too
    #[arg(long)]
    pub all: bool,
    /// Draw again every SPAN (2s, at least 200ms) until Ctrl-C
    #[arg(long, value_name = "SPAN", value_parser = parse_watch, num_args = 0..=1, require_equals = true,
          default_missing_value = "2s")]
    pub watch: Option<Millis>,
    /// As a Nagios plugin: one line, exit 0 green, 1 amber, 2 red, 3 grey or unreachable
    #[arg(long, conflicts_with_all = ["tree", "flat", "all", "watch"])]
    pub check: bool,
}

/// A layer, as a flag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LayerArg {
    /// Hosts.
    Machine,
    /// Processes.
    Application,
    /// Transactions, feeds, customers.
    Business,
    /// Application servers, databases, queues.
    Middleware,
}

impl From<LayerArg> for Layer {
    fn from(layer: LayerArg) -> Layer {
        match layer {
            LayerArg::Machine => Layer::Machine,
            LayerArg::Application => Layer::Application,
            LayerArg::Business => Layer::Business,
            LayerArg::Middleware => Layer::Middleware,
        }
    }
}

/// `signalbox agents …`.
#[derive(Debug, Subcommand)]
pub enum AgentsAct {
    /// All agents that are known
    List,
    /// A host is taken away for good: hide it, keep its history
    Retire {
        /// Agent id
        host: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Agents that asked to join without a token
    Pending,
    /// Let one of them join
    Approve {
        /// Fingerprint of its key, as its host prints it
        fingerprint: String,
    },
    /// Refuse one of them
    Reject {
        /// Fingerprint of its key
        fingerprint: String,
    },
    /// Identities: keys of agents and until when their certificates last
    Keys,
    /// Take an agent's identity away; its streams are cut at once
    Revoke {
        /// Agent id
        host: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// `signalbox incidents [list]`.
#[derive(Debug, Clone, Copy, Args)]
pub struct IncidentsList {
    /// Which to list
    #[arg(long, value_enum, default_value_t = StateArg::Open)]
    pub state: StateArg,
    /// At most this many, newest first; up to 1000
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

/// Which incidents to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StateArg {
    /// Detected or acknowledged.
    Open,
    /// All.
    All,
    /// Nobody has it yet.
    Detected,
    /// Somebody has it.
    Acknowledged,
    /// Green again.
    Restored,
    /// Labelled and done.
    Closed,
}

impl StateArg {
    /// The word that the API takes.
    pub(crate) fn word(self) -> &'static str {
        match self {
            StateArg::Open => "open",
            StateArg::All => "all",
            StateArg::Detected => "detected",
            StateArg::Acknowledged => "acknowledged",
            StateArg::Restored => "restored",
            StateArg::Closed => "closed",
        }
    }
}

/// `signalbox incidents …`; N is 17 or INC-17.
#[derive(Debug, Subcommand)]
pub enum IncidentsAct {
    /// List them
    List(IncidentsList),
    /// One, with its timeline and every notice sent or not sent
    Show {
        /// 17 or INC-17
        #[arg(value_parser = parse_number)]
        n: u64,
    },
    /// I have it
    Ack {
        /// 17 or INC-17
        #[arg(value_parser = parse_number)]
        n: u64,
    },
    /// Somebody has it
    Assign {
        /// 17 or INC-17
        #[arg(value_parser = parse_number)]
        n: u64,
        /// Who
        who: String,
    },
    /// A line for its timeline
    Note {
        /// 17 or INC-17
        #[arg(value_parser = parse_number)]
        n: u64,
        /// The line
        text: String,
    },
    /// Done; say what it was worth
    Close {
        /// 17 or INC-17
        #[arg(value_parser = parse_number)]
        n: u64,
        /// What it was worth
        #[arg(long, value_enum)]
        label: LabelArg,
        /// Why that label
        #[arg(long)]
        reason: String,
    },
}

/// What an incident was worth, as a flag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LabelArg {
    /// A real problem.
    Real,
    /// Nothing was wrong.
    False,
    /// Something was wrong, nobody needed to know.
    Noisy,
}

impl From<LabelArg> for IncidentLabel {
    fn from(label: LabelArg) -> IncidentLabel {
        match label {
            LabelArg::Real => IncidentLabel::Real,
            LabelArg::False => IncidentLabel::False,
            LabelArg::Noisy => IncidentLabel::Noisy,
        }
    }
}

/// `signalbox snooze …`.
#[derive(Debug, Subcommand)]
pub enum SnoozeAct {
    /// Tell nobody about SCOPE for a while; levels and history go on
    Add {
        /// Item id, entity id (with all below) or series selector
        scope: String,
        /// For how long
        #[arg(long = "for", value_name = "SPAN", value_parser = parse_span)]
        span: Millis,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Those in force
    List {
        /// Those that have ended, too
        #[arg(long)]
        all: bool,
    },
    /// End one early
    End {
        /// Its number
        id: u64,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// `signalbox rules …`.
#[derive(Debug, Subcommand)]
pub enum RulesAct {
    /// Have the collector judge rule files, without putting them in force
    Check {
        /// Files, or directories of *.yaml
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

/// `signalbox notify …`.
#[derive(Debug, Subcommand)]
pub enum NotifyAct {
    /// Send a marked message and print the server's answer
    Test {
        /// Its name in the configuration
        channel: String,
    },
    /// Names of the channels
    Channels,
}

fn parse_number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("INC-").or_else(|| text.strip_prefix("inc-")).unwrap_or(text);
    digits.parse().map_err(|_| "write 17 or INC-17".to_owned())
}

fn parse_timeout(text: &str) -> Result<Millis, String> {
    match parse_span(text) {
        Ok(Millis::ZERO) => Err("no answer comes in no time; write for example 35s".to_owned()),
        span => span.map_err(|error| error.to_string()),
    }
}

fn parse_watch(text: &str) -> Result<Millis, String> {
    let span = parse_span(text).map_err(|error| error.to_string())?;
    if span < WATCH_MIN {
        return Err(format!(
            "{span} is too often for a board that is made new for every look; write {WATCH_MIN} or more"
        ));
    }
    Ok(span)
}

/// True if the words ask for JSON, whatever else is wrong with them: a program must
/// be able to read why it was refused.
pub(crate) fn asks_for_json(words: &[String]) -> bool {
    let apart = words.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    apart || words.iter().any(|word| word == "--output=json")
}

/// True if the words ask for the Nagios form, whatever else is wrong with them:
/// a plugin must not answer a typing error with CRITICAL.
pub(crate) fn asks_for_check(words: &[String]) -> bool {
    let has = |word: &str| words.iter().skip(1).any(|given| given == word);
    has("status") && has("--check")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_timeout_of_nothing_is_refused_with_an_example() {
        let error = parse("signalbox --timeout 0s agents").unwrap_err().to_string();
        assert!(error.contains("write for example 35s"), "{error}");
        assert_eq!(parse("signalbox --timeout 5s agents").unwrap().timeout, Millis(5000));
    }

    #[test]
    fn incident_numbers_come_in_two_forms() {
        assert_eq!(parse_number("17"), Ok(17));
        assert_eq!(parse_number("INC-17"), Ok(17));
        assert!(parse_number("INC-").is_err());
    }

    #[test]
    fn lists_are_the_default() {
        let cli = parse("signalbox incidents --state all").unwrap();
        let Command::Incidents { list, act: None } = cli.command else { panic!("not a list") };
        assert_eq!(list.state, StateArg::All);
        assert!(matches!(parse("signalbox agents").unwrap().command, Command::Agents { act: None }));
    }

    #[test]
    fn watch_takes_a_span_or_none() {
        let watch = |line: &str| match parse(line).unwrap().command {
            Command::Status(status) => status.watch,
            _ => None,
        };
        assert_eq!(watch("signalbox status --watch"), Some(Millis::from_secs(2)));
        assert_eq!(watch("signalbox status --watch=200ms"), Some(WATCH_MIN));
        let error = parse("signalbox status --watch=50ms").unwrap_err().to_string();
        assert!(error.contains("50ms is too often") && error.contains("write 200ms or more"), "{error}");
    }

    #[test]
    fn contradictions_are_refused() {
        for line in [
            "signalbox status --tree --flat",
            "signalbox status --check --watch",
            "signalbox query up --last 5m --from 1h",
            "signalbox query up --to now",
            "signalbox query up --limit-points 11001",
            "signalbox snooze add host/web1 --for 30 --reason x",
            "signalbox incidents close 17 --label real",
            "signalbox status --socket /s --collector http://localhost",
            "signalbox tokens create x",
            "signalbox tokens create x --role viewer --permission read_metrics",
            "signalbox users role ada viewer --scope {a=\"b\"} --all",
            "signalbox login https://a --password-stdin",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_plugin_is_known_by_its_words_even_when_they_are_wrong() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(asks_for_check(&words("signalbox status --check --nonsense")));
        assert!(!asks_for_check(&words("signalbox status --nonsense")));
        assert!(asks_for_json(&words("signalbox --output json --nonsense")));
        assert!(asks_for_json(&words("signalbox --nonsense --output=json")));
        assert!(!asks_for_json(&words("signalbox --output table json")));
    }
}
