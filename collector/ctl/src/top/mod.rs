//! The live full-screen board.
//!
//! Shape: [`state`] decides (pure), [`draw`] makes lines (pure), this loop
//! waits: for keys, for the next second, for answers. At most one board and
//! one act are under way at a time. The terminal is given back on every way
//! out: return, error, panic, SIGINT, SIGTERM, SIGHUP.

mod draw;
mod state;

use crate::client::{Client, ClientError};
use crate::exit::Failure;
use crate::look::Look;
use crate::render::explain::proof;
use crate::routes::{IncidentVerb, StatusFilter};
use crossterm::event::{Event, EventStream, KeyEventKind};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{cursor, execute, queue, style::Print};
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use signalbox_proto::api::{Done, Explanation, IncidentAct, Status};
use signalbox_proto::clock::Clock;
use signalbox_proto::units::Millis;
use state::{State, Wish};
use std::io::Write;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

/// Time between two boards.
const REFRESH: Millis = Millis::from_secs(1);

/// What an act brought.
enum News {
    Proof(Result<Explanation, ClientError>),
    Done(Result<Done, ClientError>),
}

/// Runs until `q`, Ctrl-C or a signal.
pub(crate) async fn run(client: &Client, clock: &dyn Clock, colour: bool) -> Result<(), Failure> {
    let mut screen = Screen::open()?;
    let mut keys = EventStream::new();
    let mut tick = tokio::time::interval(REFRESH.std());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut int, mut term, mut hup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let filter = StatusFilter::default();
    let mut state = State::default();
    let mut board: Option<LocalBoxFuture<'_, Result<Status, ClientError>>> = None;
    let mut act: Option<LocalBoxFuture<'_, News>> = None;
    loop {
        let (width, height) = size();
        let look = Look { width: Some(width), colour, now: clock.wall() };
        screen.show(draw::screen(&state, &look, height))?;
        tokio::select! {
            event = keys.next() => match event {
                None => return Ok(()),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(Event::Resize(..))) => screen.forget(),
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                    state.message.clear();
                    match state.key(key, draw::page(height)) {
                        Some(Wish::Quit) => return Ok(()),
                        Some(_) if act.is_some() => state.message = "one thing at a time: still waiting".to_owned(),
                        Some(wish) => act = fulfil(client, wish),
                        None => {}
                    }
                }
                Some(Ok(_)) => {}
            },
            _ = tick.tick(), if board.is_none() => {
                board = Some(Box::pin(async { client.status(&filter).await.map(|answer| answer.value) }));
            }
            answer = settled(&mut board) => match answer {
                Ok(status) => state.arrived(status, &look),
                Err(error) => state.failed(error.to_string()),
            },
            news = settled(&mut act) => tell(&mut state, &look, news),
            _ = int.recv() => return Ok(()),
            _ = term.recv() => return Ok(()),
            _ = hup.recv() => return Ok(()),
        }
    }
}

/// Waits for what is under way and empties the slot; for ever if nothing is.
/// Dropping this future leaves the work in its slot.
async fn settled<T>(slot: &mut Option<LocalBoxFuture<'_, T>>) -> T {
    match slot {
        Some(work) => {
            let done = work.await;
            *slot = None;
            done
        }
        None => std::future::pending().await,
    }
}

fn fulfil(client: &Client, wish: Wish) -> Option<LocalBoxFuture<'_, News>> {
    match wish {
        Wish::Quit => None,
        Wish::Explain(item) => {
            Some(Box::pin(async move { News::Proof(client.explain(&item, None).await.map(|answer| answer.value)) }))
        }
        Wish::Acknowledge(n) => Some(Box::pin(async move {
            News::Done(client.act(n, IncidentVerb::Ack, &IncidentAct::default()).await.map(|answer| answer.value))
        })),
    }
}

fn tell(state: &mut State, look: &Look, news: News) {
    match news {
        News::Proof(Ok(explanation)) => {
            // Lines are cut to the screen when they are drawn, so colour codes must not be in them.
            let plain = Look { colour: false, ..*look };
            state.explained(proof(&plain, &explanation).lines().map(str::to_owned).collect());
        }
        News::Done(Ok(done)) => state.message = done.done,
        News::Proof(Err(error)) | News::Done(Err(error)) => state.message = error.to_string(),
    }
}

fn size() -> (usize, usize) {
    let (width, height) = terminal::size().unwrap_or((80, 24));
    (usize::from(width), usize::from(height))
}

/// The terminal while it is ours.
struct Screen {
    lines: Vec<String>,
}

impl Screen {
    fn open() -> Result<Screen, Failure> {
        let tell_panic = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // First, or the message would vanish with the alternate screen.
            restore();
            tell_panic(panic);
        }));
        terminal::enable_raw_mode()?;
        // From here on its drop undoes both.
        let screen = Screen { lines: Vec::new() };
        execute!(std::io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Writes the lines that changed.
    fn show(&mut self, lines: Vec<String>) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        for (i, line) in lines.iter().enumerate() {
            if self.lines.get(i) != Some(line) {
                let row = u16::try_from(i).unwrap_or(u16::MAX);
                queue!(out, cursor::MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
            }
        }
        self.lines = lines;
        Ok(out.flush()?)
    }

    /// After a resize nothing is known of what the terminal shows.
    fn forget(&mut self) {
        self.lines.clear();
        // If it fails, the next line written fails too and says so.
        let _ = execute!(std::io::stdout(), Clear(ClearType::All));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Best effort, and harmless twice: there may be no terminal left to restore.
fn restore() {
    let _ = execute!(std::io::stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = terminal::disable_raw_mode();
}
