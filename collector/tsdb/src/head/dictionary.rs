//! What the refs and shapes of a lane mean.
//!
//! Entries never change their meaning within an epoch; saying the same again is
//! harmless. After a key batch an agent declares again what it goes on using, so
//! at a seal, refs and shapes that were not declared since are forgotten: a series
//! that its agent gave up can leave memory, and may come again under another id.

use crate::SeriesId;
use roaring::RoaringBitmap;
use signalbox_proto::limits::{REFS_PER_EPOCH_MAX, SHAPES_PER_EPOCH_MAX};
use signalbox_proto::samples::ShapeEntry;
use signalbox_proto::units::Millis;
use std::sync::Arc;

/// Columns of all shapes that one lane holds, 12 bytes each: bounds the memory
/// that a churning agent can take between two seals.
pub const COLUMNS_PER_LANE_MAX: usize = 2_000_000;

/// A set of series that are sampled together.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) check: String,
    pub(super) interval: Millis,
    pub(super) refs: Box<[u32]>,
    pub(super) series: Box<[SeriesId]>,
    pub(super) n_kept: u64,
}

/// The entries of a lane. Shapes are shared, so that a copy to fall back on is
/// cheap.
#[derive(Debug, Clone, Default)]
pub(super) struct Dictionary {
    ids: Vec<Option<SeriesId>>,
    /// Refs that were declared since the last key batch.
    fresh: RoaringBitmap,
    /// With the key batch since which each is declared.
    shapes: Vec<Option<(Arc<Shape>, u64)>>,
    generation: u64,
    n_columns: usize,
}

/// What changes as shapes are used.
#[derive(Debug, Clone, Default)]
pub(super) struct Uses(Vec<Use>);

#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// Ticks in the open chunk.
    n_ticks: u64,
    /// A tick came since the last key batch, so that "unchanged" means something.
    seen: bool,
}

impl Uses {
    /// Notes a tick; true when it is the shape's first since the last key batch.
    pub(super) fn note(&mut self, shape: u32) -> bool {
        let at = shape as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, Use::default());
        }
        self.0[at].n_ticks += 1;
        !std::mem::replace(&mut self.0[at].seen, true)
    }

    /// Takes ticks back that a refused batch had noted.
    pub(super) fn forget(&mut self, shapes: &[u32]) {
        for &shape in shapes {
            self.0[shape as usize].n_ticks -= 1;
            self.0[shape as usize].seen = false;
        }
    }

    /// Ticks of a shape in the open chunk.
    pub(super) fn n_ticks(&self, shape: u32) -> u64 {
        self.0.get(shape as usize).map_or(0, |one| one.n_ticks)
    }

    /// A key batch begins.
    pub(super) fn begin_key(&mut self) {
        self.0.iter_mut().for_each(|one| one.seen = false);
    }

    /// An open chunk begins.
    pub(super) fn begin_chunk(&mut self) {
        self.0.iter_mut().for_each(|one| one.n_ticks = 0);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Use>()
    }
}

impl Dictionary {
    /// Takes entries; on an error some may have been taken.
    pub(super) fn extend(&mut self, refs: &[(u32, SeriesId)], shapes: &[ShapeEntry]) -> Result<(), String> {
        for &(series_ref, id) in refs {
            self.put_ref(series_ref, id)?;
        }
        for shape in shapes {
            self.put_shape(shape)?;
        }
        Ok(())
    }

    fn put_ref(&mut self, series_ref: u32, id: SeriesId) -> Result<(), String> {
        let at = series_ref as usize;
        if at >= REFS_PER_EPOCH_MAX {
            return Err(format!("series ref {series_ref} is over the limit of {REFS_PER_EPOCH_MAX} refs per epoch"));
        }
        if at >= self.ids.len() {
            self.ids.resize(at + 1, None);
        }
        match self.ids[at] {
            Some(known) if known != id => Err(format!("series ref {series_ref} means another series already")),
            _ => {
                self.ids[at] = Some(id);
                self.fresh.insert(series_ref);
                Ok(())
            }
        }
    }

    fn put_shape(&mut self, entry: &ShapeEntry) -> Result<(), String> {
        let at = entry.shape as usize;
        if at >= SHAPES_PER_EPOCH_MAX {
            return Err(format!("shape {at} is over the limit of {SHAPES_PER_EPOCH_MAX} shapes per epoch"));
        }
        if let Some((known, generation)) = self.shapes.get_mut(at).and_then(Option::as_mut) {
            *generation = self.generation;
            self.fresh.extend(&entry.refs);
            let same = *known.refs == *entry.refs && known.check == entry.check && known.interval == entry.interval;
            return if same { Ok(()) } else { Err(format!("shape {at} means another set of series already")) };
        }
        if self.n_columns + entry.refs.len() > COLUMNS_PER_LANE_MAX {
            return Err(format!("shape {at}: the lane's shapes go over the limit of {COLUMNS_PER_LANE_MAX} columns"));
        }
        let id = |&series_ref: &u32| self.ids.get(series_ref as usize).copied().flatten();
        let series: Option<Box<[SeriesId]>> = entry.refs.iter().map(id).collect();
        let series = series.ok_or_else(|| format!("shape {at} uses a series ref that was not declared"))?;
        let mut sorted = entry.refs.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(format!("shape {at} has a series ref twice"));
        }
        if at >= self.shapes.len() {
            self.shapes.resize(at + 1, None);
        }
        let n_kept = series.iter().filter(|id| id.is_kept()).count() as u64;
        let refs = entry.refs.clone().into();
        let shape = Shape { check: entry.check.clone(), interval: entry.interval, refs, series, n_kept };
        self.n_columns += shape.refs.len();
        self.fresh.extend(&*shape.refs);
        self.shapes[at] = Some((Arc::new(shape), self.generation));
        Ok(())
    }

    /// A key batch: its entries, taken next, are those that go on being used.
    pub(super) fn begin_key(&mut self) {
        self.generation += 1;
        self.fresh.clear();
    }

    /// The chunk was sealed: forgets what no later batch may use.
    pub(super) fn prune(&mut self) {
        for place in &mut self.shapes {
            if let Some((gone, _)) = place.take_if(|(_, generation)| *generation < self.generation) {
                self.n_columns -= gone.refs.len();
            }
        }
        for (series_ref, place) in (0..).zip(&mut self.ids) {
            place.take_if(|_| !self.fresh.contains(series_ref));
        }
        let n_ids = self.fresh.max().map_or(0, |last| last as usize + 1);
        self.ids.truncate(n_ids);
        self.ids.shrink_to(2 * n_ids);
    }

    pub(super) fn shape(&self, shape: u32) -> Option<&Shape> {
        self.shapes.get(shape as usize)?.as_ref().map(|(shape, _)| &**shape)
    }

    /// Shapes with their numbers.
    pub(super) fn shapes(&self) -> impl Iterator<Item = (u32, &Shape)> {
        (0..).zip(&self.shapes).filter_map(|(number, shape)| Some((number, &*shape.as_ref()?.0)))
    }

    /// Refs of kept series.
    pub(super) fn kept(&self) -> impl Iterator<Item = (u32, SeriesId)> {
        (0..).zip(&self.ids).filter_map(|(series_ref, id)| Some((series_ref, (*id)?))).filter(|(_, id)| id.is_kept())
    }

    pub(super) fn id(&self, series_ref: u32) -> SeriesId {
        self.ids.get(series_ref as usize).copied().flatten().unwrap_or(SeriesId::REFUSED)
    }

    pub(super) fn has(&self, series: SeriesId) -> bool {
        series.is_kept() && self.ids.contains(&Some(series))
    }

    pub(super) fn n_refs(&self) -> usize {
        self.ids.len()
    }

    /// True when shapes fill half of what the lane may hold: a seal prunes them.
    pub(super) fn is_crowded(&self) -> bool {
        self.n_columns > COLUMNS_PER_LANE_MAX / 2
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.n_columns * (size_of::<u32>() + size_of::<SeriesId>())
            + self.ids.capacity() * size_of::<Option<SeriesId>>()
            + self.shapes.capacity() * size_of::<Option<(Arc<Shape>, u64)>>()
    }

    /// The entries that later batches may use, for a snapshot.
    pub(super) fn entries(&self) -> (Vec<(u32, SeriesId)>, Vec<ShapeEntry>) {
        let refs = (0..).zip(&self.ids).filter_map(|(series_ref, id)| Some((series_ref, (*id)?)));
        let refs = refs.filter(|(series_ref, _)| self.fresh.contains(*series_ref)).collect();
        let entry = |(number, place): (u32, &Option<(Arc<Shape>, u64)>)| {
            let (shape, _) = place.as_ref().filter(|(_, generation)| *generation == self.generation)?;
            let (check, refs) = (shape.check.clone(), shape.refs.to_vec());
            Some(ShapeEntry { shape: number, check, interval: shape.interval, refs })
        };
        (refs, (0..).zip(&self.shapes).filter_map(entry).collect())
    }
}
