//! From words to an exit code: asks the collector, prints what comes back;
//! [`access`] has the commands about who may do what, [`series`] those about series.

mod access;
mod series;

use crate::args::{
    Cli, Command, IncidentsAct, IncidentsList, NotifyAct, Output, RulesAct, SnoozeAct, StatusArgs, asks_for_check,
    asks_for_json,
};
use crate::client::{Answer, Client, ClientError};
use crate::exit::{self, Failure};
use crate::hosts::Hosts;
use crate::look::{Look, Shown};
use crate::progress::waiting;
use crate::render;
use crate::routes::{IncidentVerb, StatusFilter};
use crate::target::{Said, Target};
use crate::text::clean_json;
use crate::when::rfc3339;
use crate::{doctor, rule_files, top};
use clap::{CommandFactory, Parser};
use crossterm::{cursor::MoveTo, execute, terminal};
use signalbox_proto::api::{Act, Done, IncidentAct, NewSnooze, Status};
use signalbox_proto::clock::{Clock, SystemClock};
use std::ffi::OsString;
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// The whole program; `words` begin with its own name.
pub fn main(words: Vec<OsString>) -> ExitCode {
    let lossy: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (plugin, json) = (asks_for_check(&lossy), asks_for_json(&lossy));
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => return told_by_clap(&error, plugin, json),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(&cli)),
        Err(error) => Err(Failure::Terminal(error)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) if plugin => plugin_unknown(&failure.lines().join(" "), json),
        Err(failure) => {
            tell(&failure, json);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// A failure on standard error, as people or as programs read it.
fn tell(failure: &Failure, json: bool) {
    let lines = if json { failure.json().into_iter().collect() } else { failure.lines() };
    for line in lines {
        eprintln!("{line}");
    }
}

fn plugin_unknown(why: &str, json: bool) -> ExitCode {
    let line = render::check::unknown(why);
    let text = if json { render::check::json(Shown::Grey, &line) } else { line };
    // Whoever started the plugin has the exit code if nothing else.
    let _ = print(&format!("{text}\n"));
    ExitCode::from(exit::PLUGIN_UNKNOWN)
}

/// Help and version are answers; everything else is a usage error.
fn told_by_clap(error: &clap::Error, plugin: bool, json: bool) -> ExitCode {
    let is_answer = !error.use_stderr();
    if !is_answer && (plugin || json) {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        if plugin {
            return plugin_unknown(first, json);
        }
        let first = first.strip_prefix("error: ").unwrap_or(first);
        eprintln!(
            "{}",
            exit::json(first, "signalbox --help, or --help after a command, lists what there is", exit::USAGE)
        );
        return ExitCode::from(exit::USAGE);
    }
    let _ = error.print();
    ExitCode::from(if is_answer { exit::OK } else { exit::USAGE })
}

/// Commands whose answer is one table.
fn has_csv(command: &Command) -> bool {
    matches!(command, Command::Query(_) | Command::Series(_) | Command::Labels(_) | Command::Cardinality { .. })
}

async fn run(cli: &Cli) -> Result<u8, Failure> {
    if cli.output == Output::Csv && !has_csv(&cli.command) {
        let words = "csv is for query, series, labels and cardinality; write --output json or table";
        return Err(Failure::Usage(words.to_owned()));
    }
    match &cli.command {
        Command::Version => {
            print(match cli.output {
                Output::Table | Output::Csv => concat!("signalbox ", env!("CARGO_PKG_VERSION"), "\n"),
                Output::Json => concat!("{\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}\n"),
            })?;
            return Ok(exit::OK);
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "signalbox", &mut script);
            print(&String::from_utf8_lossy(&script))?;
            return Ok(exit::OK);
        }
        _ => {}
    }
    let said = Said::with_environment(cli.socket.clone(), cli.collector.clone());
    let clock = SystemClock::start();
    if matches!(cli.command, Command::Doctor) {
        return doctor::run(cli, &said, &clock).await;
    }
    // A file of logins that cannot be used stops only who needs it.
    let needs_hosts = said.socket.is_none() && said.env_socket.is_none();
    let hosts = if needs_hosts { Hosts::read(Hosts::path().as_deref())? } else { Hosts::default() };
    let target = Target::pick(&said, &hosts, doctor::can_open);
    let session = Session { cli, client: Client::of(&target, cli.timeout)?, clock };
    session.command().await
}

struct Session<'a> {
    cli: &'a Cli,
    client: Client,
    clock: SystemClock,
}

impl Session<'_> {
    async fn command(&self) -> Result<u8, Failure> {
        match &self.cli.command {
            Command::Status(args) if args.check => return self.check(args).await,
            Command::Status(args) => self.status(args).await?,
            Command::Agents { act } => self.agents(act.as_ref()).await?,
            Command::Incidents { list, act } => self.incidents(list, act.as_ref()).await?,
            Command::Snooze { act } => self.snooze(act).await?,
            Command::Query(args) => self.query(args).await?,
            Command::Series(args) => self.series(args).await?,
            Command::Labels(args) => self.labels(args).await?,
            Command::Cardinality { limit } => self.cardinality(*limit).await?,
            Command::Explain { item, at } => {
                let now = self.clock.wall();
                let at = at.map(|at| at.seen_from(now));
                if let Some(future) = at.filter(|at| *at > now) {
                    let words = format!("--at {} lies in the future: nothing is known of it", rfc3339(future));
                    return Err(Failure::Usage(format!("{words}; leave --at out for the present verdict")));
                }
                let answer = self.ask("explaining", self.client.explain(item, at)).await?;
                self.emit(&answer, render::explain::proof)?;
            }
            Command::Rules { act: RulesAct::Check { paths } } => self.check_rules(paths).await?,
            Command::Notify { act } => self.notify(act).await?,
            Command::Top => self.top().await?,
            Command::Login(args) => self.login(args).await?,
            Command::Logout { url } => self.logout(url.as_deref()).await?,
            Command::Whoami => self.whoami().await?,
            Command::JoinToken { act } => self.join_token(act).await?,
            Command::Users { act } => self.users(act).await?,
            Command::Tokens { act } => self.tokens(act).await?,
            Command::LoginLink { name } => self.login_link(name).await?,
            Command::Audit { act } => self.audit(act).await?,
            Command::Ca { act } => self.ca(act).await?,
            Command::Version | Command::Completions { .. } | Command::Doctor => {}
        }
        Ok(exit::OK)
    }

    async fn ask<T>(
        &self,
        label: &str,
        call: impl Future<Output = Result<Answer<T>, ClientError>>,
    ) -> Result<Answer<T>, Failure> {
        Ok(waiting(&format!("{label} at {}", self.client.address()), call).await?)
    }

    fn emit<T>(&self, answer: &Answer<T>, table: impl FnOnce(&Look, &T) -> String) -> Result<(), Failure> {
        match self.cli.output {
            Output::Json => print(&format!("{}\n", clean_json(&answer.body))),
            Output::Table | Output::Csv => print(&table(&self.look(), &answer.value)),
        }
    }

    fn look(&self) -> Look {
        let terminal = std::io::stdout().is_terminal();
        let columns = terminal::size().ok().map(|(columns, _)| usize::from(columns)).filter(|columns| *columns > 0);
        Look { width: columns.filter(|_| terminal), colour: terminal && wants_colour(), now: self.clock.wall() }
    }

    fn done(&self, answer: &Answer<Done>) -> Result<(), Failure> {
        self.emit(answer, |_, done| render::done(done))
    }

    async fn check(&self, args: &StatusArgs) -> Result<u8, Failure> {
        // No spinner: a plugin has no terminal, and its standard error may be kept.
        let filter = filter(args);
        let answer = self.client.status(&filter).await?;
        let (shown, line) = match self.nothing(&filter, &answer.value).await? {
            Some(why) => (Shown::Grey, render::check::unknown(&why)),
            None => render::check::line(&answer.value),
        };
        let text = match self.cli.output {
            Output::Table | Output::Csv => line,
            Output::Json => render::check::json(shown, &line),
        };
        print(&format!("{text}\n"))?;
        Ok(render::check::exit_code(shown))
    }

    /// Why a filter leaves nothing of the board, if it does.
    async fn nothing(&self, filter: &StatusFilter, part: &Status) -> Result<Option<String>, ClientError> {
        if !part.entities.is_empty() || !filter.is_set() {
            return Ok(None);
        }
        let whole = self.client.status(&StatusFilter::default()).await?;
        Ok(render::nothing::why(filter, &whole.value))
    }

    async fn status(&self, args: &StatusArgs) -> Result<(), Failure> {
        let filter = filter(args);
        let Some(every) = args.watch else {
            let answer = self.ask("reading the board", self.client.status(&filter)).await?;
            let nothing = self.nothing(&filter, &answer.value).await?;
            return self.emit(&answer, |look, status| board(look, status, args, nothing));
        };
        loop {
            tokio::select! {
                drawn = self.watch_once(&filter, args) => drawn?,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
            tokio::select! {
                () = tokio::time::sleep(every.std()) => {}
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }

    /// A collector that does not answer now may do so at the next look.
    async fn watch_once(&self, filter: &StatusFilter, args: &StatusArgs) -> Result<(), Failure> {
        let answer = self.client.status(filter).await;
        let nothing = match &answer {
            Ok(answer) => self.nothing(filter, &answer.value).await.unwrap_or_default(),
            Err(_) => None,
        };
        let look = self.look();
        if self.cli.output == Output::Table && look.width.is_some() {
            execute!(std::io::stdout(), terminal::Clear(terminal::ClearType::All), MoveTo(0, 0))?;
            print(&render::status::watch_title(&look, self.client.address()))?;
        }
        match answer {
            Ok(answer) => self.emit(&answer, |look, status| board(look, status, args, nothing)),
            Err(error) if error.is_unreachable() => {
                tell(&Failure::from(error), self.cli.output == Output::Json);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn incidents(&self, list: &IncidentsList, act: Option<&IncidentsAct>) -> Result<(), Failure> {
        let mut body = IncidentAct::default();
        let (n, verb) = match act {
            None => return self.list_incidents(list).await,
            Some(IncidentsAct::List(list)) => return self.list_incidents(list).await,
            Some(IncidentsAct::Show { n }) => {
                let answer = self.ask("reading the incident", self.client.incident(*n)).await?;
                return self.emit(&answer, render::incidents::show);
            }
            Some(IncidentsAct::Ack { n }) => (*n, IncidentVerb::Ack),
            Some(IncidentsAct::Assign { n, who }) => {
                body.assignee.clone_from(who);
                (*n, IncidentVerb::Assign)
            }
            Some(IncidentsAct::Note { n, text }) => {
                body.text.clone_from(text);
                (*n, IncidentVerb::Note)
            }
            Some(IncidentsAct::Close { n, label, reason }) => {
                body.label = Some((*label).into());
                body.text.clone_from(reason);
                (*n, IncidentVerb::Close)
            }
        };
        self.done(&self.ask("acting", self.client.act(n, verb, &body)).await?)
    }

    async fn list_incidents(&self, list: &IncidentsList) -> Result<(), Failure> {
        let call = self.client.incidents(list.state.word(), list.limit);
        let answer = self.ask("reading incidents", call).await?;
        self.emit(&answer, |look, incidents| render::incidents::list(look, incidents))
    }

    async fn snooze(&self, act: &SnoozeAct) -> Result<(), Failure> {
        match act {
            SnoozeAct::List { all } => {
                let answer = self.ask("reading snoozes", self.client.snoozes(*all)).await?;
                self.emit(&answer, |look, snoozes| render::snoozes::list(look, snoozes))
            }
            SnoozeAct::Add { scope, span, reason } => {
                let new = NewSnooze { scope: scope.clone(), span: span.to_string(), reason: reason.clone() };
                self.done(&self.ask("snoozing", self.client.snooze(&new)).await?)
            }
            SnoozeAct::End { id, reason } => {
                let act = Act { reason: reason.clone() };
                self.done(&self.ask("ending the snooze", self.client.end_snooze(*id, &act)).await?)
            }
        }
    }

    async fn check_rules(&self, paths: &[std::path::PathBuf]) -> Result<(), Failure> {
        let files = rule_files::read(paths)?;
        let answer = self.ask("checking rules", self.client.check_rules(&files)).await?;
        self.emit(&answer, render::rules::report)?;
        if render::rules::n_errors(&answer.value) > 0 { Err(Failure::Told) } else { Ok(()) }
    }

    async fn notify(&self, act: &NotifyAct) -> Result<(), Failure> {
        match act {
            NotifyAct::Channels => {
                let answer = self.ask("reading channels", self.client.channels()).await?;
                self.emit(&answer, |_, channels| render::channels(channels))
            }
            NotifyAct::Test { channel } => {
                let answer = self.ask("sending a test", self.client.test_channel(channel)).await?;
                self.emit(&answer, render::notify_test)?;
                if answer.value.accepted { Ok(()) } else { Err(Failure::Told) }
            }
        }
    }

    async fn top(&self) -> Result<(), Failure> {
        if self.cli.output == Output::Json {
            return Err(Failure::Usage("top draws a screen; for JSON use status --watch --output json".to_owned()));
        }
        if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            return Err(Failure::Usage("top needs a terminal; without one use status".to_owned()));
        }
        top::run(&self.client, &self.clock, wants_colour()).await
    }
}

fn board(look: &Look, status: &Status, args: &StatusArgs, nothing: Option<String>) -> String {
    if let Some(why) = nothing {
        return render::status::empty(look, status, &why);
    }
    if args.flat { render::status::flat(look, status, args.all) } else { render::status::tree(look, status, args.all) }
}

fn filter(args: &StatusArgs) -> StatusFilter {
    StatusFilter {
        layer: args.layer.map(Into::into),
        owner: args.owner.clone(),
        system: args.system.clone(),
        entity: args.entity.clone(),
    }
}

/// <https://no-color.org>: any value but an empty one; and a terminal that knows how.
fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Text that is clean already goes to standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
