//! Calls: which function, with what kinds of arguments.

use super::{Checker, label_name, wrong_type};
use crate::error::Error;
use crate::functions::calendar::Part;
use crate::functions::element::Element;
use crate::functions::histogram::HistogramFunction;
use crate::functions::info::{DEFAULT_METRIC, InfoLabels};
use crate::functions::label::Relabel;
use crate::functions::math;
use crate::functions::window::WindowFunction;
use crate::labels::Labels;
use crate::limits::REPLACE_PATTERN_MAX_BYTES;
use crate::plan::{Order, Range, RangeSource, Scalar, Selector, Shift, Vector};
use promql_parser::parser::{Call, Expr};
use signalbox_proto::names::METRIC_NAME;
use signalbox_proto::selector::{Matcher, Test};
use std::collections::BTreeMap;

/// The arguments of a call, taken from the left.
struct Args<'c> {
    checker: &'c Checker,
    name: &'static str,
    rest: std::vec::IntoIter<Box<Expr>>,
}

impl Args<'_> {
    fn next(&mut self) -> Result<Expr, Error> {
        let missing = || Error::parse(format!("missing argument in call to {:?}", self.name));
        self.rest.next().map(|tree| *tree).ok_or_else(missing)
    }

    fn vector(&mut self) -> Result<Vector, Error> {
        let tree = self.next()?;
        self.checker.vector(tree)
    }

    fn scalar(&mut self) -> Result<Scalar, Error> {
        let tree = self.next()?;
        self.checker.scalar(tree)
    }

    fn range(&mut self) -> Result<Range, Error> {
        let tree = self.next()?;
        self.checker.range(tree)
    }

    fn text(&mut self) -> Result<String, Error> {
        let tree = self.next()?;
        self.checker.text(tree)
    }

    fn scalars(&mut self) -> Result<Vec<Scalar>, Error> {
        let mut scalars = Vec::new();
        while self.rest.len() > 0 {
            scalars.push(self.scalar()?);
        }
        Ok(scalars)
    }

    fn texts(&mut self) -> Result<Vec<String>, Error> {
        let mut texts = Vec::new();
        while self.rest.len() > 0 {
            texts.push(self.text()?);
        }
        Ok(texts)
    }
}

impl Checker {
    fn args(&self, call: Call) -> Result<Args<'_>, Error> {
        if call.func.experimental {
            self.allow_experimental(call.func.name)?;
        }
        Ok(Args { checker: self, name: call.func.name, rest: call.args.args.into_iter() })
    }

    pub(super) fn scalar_call(&self, call: Call) -> Result<Scalar, Error> {
        let name = call.func.name;
        let mut args = self.args(call)?;
        match name {
            "time" => Ok(Scalar::Time),
            "pi" => Ok(Scalar::Number(std::f64::consts::PI)),
            "scalar" => Ok(Scalar::Of(Box::new(args.vector()?))),
            _ => Err(not_supported(name)),
        }
    }

    pub(super) fn vector_call(&self, call: Call) -> Result<Vector, Error> {
        let name = call.func.name;
        if call.func.return_type != promql_parser::parser::value::ValueType::Vector {
            return Err(wrong_type("instant vector", &Expr::Call(call)));
        }
        let mut args = self.args(call)?;
        if let Some(function) = WindowFunction::named(name) {
            return args.window(function);
        }
        if let Some(part) = Part::named(name) {
            let inner = if args.rest.len() == 0 { Vector::Of(Scalar::Time) } else { args.vector()? };
            return Ok(Vector::Element { function: Element::Calendar(part), args: Vec::new(), inner: Box::new(inner) });
        }
        if let Some(function) = math::named(name) {
            return args.element(Element::Math(function));
        }
        match name {
            "clamp" => args.element(Element::Clamp),
            "clamp_min" => args.element(Element::ClampMin),
            "clamp_max" => args.element(Element::ClampMax),
            "round" => args.element(Element::Round),
            "vector" => Ok(Vector::Of(args.scalar()?)),
            "timestamp" => args.timestamp(),
            "absent" => args.absent(),
            "absent_over_time" => {
                let range = args.range()?;
                let labels = match &range.source {
                    RangeSource::Select(selector) => exact_labels(selector),
                    RangeSource::Subquery { .. } => Labels::empty(),
                };
                Ok(Vector::AbsentOverTime { labels, range })
            }
            "label_replace" => args.label_replace(),
            "label_join" => args.label_join(),
            "sort" | "sort_desc" => args.sort(Order::Value { descending: name == "sort_desc" }),
            "sort_by_label" | "sort_by_label_desc" => {
                let inner = Box::new(args.vector()?);
                let order = Order::Labels { names: args.texts()?, descending: name == "sort_by_label_desc" };
                Ok(Vector::Sort { order, inner })
            }
            "histogram_quantile" => args.histogram(HistogramFunction::Quantile, 1),
            "histogram_fraction" => args.histogram(HistogramFunction::Fraction, 2),
            "info" => args.info(),
            _ => Err(not_supported(name)),
        }
    }
}

/// Functions that the grammar knows and the evaluator does not offer.
fn not_supported(name: &str) -> Error {
    let why = match name {
        "histogram_avg"
        | "histogram_count"
        | "histogram_sum"
        | "histogram_stddev"
        | "histogram_stdvar"
        | "histogram_quantiles" => ": native histograms are not kept here",
        _ => "",
    };
    Error::parse(format!("function {name:?} is not supported{why}"))
}

impl Args<'_> {
    fn element(&mut self, function: Element) -> Result<Vector, Error> {
        let inner = Box::new(self.vector()?);
        Ok(Vector::Element { function, args: self.scalars()?, inner })
    }

    /// The range may stand behind a number: `quantile_over_time(0.9, x[5m])`.
    fn window(&mut self, function: WindowFunction) -> Result<Vector, Error> {
        let mut args = Vec::new();
        let mut range = None;
        for tree in self.rest.by_ref() {
            if tree.value_type() == promql_parser::parser::value::ValueType::Matrix {
                range = Some(self.checker.range(*tree)?);
            } else {
                args.push(self.checker.scalar(*tree)?);
            }
        }
        let missing = || Error::parse(format!("missing range vector in call to {:?}", self.name));
        Ok(Vector::Window { function, args, range: range.ok_or_else(missing)? })
    }

    fn timestamp(&mut self) -> Result<Vector, Error> {
        Ok(match self.vector()? {
            Vector::Select(selector) => Vector::Timestamp(selector),
            inner => Vector::Element { function: Element::StepTime, args: Vec::new(), inner: Box::new(inner) },
        })
    }

    fn absent(&mut self) -> Result<Vector, Error> {
        let inner = Box::new(self.vector()?);
        let labels = match &*inner {
            Vector::Select(selector) => exact_labels(selector),
            _ => Labels::empty(),
        };
        Ok(Vector::Absent { labels, inner })
    }

    fn label_replace(&mut self) -> Result<Vector, Error> {
        let inner = Box::new(self.vector()?);
        let target = label_name(self.text()?, "label_replace")?;
        let (replacement, source, pattern) = (self.text()?, self.text()?, self.text()?);
        let anchored = format!("^(?s:{pattern})$");
        let built = regex::RegexBuilder::new(&anchored).size_limit(REPLACE_PATTERN_MAX_BYTES).build();
        let regex = built.map_err(|why| {
            Error::parse(format!("invalid regular expression in label_replace(): {pattern:?}: {why}"))
        })?;
        Ok(Vector::Relabel { relabel: Relabel::Replace { target, replacement, source, regex }, inner })
    }

    fn label_join(&mut self) -> Result<Vector, Error> {
        let inner = Box::new(self.vector()?);
        let target = label_name(self.text()?, "label_join")?;
        let separator = self.text()?;
        let sources = self.texts()?.into_iter().map(|name| label_name(name, "label_join"));
        Ok(Vector::Relabel {
            relabel: Relabel::Join { target, separator, sources: sources.collect::<Result<_, _>>()? },
            inner,
        })
    }

    fn sort(&mut self, order: Order) -> Result<Vector, Error> {
        Ok(Vector::Sort { order, inner: Box::new(self.vector()?) })
    }

    fn histogram(&mut self, function: HistogramFunction, n_scalars: usize) -> Result<Vector, Error> {
        let args = (0..n_scalars).map(|_| self.scalar()).collect::<Result<_, _>>()?;
        Ok(Vector::Histogram { function, args, inner: Box::new(self.vector()?) })
    }

    fn info(&mut self) -> Result<Vector, Error> {
        let inner = Box::new(self.vector()?);
        let mut matchers = match self.rest.next() {
            None => Vec::new(),
            Some(tree) => match self.checker.vector(*tree)? {
                Vector::Select(selector) => selector.matchers,
                _ => return Err(Error::parse("expected label selectors as the second argument to info()")),
            },
        };
        let wanted = matchers.iter().filter(|matcher| matcher.label != METRIC_NAME).cloned().collect();
        if matchers.iter().all(|matcher| matcher.label != METRIC_NAME) {
            matchers.push(Matcher { label: METRIC_NAME.to_owned(), test: Test::Is(DEFAULT_METRIC.to_owned()) });
        }
        let info = Selector { matchers, shift: Shift::default() };
        Ok(Vector::Info { labels: InfoLabels { matchers: wanted }, info, inner })
    }
}

/// The labels that a selector fixes by `=`, once each: those of the series that is absent.
fn exact_labels(selector: &Selector) -> Labels {
    let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for matcher in selector.matchers.iter().filter(|matcher| matcher.label != METRIC_NAME) {
        let first = !seen.contains(&matcher.label);
        match &matcher.test {
            Test::Is(value) if first => {
                labels.insert(&matcher.label, value);
                seen.insert(&matcher.label);
            }
            _ => {
                labels.remove(matcher.label.as_str());
            }
        }
    }
    Labels::sorted(labels)
}
