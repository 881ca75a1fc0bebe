//! Queries: parsed and checked once, evaluated as often as wanted.

mod guard;

use crate::budget::Budget;
use crate::error::Error;
use crate::eval;
use crate::grid::Grid;
use crate::limits::{Options, TIME_MAX_MS};
use crate::plan::{Plan, check};
use crate::seam::Select;
use crate::value::Answer;
use signalbox_proto::units::{Millis, UnixMillis};

/// A query that is well formed.
#[derive(Debug)]
pub struct Query {
    plan: Plan,
    options: Options,
}

/// What a query evaluates to, before it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Scalar,
    /// Series with one value each.
    Vector,
    /// Series with many values each: instant queries only.
    Matrix,
    /// A text: instant queries only.
    Text,
}

impl Query {
    /// Parses and checks.
    ///
    /// # Errors
    /// [`Error::BadData`].
    pub fn parse(text: &str, options: &Options) -> Result<Query, Error> {
        let text = guard::admit(text)?;
        let tree = promql_parser::parser::parse(&text).map_err(|why| Error::parse(guard::hint(why)))?;
        Ok(Query { plan: check::check(tree, options)?, options: *options })
    }

    /// What it evaluates to.
    pub fn kind(&self) -> Kind {
        match self.plan {
            Plan::Scalar(_) => Kind::Scalar,
            Plan::Vector(_) => Kind::Vector,
            Plan::Range(_) => Kind::Matrix,
            Plan::Text(_) => Kind::Text,
        }
    }

    /// Evaluates at one instant.
    ///
    /// # Errors
    /// [`Error`].
    pub fn instant(&self, at: UnixMillis, source: &dyn Select, budget: &Budget<'_>) -> Result<Answer, Error> {
        check_time(at)?;
        eval::instant(&self.plan, at, source, budget, &self.options)
    }

    /// Evaluates at `start`, `start + step`, … up to `end` at most.
    ///
    /// # Errors
    /// [`Error`].
    pub fn range(
        &self,
        start: UnixMillis,
        end: UnixMillis,
        step: Millis,
        source: &dyn Select,
        budget: &Budget<'_>,
    ) -> Result<Answer, Error> {
        check_time(start)?;
        check_time(end)?;
        if end < start {
            return Err(Error::BadData(
                "invalid parameter \"end\": end timestamp must not be before start time".into(),
            ));
        }
        if step == Millis::ZERO {
            return Err(Error::BadData(
                "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. \
                 Try a positive integer"
                    .into(),
            ));
        }
        let step_ms = i64::try_from(step.0).unwrap_or(TIME_MAX_MS).min(TIME_MAX_MS);
        let n = (end.0 - start.0) / step_ms + 1;
        if n > self.options.steps_max as i64 {
            return Err(Error::BadData(format!(
                "exceeded maximum resolution of {} points per timeseries. \
                 Try decreasing the query resolution (?step=XX)",
                self.options.steps_max
            )));
        }
        let grid = Grid { start: start.0, step: step_ms, n: n as usize };
        eval::range(&self.plan, grid, end, source, budget, &self.options)
    }
}

/// Times far beyond any calendar are refused, so that no sum of times overflows.
fn check_time(time: UnixMillis) -> Result<(), Error> {
    if time.0.unsigned_abs() > TIME_MAX_MS.unsigned_abs() {
        return Err(Error::BadData(format!("invalid parameter \"time\": {} ms is out of bounds", time.0)));
    }
    Ok(())
}
