//! Why a filter leaves nothing of the board: a value that nothing has, and those
//! that something has. A typing error must not read like an empty host.

use crate::routes::StatusFilter;
use signalbox_proto::api::{Entity, Status};
use std::collections::BTreeSet;

/// Known values that are told; the rest is counted.
const KNOWN_TOLD: usize = 10;

/// One sentence; none if no field of the filter is set. `whole` is the board
/// without any filter.
pub fn why(filter: &StatusFilter, whole: &Status) -> Option<String> {
    let fields = fields(filter);
    if fields.is_empty() {
        return None;
    }
    if whole.entities.is_empty() {
        return Some(super::status::nothing(whole));
    }
    for field in &fields {
        let values = whole.entities.iter().flat_map(|entity| (field.values)(entity));
        let known: BTreeSet<&str> = values.filter(|value| !value.is_empty()).collect();
        if !known.contains(field.wanted.as_str()) {
            return Some(format!("nothing has {} {:?}; {}", field.name, field.wanted, told(field.plural, &known)));
        }
    }
    let all: Vec<String> = fields.iter().map(|field| format!("{} {:?}", field.name, field.wanted)).collect();
    Some(format!("nothing has {}", all.join(" and ")))
}

/// A field of the filter that is set.
struct Field {
    name: &'static str,
    plural: &'static str,
    wanted: String,
    /// What an entity and its items have there.
    values: fn(&Entity) -> Vec<&str>,
}

fn fields(filter: &StatusFilter) -> Vec<Field> {
    let field = |name, plural, wanted: &Option<String>, values| {
        wanted.clone().map(|wanted| Field { name, plural, wanted, values })
    };
    let layer = filter.layer.map(|layer| layer.word().to_owned());
    let fields = [
        field("layer", "layers", &layer, layers),
        field("owner", "owners", &filter.owner, owners),
        field("system", "systems", &filter.system, systems),
        field("entity", "entities", &filter.entity, ids),
    ];
    fields.into_iter().flatten().collect()
}

fn layers(entity: &Entity) -> Vec<&str> {
    std::iter::once(entity.layer.word()).chain(entity.items.iter().map(|item| item.layer.word())).collect()
}

fn owners(entity: &Entity) -> Vec<&str> {
    std::iter::once(&entity.owner).chain(entity.items.iter().map(|item| &item.owner)).map(String::as_str).collect()
}

fn systems(entity: &Entity) -> Vec<&str> {
    vec![&entity.system]
}

fn ids(entity: &Entity) -> Vec<&str> {
    vec![&entity.id]
}

fn told(plural: &str, known: &BTreeSet<&str>) -> String {
    if known.is_empty() {
        return format!("no {plural} are known");
    }
    let first: Vec<&str> = known.iter().take(KNOWN_TOLD).copied().collect();
    let more = match known.len().saturating_sub(KNOWN_TOLD) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("known {plural}: {}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{board, entity};
    use super::*;
    use signalbox_proto::status::{Layer, Level};

    #[test]
    fn a_value_that_nothing_has_is_named_with_those_that_are_known() {
        let owner = |name: &str| StatusFilter { owner: Some(name.to_owned()), ..StatusFilter::default() };
        let said = why(&owner("infar"), &board()).unwrap();
        assert_eq!(said, "nothing has owner \"infar\"; known owners: infra, payments");
        let layer = StatusFilter { layer: Some(Layer::Business), ..owner("infra") };
        assert_eq!(why(&layer, &board()).unwrap(), "nothing has layer \"business\"; known layers: machine");
        let both = StatusFilter { system: Some("cards".to_owned()), ..owner("infra") };
        assert_eq!(why(&both, &board()).unwrap(), "nothing has owner \"infra\" and system \"cards\"");
        assert_eq!(why(&StatusFilter::default(), &board()), None);
    }

    #[test]
    fn ten_values_are_told_and_the_rest_is_counted() {
        let entities = (0..12).map(|i| entity(&format!("host/h{i:02}"), Level::Green, &[], vec![])).collect();
        let filter = StatusFilter { entity: Some("host/x".to_owned()), ..StatusFilter::default() };
        let said = why(&filter, &Status { entities, ..Status::default() }).unwrap();
        assert!(said.ends_with("host/h08, host/h09 and 2 more"), "{said}");
        assert_eq!(why(&filter, &Status::default()).unwrap(), "nothing is watched so far: no agent has spoken");
    }
}
