//! How verdicts look: symbol, word and colour together, so that nobody needs
//! to tell red from green by hue.

use signalbox_proto::status::{AgentState, Level};
use signalbox_proto::units::UnixMillis;

/// What a rendering may use, and from when it sees ages.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Columns of the terminal; none where output goes to a file or a pipe,
    /// whose lines are never broken.
    pub width: Option<usize>,
    /// True on a terminal that wants colour.
    pub colour: bool,
    /// The instant from which ages count.
    pub now: UnixMillis,
}

/// What is shown: the level, or grey over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shown {
    /// All is well.
    Green,
    /// Nobody knows. Before green, because absence of facts is never green.
    Grey,
    /// Warning.
    Amber,
    /// Critical.
    Red,
}

impl Shown {
    /// Greyness lies over the level.
    pub(crate) fn of(level: Level, grey: bool) -> Shown {
        match (grey, level) {
            (true, _) => Shown::Grey,
            (_, Level::Green) => Shown::Green,
            (_, Level::Amber) => Shown::Amber,
            (_, Level::Red) => Shown::Red,
        }
    }

    /// How bad the state of an agent is.
    pub(crate) fn of_agent(state: AgentState) -> Shown {
        match state {
            AgentState::Up => Shown::Green,
            AgentState::Missing => Shown::Amber,
            AgentState::Down | AgentState::Unreachable => Shown::Red,
            AgentState::Stopped | AgentState::NeverSeen | AgentState::Retired => Shown::Grey,
        }
    }

    /// A shape of its own for each.
    pub(crate) fn symbol(self) -> char {
        match self {
            Shown::Red => '●',
            Shown::Amber => '▲',
            Shown::Green => '✓',
            Shown::Grey => '?',
        }
    }

    /// The word, in capitals.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Shown::Red => "RED",
            Shown::Amber => "AMBER",
            Shown::Green => "GREEN",
            Shown::Grey => "GREY",
        }
    }

    /// `● RED`.
    pub(crate) fn mark(self) -> String {
        format!("{} {}", self.symbol(), self.word())
    }

    fn ansi(self) -> &'static str {
        match self {
            Shown::Red => "1;31",
            Shown::Amber => "33",
            Shown::Green => "32",
            Shown::Grey => "90",
        }
    }
}

impl Look {
    /// The text in the colour of `shown`.
    pub(crate) fn paint(&self, shown: Shown, text: &str) -> String {
        self.coded(shown.ansi(), text)
    }

    /// Text that may be overlooked.
    pub(crate) fn faint(&self, text: &str) -> String {
        self.coded("2", text)
    }

    /// Text that must not be overlooked.
    pub(crate) fn strong(&self, text: &str) -> String {
        self.coded("1", text)
    }

    fn coded(&self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Columns left of an indent; none where lines are never broken.
    pub(crate) fn room(&self, indent: usize) -> Option<usize> {
        self.width.map(|width| width.saturating_sub(indent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_lies_over_the_level_and_is_worse_than_green() {
        assert_eq!(Shown::of(Level::Red, true), Shown::Grey);
        assert!(Shown::Red > Shown::Amber && Shown::Amber > Shown::Grey && Shown::Grey > Shown::Green);
    }

    #[test]
    fn colour_is_used_only_where_it_is_wanted() {
        let mut look = Look { width: None, colour: false, now: UnixMillis(0) };
        assert_eq!(look.paint(Shown::Red, "RED"), "RED");
        look.colour = true;
        assert_eq!(look.paint(Shown::Red, "RED"), "\u{1b}[1;31mRED\u{1b}[0m");
    }
}
