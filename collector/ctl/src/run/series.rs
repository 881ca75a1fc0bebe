//! `query`, `series`, `labels`, `cardinality`.

use super::{Session, print};
use crate::args::{LabelsArgs, ListArgs, Output, QueryArgs};
use crate::client::Answer;
use crate::exit::Failure;
use crate::look::Look;
use crate::prometheus::{Envelope, as_query_answer};
use crate::render;
use crate::text::clean_json;
use crate::when::When;
use signalbox_proto::clock::Clock;
use signalbox_proto::selector::Selector;
use signalbox_proto::units::{Millis, UnixMillis};

/// Steps of a range when none is given: about as many as a sparkline has columns.
const STEPS: u64 = 240;

impl Session<'_> {
    /// A bare selector shows the samples that are stored; everything else is evaluated.
    pub(super) async fn query(&self, args: &QueryArgs) -> Result<(), Failure> {
        let now = self.clock.wall();
        let is_range = args.last.is_some() || args.from.is_some() || args.step.is_some();
        let is_stored = args.at.is_none() && args.step.is_none() && Selector::parse(&args.expression).is_ok();
        if !is_stored && !is_range {
            return self.instant(&args.expression, args.at.unwrap_or(When::Now).seen_from(now)).await;
        }
        let to = args.to.map_or(now, |to| to.seen_from(now));
        let from = args.from.map_or(now - args.last.unwrap_or(Millis::from_mins(15)), |from| from.seen_from(now));
        if from > to {
            return Err(Failure::Usage("the range ends before it starts: --from must lie before --to".to_owned()));
        }
        if !is_stored {
            let step = args.step.unwrap_or(Millis((to.since(from).0 / STEPS).max(1000)));
            return self.range(&args.expression, from, to, step).await;
        }
        let call = self.client.query(&args.expression, from, to, args.limit_points);
        let answer = self.ask("reading series", call).await?;
        match self.cli.output {
            Output::Csv => print(&render::series::points_csv(&answer.value.series)),
            _ => self.emit(&answer, render::query::answer),
        }
    }

    async fn instant(&self, text: &str, at: UnixMillis) -> Result<(), Failure> {
        let answer = self.ask("evaluating", self.client.instant(text, at)).await?;
        let csv = |envelope: &Envelope<_>| render::series::points_csv(&as_query_answer(at, at, envelope).series);
        self.emit_three(&answer, render::series::instant, csv)
    }

    async fn range(&self, text: &str, from: UnixMillis, to: UnixMillis, step: Millis) -> Result<(), Failure> {
        let answer = self.ask("evaluating", self.client.range(text, from, to, step)).await?;
        let table = |look: &Look, envelope: &_| render::query::answer(look, &as_query_answer(from, to, envelope));
        let csv = |envelope: &_| render::series::points_csv(&as_query_answer(from, to, envelope).series);
        self.emit_three(&answer, table, csv)
    }

    pub(super) async fn series(&self, args: &ListArgs) -> Result<(), Failure> {
        let answer = self.ask("listing series", self.client.series(&args.selectors, args.limit)).await?;
        let csv = |envelope: &Envelope<Vec<_>>| {
            let names: Vec<String> = envelope.data.iter().map(render::series::series_name).collect();
            render::series::lines_csv("series", &names)
        };
        self.emit_three(&answer, render::series::sets, csv)
    }

    pub(super) async fn labels(&self, args: &LabelsArgs) -> Result<(), Failure> {
        let (what, title, answer) = match &args.name {
            Some(name) => {
                let call = self.client.label_values(name, &args.selectors, args.limit);
                ("value", "value", self.ask("listing values", call).await?)
            }
            None => {
                let call = self.client.label_names(&args.selectors, args.limit);
                ("label", "label", self.ask("listing labels", call).await?)
            }
        };
        let csv = |envelope: &Envelope<Vec<String>>| render::series::lines_csv(title, &envelope.data);
        self.emit_three(&answer, |look, envelope| render::series::lines(look, envelope, what), csv)
    }

    pub(super) async fn cardinality(&self, limit: u64) -> Result<(), Failure> {
        let answer = self.ask("counting series", self.client.cardinality(limit)).await?;
        let csv = |envelope: &Envelope<_>| render::series::cardinality_csv(&envelope.data);
        self.emit_three(&answer, render::series::cardinality, csv)
    }

    fn emit_three<T>(
        &self,
        answer: &Answer<Envelope<T>>,
        table: impl FnOnce(&Look, &Envelope<T>) -> String,
        csv: impl FnOnce(&Envelope<T>) -> String,
    ) -> Result<(), Failure> {
        match self.cli.output {
            Output::Table => print(&table(&self.look(), &answer.value)),
            Output::Json => print(&format!("{}\n", clean_json(&answer.body))),
            Output::Csv => {
                // Standard output is the table alone.
                for warning in &answer.value.warnings {
                    eprintln!("! {}", crate::text::clean(warning));
                }
                print(&csv(&answer.value))
            }
        }
    }
}
