//! System calls that no safe library wraps. The only place for `unsafe`.

pub(crate) mod adjtimex;
