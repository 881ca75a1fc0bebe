//! Rows of retired series: a segment knows its series, a list its segment, and
//! whoever is retired does not live.

use crate::store::{Family, Store};
use roaring::RoaringBitmap;
use signalbox_tsdb::segment::{Head, decode_list, key as keys};
use signalbox_tsdb::{SeriesId, dictionary};

/// Compares one row with what it needs; ids of retired series are added to `ids`.
pub(super) fn check(store: &dyn Store, key: &[u8], row: &[u8], ids: &mut RoaringBitmap) -> Result<(), String> {
    let not_a_key = || "not a key of this family".to_owned();
    if key.starts_with(keys::SERIES) {
        let id = keys::parse_series(key).ok_or_else(not_a_key)?;
        let retired = dictionary::decode(row).map_err(|why| why.to_string())?;
        return match retired.owner {
            None => Err("it does not say whose samples they are".to_owned()),
            Some(_) if ids.insert(id.0) => Ok(()),
            Some(_) => Err(format!("series {} lives, too", id.0)),
        };
    }
    let segment = key.get(..9).and_then(keys::parse_segment).ok_or_else(not_a_key)?;
    if key == keys::head(segment) {
        let head = Head::decode(segment, row).map_err(|why| why.to_string())?;
        return check_segment(store, &head);
    }
    if key == keys::gone(segment) {
        return if row.is_empty() { Ok(()) } else { Err("it has a value".to_owned()) };
    }
    keys::parse_list(key).filter(|_| key.starts_with(&keys::lists(segment))).ok_or_else(not_a_key)?;
    decode_list(row).map_err(|why| why.to_string())?;
    let is_named = get(store, &keys::head(segment))?.is_some() || get(store, &keys::gone(segment))?.is_some();
    if is_named { Ok(()) } else { Err(format!("no head names its segment {segment}")) }
}

fn check_segment(store: &dyn Store, head: &Head) -> Result<(), String> {
    let all =
        get(store, &keys::list(head.segment, "", ""))?.ok_or_else(|| "its list of all series is missing".to_owned())?;
    let all = decode_list(&all).map_err(|why| format!("its list of all series: {why}"))?;
    if all.len() != head.n_series {
        return Err(format!("it says {} series, its list has {}", head.n_series, all.len()));
    }
    for id in &all {
        get(store, &keys::series(SeriesId(id)))?.ok_or_else(|| format!("its series {id} has no row"))?;
    }
    Ok(())
}

fn get(store: &dyn Store, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
    store.get(Family::Postings, key).map_err(|why| why.to_string())
}
