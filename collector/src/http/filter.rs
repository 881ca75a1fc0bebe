//! Parts of the board that somebody asked for, as parameters of a request.

use serde::Deserialize;
use signalbox_engine::board::Filter;
use signalbox_proto::api::{Incident, IncidentState};
use signalbox_proto::status::Layer;
use utoipa::{IntoParams, ToSchema};

/// Which part of the board is wanted; what is not given is not asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusFilter {
    /// Layer.
    pub(crate) layer: Option<Layer>,
    /// Team that must act.
    pub(crate) owner: Option<String>,
    /// System.
    pub(crate) system: Option<String>,
    /// Entity id: itself and all that is rolled up into it.
    pub(crate) entity: Option<String>,
}

impl From<StatusFilter> for Filter {
    fn from(asked: StatusFilter) -> Filter {
        let StatusFilter { layer, owner, system, entity } = asked;
        Filter { layer, owner, system, entity }
    }
}

/// Which incidents are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StateFilter {
    /// Detected or acknowledged.
    #[default]
    Open,
    /// Every one that is kept on the board.
    All,
    /// Raised; nobody has said a word.
    Detected,
    /// Somebody has it.
    Acknowledged,
    /// Green again.
    Restored,
    /// Labelled and done.
    Closed,
}

impl StateFilter {
    pub(crate) fn accepts(self, incident: &Incident) -> bool {
        match self {
            StateFilter::All => true,
            StateFilter::Open => matches!(incident.state, IncidentState::Detected | IncidentState::Acknowledged),
            StateFilter::Detected => incident.state == IncidentState::Detected,
            StateFilter::Acknowledged => incident.state == IncidentState::Acknowledged,
            StateFilter::Restored => incident.state == IncidentState::Restored,
            StateFilter::Closed => incident.state == IncidentState::Closed,
        }
    }
}
