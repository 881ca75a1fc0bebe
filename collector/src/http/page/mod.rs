//! The status page: server-rendered HTML, no JavaScript, read from the board.
//!
//! Handlers fetch, [`model`] says what stands on a page (pure), the templates say
//! where. minijinja escapes every value; no template marks anything as safe.

mod model;
mod spark;

use crate::http::App;
use crate::http::api::board as present;
use crate::http::api::history::explain_for as explain;
use crate::http::auth::Who;
use crate::http::error::Failure;
use crate::http::extract::{Params, Segments};
use crate::http::filter::StateFilter;
use crate::http::scope::Sight;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use minijinja::Environment;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};
use signalbox_access::Permission;
use signalbox_engine::board::Filter;
use signalbox_proto::api::Incident;
use signalbox_proto::units::UnixMillis;
use std::sync::LazyLock;

/// Instructions of one rendering: a thousand times what a full page needs.
const FUEL: u64 = 50_000_000;

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_fuel(Some(FUEL));
    // Names end in .html: that is what turns escaping on.
    for (name, source) in [
        ("frame.html", include_str!("frame.html")),
        ("board.html", include_str!("board.html")),
        ("incident.html", include_str!("incident.html")),
        ("item.html", include_str!("item.html")),
        ("failure.html", include_str!("failure.html")),
        ("login.html", include_str!("login.html")),
        ("password.html", include_str!("password.html")),
    ] {
        templates.add_template(name, source).expect("the templates are parsed by a test");
    }
    templates
});

/// A page, or why there is none, as a page too.
pub(crate) struct Page(Result<(StatusCode, String), Failure>);

impl Page {
    /// A page with a status of its own.
    pub(crate) fn of(status: StatusCode, template: &str, model: &impl Serialize) -> Page {
        Page(render(template, model).map(|text| (status, text)))
    }

    /// Why there is no page.
    pub(crate) fn refused(failure: Failure) -> Page {
        Page(Err(failure))
    }
}

impl From<Result<String, Failure>> for Page {
    fn from(page: Result<String, Failure>) -> Page {
        Page(page.map(|text| (StatusCode::OK, text)))
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        let failure = match self.0 {
            Ok((status, text)) => return (status, html, text).into_response(),
            Err(failure) => failure,
        };
        let status = failure.status;
        match render("failure.html", &model::failure(&failure)) {
            Ok(text) => (status, html, text).into_response(),
            Err(_) => failure.into_response(),
        }
    }
}

fn render(template: &str, model: &impl Serialize) -> Result<String, Failure> {
    let page = TEMPLATES.get_template(template).and_then(|template| template.render(Serde(model)));
    page.map_err(|error| {
        tracing::error!(template, %error, "a page could not be rendered");
        let text = format!("render {template}: {error}");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, text, "use the command signalbox status; report this")
    })
}

/// What a browser's form sends: fields left empty ask for nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BoardForm {
    #[serde(default)]
    layer: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    system: String,
    #[serde(default)]
    entity: String,
}

impl BoardForm {
    fn filter(self) -> Result<Filter, Failure> {
        let some = |text: String| if text.is_empty() { None } else { Some(text) };
        let layer = match some(self.layer) {
            None => None,
            Some(word) => Some(model::layer(&word).ok_or_else(|| {
                Failure::bad(format!("there is no layer {word}"), "machine, application, business or middleware")
            })?),
        };
        Ok(Filter { layer, owner: some(self.owner), system: some(self.system), entity: some(self.entity) })
    }
}

/// `GET /`: the board.
pub(crate) async fn board(State(app): State<App>, Who(caller): Who, form: Result<Params<BoardForm>, Failure>) -> Page {
    let page = || {
        let filter = form?.0.filter()?;
        let board = app.handle.board();
        let sight = Sight::new(&caller, &board);
        let status = present::current(&app, &caller, &board, &filter);
        let is_shown = |id: &str| filter == Filter::default() || status.entities.iter().any(|entity| entity.id == id);
        let is_wanted = |one: &&Incident| {
            StateFilter::Open.accepts(one)
                && is_shown(&one.entity)
                && sight.sees_incident(Permission::ReadIncidents, one)
        };
        let incidents = board.incidents.iter().filter(is_wanted);
        let choices = model::Choices::of(&sight.status(board.status.clone()).entities);
        let model = model::board(&status, &sight.agents(), incidents, &filter, choices, app.handle.now());
        render("board.html", &model.seen_by(&caller))
    };
    page().into()
}

/// `GET /incidents/{n}`: one incident's story.
pub(crate) async fn incident(State(app): State<App>, Who(caller): Who, number: Result<Segments<u64>, Failure>) -> Page {
    let page = || {
        let incident = present::find(&app, &caller, Permission::ReadIncidents, number?.0)?;
        render("incident.html", &model::incident(&incident, app.handle.now()))
    };
    page().into()
}

/// Which item, when.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemForm {
    id: String,
    at: Option<i64>,
}

/// `GET /items?id=`: why an item shows what it shows.
pub(crate) async fn item(State(app): State<App>, Who(caller): Who, form: Result<Params<ItemForm>, Failure>) -> Page {
    let Params(form) = match form {
        Ok(form) => form,
        Err(failure) => return Page::refused(failure),
    };
    let explained = explain(&app, &caller, form.id, form.at.map(UnixMillis)).await;
    explained.and_then(|proof| render("item.html", &model::item(&proof, app.handle.now()))).into()
}

/// `GET /style.css`.
pub(crate) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_parses() {
        assert_eq!(TEMPLATES.templates().count(), 7);
    }

    #[test]
    fn no_template_turns_escaping_off() {
        for (_, template) in TEMPLATES.templates() {
            let source = template.source();
            assert!(!source.contains("safe") && !source.contains("autoescape"), "{}", template.name());
            assert!(!source.contains("<script") && !source.contains("style="), "{}", template.name());
        }
    }

    #[test]
    fn an_items_page_has_the_picture_the_clocks_and_the_rule() {
        use crate::http::testing::{NOW, board};
        let proof = signalbox_proto::api::Explanation {
            at: NOW,
            item: board().status.entities[1].items[0].clone(),
            rules_version: "abc".to_owned(),
            rule: [("red".to_owned(), ">= 95 <script>".to_owned())].into(),
            samples: vec![(NOW.0 - 2000, Some(90.0)), (NOW.0 - 1000, None), (NOW.0, Some(97.0))],
            clocks: vec!["red waited 30s".to_owned()],
            because: vec!["97 >= 95".to_owned()],
            ..Default::default()
        };
        let page = render("item.html", &model::item(&proof, NOW)).unwrap();
        for text in
            ["<polyline points=", "red waited 30s", "97 &gt;= 95", "no number", "&lt;script&gt;", "INC-17", "abc"]
        {
            assert!(page.contains(text), "{text} is not in {page}");
        }
        assert!(!page.contains("<script"), "{page}");
    }
}
