//! A spinner on standard error while something takes over a second.

use indicatif::ProgressBar;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

/// Shorter waits would only flicker.
const QUIET: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_millis(120);

/// Waits for `work`; shows `label` with a spinner and the time spent once it
/// takes over a second, on a terminal only.
pub(crate) async fn waiting<T>(label: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(QUIET) => {}
    }
    // Hidden by indicatif itself where standard error is no terminal.
    let style = indicatif::ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    let bar = ProgressBar::new_spinner().with_message(label.to_owned());
    let bar = match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    bar.enable_steady_tick(FRAME);
    let done = work.await;
    bar.finish_and_clear();
    done
}
