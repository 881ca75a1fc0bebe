//! A query as a tree of text, so that a failing one can be cut down.

use std::fmt;

/// What an expression evaluates to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar,
    Vector,
    Range,
}

/// How far two right evaluators may differ. Decides what may be asked of a value:
/// only what has the same bits on both sides may meet a comparison or a `floor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Precision {
    /// By the last bits: sums in another order, another library of functions.
    Rounded,
    /// By nothing: one and the same arithmetic.
    Same,
    /// By nothing, and sums of it are exact in any order: small multiples of 1/16.
    Dyadic,
}

/// An expression.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) kind: Kind,
    pub(crate) precision: Precision,
    parts: Vec<Part>,
}

/// Text, or an expression within it.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Text(String),
    Expr(Expr),
}

impl From<&str> for Part {
    fn from(text: &str) -> Part {
        Part::Text(text.to_owned())
    }
}

impl From<String> for Part {
    fn from(text: String) -> Part {
        Part::Text(text)
    }
}

impl From<Expr> for Part {
    fn from(expr: Expr) -> Part {
        Part::Expr(expr)
    }
}

impl Expr {
    pub(crate) fn new(kind: Kind, precision: Precision, parts: impl IntoIterator<Item = Part>) -> Expr {
        Expr { kind, precision, parts: parts.into_iter().collect() }
    }

    /// What it is made of.
    fn inner(&self) -> impl Iterator<Item = &Expr> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expr(expr) => Some(expr),
        })
    }

    /// The smallest expression within this one, or it, that fails; none if none does.
    pub(crate) fn smallest(&self, fails: &mut dyn FnMut(&Expr) -> bool) -> Option<&Expr> {
        self.inner().find_map(|inner| inner.smallest(fails)).or_else(|| fails(self).then_some(self))
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Expr(expr) => expr.fmt(f),
        })
    }
}
