//! Rows of samples and their spans, written and deleted together.

use super::{Commit, Family, Rows, Store, StoreError, Visit, after_prefix};
use signalbox_proto::units::{Bytes, UnixMillis};
use signalbox_tsdb::SeriesId;
use signalbox_tsdb::chunk::ChunkReader;
use signalbox_tsdb::keys::{self, AgentNo, Chunk, Part};
use signalbox_tsdb::tier::{Span, Tier};
use std::ops::ControlFlow;

/// Rows of one commit when spans are made anew.
const REBUILT_PER_COMMIT: usize = 1000;
/// Marks that a window's hours are to be built; sorts behind all tiers.
const DUE: u8 = 0xff;

/// The row is this from now on.
pub fn put(commit: &mut Commit, tier: Tier, key: &[u8], row: Vec<u8>, span: &Span) {
    commit.put(Family::Spans, keys::span(tier, key), span.encode());
    commit.put(Family::of(tier), key, row);
}

/// The row is gone.
pub fn delete(commit: &mut Commit, tier: Tier, key: &[u8]) {
    commit.delete(Family::of(tier), key);
    commit.delete(Family::Spans, keys::span(tier, key));
}

/// Says that hours of this window are to be built, since minutes changed.
pub fn mark_due(commit: &mut Commit, agent: AgentNo, window: UnixMillis) {
    commit.put(Family::Spans, due_key(agent, window), []);
}

/// They were built.
pub fn clear_due(commit: &mut Commit, agent: AgentNo, window: UnixMillis) {
    commit.delete(Family::Spans, due_key(agent, window));
}

fn due_key(agent: AgentNo, window: UnixMillis) -> Vec<u8> {
    let mut key = vec![DUE];
    key.extend_from_slice(&Part::seek(agent, window).encode());
    key
}

/// Windows whose hours are to be built.
///
/// # Errors
/// [`StoreError`].
pub fn each_due(rows: &dyn Rows, mut visit: impl FnMut(AgentNo, UnixMillis)) -> Result<(), StoreError> {
    let mut each = |key: &[u8], _: &[u8]| {
        if let Some(part) = key.get(1..).and_then(Part::decode) {
            visit(part.agent, part.window);
        }
        ControlFlow::Continue(())
    };
    rows.scan(Family::Spans, &[DUE], &[], &mut each)
}

/// True when hours of this window are to be built: rows of it, if any, are old.
///
/// # Errors
/// [`StoreError`].
pub fn is_due(rows: &dyn Rows, agent: AgentNo, window: UnixMillis) -> Result<bool, StoreError> {
    Ok(rows.get(Family::Spans, &due_key(agent, window))?.is_some())
}

/// The oldest instant of which any tier holds something; the end of time for none.
///
/// # Errors
/// As [`each`].
pub fn oldest(store: &dyn Store) -> Result<UnixMillis, StoreError> {
    let mut oldest = UnixMillis::MAX;
    let mut outcome = Ok(());
    store.read(&mut |rows| {
        outcome = Tier::ALL.into_iter().try_for_each(|tier| {
            each(rows, tier, (&[], &[]), |_, span| {
                oldest = oldest.min(span.facts.min_time);
                ControlFlow::Continue(())
            })
        });
    })?;
    outcome.map(|()| oldest)
}

/// Visits the spans of a tier from `from` on, a key of it, up to `to` (empty: all).
///
/// # Errors
/// [`StoreError`]; [`StoreError::Damaged`] for a span that cannot be read.
pub fn each(
    rows: &dyn Rows,
    tier: Tier,
    (from, to): (&[u8], &[u8]),
    mut visit: impl FnMut(&[u8], Span) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let end = if to.is_empty() { after_prefix(&[tier as u8]) } else { keys::span(tier, to) };
    let mut outcome = Ok(());
    let mut each = |key: &[u8], row: &[u8]| match (keys::parse_span(key), Span::decode(row)) {
        (Some((_, own)), Ok(span)) => visit(own, span),
        (_, why) => {
            let why = why.err().map_or_else(|| "not a span's key".to_owned(), |why| why.to_string());
            outcome = Err(StoreError::damaged(Family::Spans, key, why));
            ControlFlow::Break(())
        }
    };
    rows.scan(Family::Spans, &keys::span(tier, from), &end, &mut each)?;
    outcome
}

/// Parts of an agent's windows in `[from, to)`, which are starts of windows.
///
/// # Errors
/// As [`each`].
pub fn parts(
    rows: &dyn Rows,
    tier: Tier,
    agent: AgentNo,
    (from, to): (UnixMillis, UnixMillis),
) -> Result<Vec<(Part, Span)>, StoreError> {
    let (from, to) = (Part::seek(agent, from).encode(), Part::seek(agent, to).encode());
    let mut parts = Vec::new();
    each(rows, tier, (&from, &to), |key, span| {
        parts.extend(Part::decode(key).map(|part| (part, span)));
        ControlFlow::Continue(())
    })?;
    Ok(parts)
}

/// What a sealed chunk's row says of itself.
///
/// # Errors
/// What is wrong with the row.
pub fn of_chunk(row: &[u8]) -> Result<Span, String> {
    let mut reader = ChunkReader::open(row).map_err(|why| why.to_string())?;
    let facts = reader.facts().map_err(|why| why.to_string())?;
    let last = reader.series().last().map_or(SeriesId(0), |one| one.series);
    Ok(Span { size: Bytes(row.len() as u64), last, facts })
}

/// Makes the spans of sealed chunks that an older version wrote without them.
/// Damaged ones stay where they are, unseen by queries; `damaged` is told.
///
/// # Errors
/// [`StoreError`].
pub fn rebuild(store: &dyn Store, mut damaged: impl FnMut(&[u8], String)) -> Result<(), StoreError> {
    let mut commit = Commit::default();
    let mut outcome = Ok(());
    let mut visit = |key: &[u8], row: &[u8]| {
        let known = store.get(Family::Spans, &keys::span(Tier::Fresh, key));
        let span = known.map(|known| known.is_none().then(|| of_chunk(row)));
        match span {
            Ok(Some(Ok(span))) if Chunk::decode(key).is_some() => {
                commit.put(Family::Spans, keys::span(Tier::Fresh, key), span.encode());
            }
            Ok(Some(Err(why))) => damaged(key, why),
            Ok(_) => {}
            Err(error) => outcome = Err(error),
        }
        if outcome.is_ok() && commit.changes().len() >= REBUILT_PER_COMMIT {
            outcome = store.commit(&std::mem::take(&mut commit));
        }
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let visit: Visit<'_> = &mut visit;
    let has_spans = |tier: Tier| {
        Ok::<_, StoreError>(store.last(Family::Spans, &[tier as u8], &after_prefix(&[tier as u8]))?.is_some())
    };
    if has_spans(Tier::Fresh)? || has_spans(Tier::Long)? {
        return Ok(());
    }
    store.scan(Family::Chunks, &[], &[], visit)?;
    outcome?;
    if commit.is_empty() { Ok(()) } else { store.commit(&commit) }
}
