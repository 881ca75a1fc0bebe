//! Titles of incidents: minijinja templates, checked when rules are read.
//!
//! A title sees `labels` (by name), `entity`, `host`, `rule`, `level`, `value`,
//! `owner` and `layer`, and may use the filters `percent`, `bytes`, `span` and
//! `number` beside minijinja's own.

use super::node::Located;
use super::report::{Report, suggest};
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};
use signalbox_proto::metric::Unit;

/// Names that a title may use.
pub const NAMES: &[&str] = &["labels", "entity", "host", "rule", "level", "value", "owner", "layer"];

/// Work that one title may cost: a loop over anything ends here.
const FUEL: u64 = 10_000;

/// The environment in which titles are rendered: a name that is missing renders
/// as nothing, work is bounded.
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("percent", percent);
    environment.add_filter("bytes", bytes);
    environment.add_filter("span", span);
    environment.add_filter("number", number);
    environment
}

/// `0.953` as `95.3 %`.
fn percent(value: &Value) -> String {
    shown(value, |v| Unit::Ratio.show(v, short))
}

/// `1536` as `1.5 KiB`.
fn bytes(value: &Value) -> String {
    shown(value, |v| Unit::Bytes.show(v, short))
}

/// Seconds as `1h30m`.
fn span(value: &Value) -> String {
    shown(value, |seconds| {
        let ms = (seconds.max(0.0) * 1000.0).round();
        signalbox_proto::units::Millis(ms as u64).to_string()
    })
}

/// At most one decimal above 10, at most three below.
fn number(value: &Value) -> String {
    shown(value, short)
}

fn shown(value: &Value, show: impl Fn(f64) -> String) -> String {
    let number = f64::try_from(value.clone()).ok().or_else(|| value.as_str()?.trim().parse().ok());
    match number {
        Some(number) if number.is_finite() => show(number),
        _ if value.is_none() || value.is_undefined() => String::new(),
        // What is no number is shown as it is: a title is never lost for its looks.
        _ => value.to_string(),
    }
}

fn short(value: f64) -> String {
    let decimals = if value.abs() >= 10.0 { 1 } else { 3 };
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Refuses what does not compile, unknown names and unknown filters.
pub(super) fn check(text: &Located<String>, report: &mut Report) {
    let environment = environment();
    let template = match environment.template_from_str(&text.value) {
        Ok(template) => template,
        Err(error) => {
            let offset = error.range().map_or(0, |range| text.value[..range.start].chars().count());
            let message = fault(&error);
            let remedy = "write `{{ value }}`, `{{ labels.mountpoint }}` or `{{ value|percent }}`";
            return report.error_inside(text.at, &text.value, offset, &message, remedy);
        }
    };
    let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    names.sort();
    for name in names.iter().filter(|name| !NAMES.contains(&name.as_str())) {
        let offset = text.value.find(name.as_str()).map_or(0, |at| text.value[..at].chars().count());
        let remedy = suggest(name, NAMES.iter().copied());
        report.error_inside(text.at, &text.value, offset, &format!("summary: there is no `{name}` here"), &remedy);
    }
    let sample = context! {
        labels => context! {}, entity => "host/a", host => "a", rule => "r", level => "red", value => 0.5,
        owner => "o", layer => "machine",
    };
    let unknown = [ErrorKind::UnknownFilter, ErrorKind::UnknownTest, ErrorKind::UnknownFunction];
    if let Err(error) = template.render(sample)
        && unknown.contains(&error.kind())
    {
        let offset = error.range().map_or(0, |range| text.value[..range.start].chars().count());
        let remedy = "filters beside minijinja's own: percent, bytes, span, number";
        report.error_inside(text.at, &text.value, offset, &fault(&error), remedy);
    }
}

/// Without the template's name, which nobody gave it.
fn fault(error: &minijinja::Error) -> String {
    let text = error.to_string();
    format!("summary: {}", text.split(" (in <string>").next().unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_show_numbers_as_people_write_them() {
        let show = |text: &str| environment().render_str(text, context! { value => 0.953 }).unwrap();
        assert_eq!(show("{{ value|percent }}"), "95.3 %");
        assert_eq!(show("{{ '0.5'|percent }}"), "50 %");
        assert_eq!(show("{{ 'much'|percent }}"), "much");
        assert_eq!(show("[{{ none|percent }}{{ labels.nothing|number }}]"), "[]");
        assert_eq!(show("{{ 1536|bytes }}"), "1.5 KiB");
        assert_eq!(show("{{ 5400|span }}"), "1h30m");
        assert_eq!(show("{{ 3.14159|number }}"), "3.142");
        assert_eq!(show("{{ 0|number }}"), "0");
        assert_eq!(show("[{{ labels.nothing.here }}]"), "[]");
    }
}
