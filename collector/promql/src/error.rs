//! Why a query has no answer, in the classes of the Prometheus API.

use thiserror::Error;

/// Why a query has no answer. [`Error::class`] is the API's `errorType`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The text or the times of the query are wrong: the same query always fails.
    #[error("{0}")]
    BadData(String),
    /// The query is well formed and the data or a limit forbid its answer.
    #[error("{0}")]
    Execution(String),
    /// The time of the query is over.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// Nobody waits for the answer.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// The store could not read; the text says what.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The `errorType` of the Prometheus HTTP API.
    pub fn class(&self) -> &'static str {
        match self {
            Error::BadData(_) => "bad_data",
            Error::Execution(_) => "execution",
            Error::Timeout => "timeout",
            Error::Canceled => "canceled",
            Error::Internal(_) => "internal",
        }
    }

    /// A fault in the text of a query, worded as Prometheus words it.
    pub(crate) fn parse(why: impl std::fmt::Display) -> Error {
        Error::BadData(format!("invalid parameter \"query\": parse error: {why}"))
    }

    /// A fault that shows when the data are seen.
    pub(crate) fn execution(why: impl Into<String>) -> Error {
        Error::Execution(why.into())
    }
}
