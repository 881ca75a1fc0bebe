//! Values of expressions, series, labels and what costs most, as tables and as CSV.

use super::table::{Column, Field, table};
use super::{heading, push_wrapped};
use crate::look::Look;
use crate::prometheus::{Counted, Envelope, TsdbStatus, Value, millis};
use crate::text::{clean, counted};
use crate::when::rfc3339;
use signalbox_proto::api::SeriesPoints;
use signalbox_proto::names::METRIC_NAME;
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;

/// `name{label="value"}`, as it is written in an expression.
pub(crate) fn series_name(labels: &BTreeMap<String, String>) -> String {
    let metric = labels.get(METRIC_NAME).map_or("", String::as_str);
    let rest: Vec<_> = labels
        .iter()
        .filter(|(name, _)| *name != METRIC_NAME)
        .map(|(name, value)| format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    if rest.is_empty() && !metric.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", rest.join(",")) }
}

fn push_notes<T>(out: &mut String, look: &Look, answer: &Envelope<T>) {
    for warning in &answer.warnings {
        push_wrapped(out, look, 0, "! ", &clean(warning));
    }
    for info in &answer.infos {
        push_wrapped(out, look, 0, "i ", &clean(info));
    }
}

/// The value of an expression at an instant.
pub fn instant(look: &Look, answer: &Envelope<Value>) -> String {
    let mut out = String::new();
    push_notes(&mut out, look, answer);
    match &answer.data {
        Value::Scalar((_, text)) | Value::String((_, text)) => out.push_str(&format!("{}\n", clean(text))),
        Value::Vector(all) if all.is_empty() => out.push_str("no series has a value then\n"),
        Value::Vector(all) => {
            let row = |series: &crate::prometheus::VectorSeries| {
                let name = series_name(&series.metric);
                vec![Field::plain(clean(&name)), Field::plain(clean(&series.value.1))]
            };
            let columns = [Column::Wide("SERIES"), Column::Number("VALUE")];
            out.push_str(&table(look, &columns, all.iter().map(row).collect()));
            let at = all.first().map_or(0, |series| millis(series.value.0));
            out.push_str(&look.faint(&format!("{} series at {}", all.len(), rfc3339(UnixMillis(at)))));
            out.push('\n');
        }
        Value::Matrix(all) => {
            for series in all {
                out.push_str(&format!("{}\n", look.strong(&clean(&series_name(&series.metric)))));
                for (at, text) in &series.values {
                    out.push_str(&format!("  {}  {}\n", rfc3339(UnixMillis(millis(*at))), clean(text)));
                }
            }
            out.push_str(&look.faint(&format!("{} series", all.len())));
            out.push('\n');
        }
    }
    out
}

/// Label sets, one a line.
pub fn sets(look: &Look, answer: &Envelope<Vec<BTreeMap<String, String>>>) -> String {
    let names: Vec<String> = answer.data.iter().map(series_name).collect();
    lines(look, &Envelope { data: names, warnings: answer.warnings.clone(), infos: answer.infos.clone() }, "series")
}

/// Names or values, one a line, and how many there are.
pub fn lines(look: &Look, answer: &Envelope<Vec<String>>, what: &str) -> String {
    let mut out = String::new();
    push_notes(&mut out, look, answer);
    for line in &answer.data {
        out.push_str(&format!("{}\n", clean(line)));
    }
    let n = match what {
        "series" => format!("{} series", answer.data.len()),
        what => counted(answer.data.len(), what),
    };
    out.push_str(&look.faint(&n));
    out.push('\n');
    out
}

/// What series cost most.
pub fn cardinality(look: &Look, answer: &Envelope<TsdbStatus>) -> String {
    let status = &answer.data;
    let mut out = format!(
        "{} series, {}\n",
        status.head_stats.num_series,
        counted(usize::try_from(status.head_stats.num_label_pairs).unwrap_or(usize::MAX), "label pair")
    );
    push_notes(&mut out, look, answer);
    for (title, name, counts) in [
        ("series by metric", "METRIC", &status.series_count_by_metric_name),
        ("values by label", "LABEL", &status.label_value_count_by_label_name),
        ("series by label and value", "PAIR", &status.series_count_by_label_value_pair),
    ] {
        out.push('\n');
        out.push_str(&heading(look, title));
        let row = |one: &Counted| vec![Field::plain(one.value.to_string()), Field::plain(clean(&one.name))];
        out.push_str(&table(look, &[Column::Number("N"), Column::Wide(name)], counts.iter().map(row).collect()));
    }
    out
}

/// `time,value,series`, one line a point; a value that is no number is empty.
pub fn points_csv(series: &[SeriesPoints]) -> String {
    let mut out = "time,value,series\n".to_owned();
    for one in series {
        let name = quoted(&series_name(&one.labels));
        for (at, value) in &one.points {
            let value = value.map(|value| value.to_string()).unwrap_or_default();
            out.push_str(&format!("{},{value},{name}\n", crate::when::rfc3339_ms(UnixMillis(*at))));
        }
    }
    out
}

/// One column under its title.
pub fn lines_csv(title: &str, lines: &[String]) -> String {
    let rows: String = lines.iter().map(|line| format!("{}\n", quoted(line))).collect();
    format!("{title}\n{rows}")
}

/// `kind,name,n`.
pub fn cardinality_csv(status: &TsdbStatus) -> String {
    let kinds = [
        ("metric", &status.series_count_by_metric_name),
        ("label", &status.label_value_count_by_label_name),
        ("pair", &status.series_count_by_label_value_pair),
    ];
    let rows = kinds.iter().flat_map(|(kind, counts)| {
        counts.iter().map(move |one| format!("{kind},{},{}\n", quoted(&one.name), one.value))
    });
    format!("kind,name,n\n{}", rows.collect::<String>())
}

/// A field of CSV: in quotes, theirs doubled. What a terminal would obey is escaped.
fn quoted(text: &str) -> String {
    format!("\"{}\"", clean(text).replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::look;
    use super::*;
    use expect_test::expect;

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> Envelope<T> {
        serde_json::from_str(text).unwrap()
    }

    const VECTOR: &str = r#"{"data":{"resultType":"vector","result":[
        {"metric":{"__name__":"up","host":"a"},"value":[1763860452,"1"]},
        {"metric":{"host":"b\"c"},"value":[1763860452,"12.5"]}]},"warnings":["cut"],"infos":["rolled up"]}"#;

    #[test]
    fn an_instant_is_a_table_with_its_notes() {
        expect![[r#"
            ! cut
            i rolled up
            SERIES         VALUE
            up{host="a"}       1
            {host="b\"c"}   12.5
            2 series at 2025-11-23T01:14:12Z
        "#]]
        .assert_eq(&instant(&look(80), &read(VECTOR)));
        let scalar = read(r#"{"data":{"resultType":"scalar","result":[1,"+Inf"]}}"#);
        assert_eq!(instant(&look(80), &scalar), "+Inf\n");
        let none = read(r#"{"data":{"resultType":"vector","result":[]}}"#);
        assert_eq!(instant(&look(80), &none), "no series has a value then\n");
    }

    #[test]
    fn csv_has_a_head_and_quotes_names() {
        let csv = points_csv(&read::<Value>(VECTOR).data.into_series());
        expect![[r#"
            time,value,series
            2025-11-23T01:14:12.000Z,1,"up{host=""a""}"
            2025-11-23T01:14:12.000Z,12.5,"{host=""b\""c""}"
        "#]]
        .assert_eq(&csv);
        assert_eq!(lines_csv("label", &["a\u{1b}b".to_owned()]), "label\n\"a\\u{1b}b\"\n");
    }

    #[test]
    fn cardinality_is_three_tables() {
        let status = read(
            r#"{"data":{"headStats":{"numSeries":3,"numLabelPairs":1},
            "seriesCountByMetricName":[{"name":"up","value":3}],
            "labelValueCountByLabelName":[{"name":"host","value":2}],
            "seriesCountByLabelValuePair":[{"name":"host=a","value":2}]}}"#,
        );
        expect![[r#"
            3 series, 1 label pair

            series by metric
            N  METRIC
            3  up

            values by label
            N  LABEL
            2  host

            series by label and value
            N  PAIR
            2  host=a
        "#]]
        .assert_eq(&cardinality(&look(80), &status));
        assert!(cardinality_csv(&status.data).contains("pair,\"host=a\",2\n"));
    }
}
