//! From the grammar's tree to a [`Plan`]: types, arguments, durations, and what
//! is not offered. Everything that the text alone can tell is told here.

mod function;

use crate::error::Error;
use crate::limits::{Options, SPAN_MAX, TIME_MAX_MS};
use crate::plan::{
    Aggregate, Aggregation, At, Card, Fold, Grouping, Join, Matching, Op, Plan, Range, RangeSource, Scalar, Selector,
    SetOp, Shift, Vector, invariant,
};
use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    AggregateExpr, AtModifier, BinaryExpr, Expr, LabelModifier, Offset, VectorMatchCardinality, VectorSelector,
};
use signalbox_proto::names::METRIC_NAME;
use signalbox_proto::selector::{Matcher, Pattern, Test};
use std::time::{Duration, UNIX_EPOCH};

/// Checks a tree.
///
/// # Errors
/// [`Error::BadData`].
pub(crate) fn check(tree: Expr, options: &Options) -> Result<Plan, Error> {
    let checker = Checker { experimental: options.experimental };
    let mut plan = match tree.value_type() {
        ValueType::Scalar => Plan::Scalar(checker.scalar(tree)?),
        ValueType::Vector => Plan::Vector(checker.vector(tree)?),
        ValueType::Matrix => Plan::Range(checker.range(tree)?),
        ValueType::String => Plan::Text(checker.text(tree)?),
    };
    invariant::wrap(&mut plan);
    Ok(plan)
}

struct Checker {
    experimental: bool,
}

impl Checker {
    fn vector(&self, tree: Expr) -> Result<Vector, Error> {
        match tree {
            Expr::Paren(paren) => self.vector(*paren.expr),
            Expr::VectorSelector(selector) => Ok(Vector::Select(self.selector(selector)?)),
            Expr::Call(call) => self.vector_call(call),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Unary(unary) => {
                let inner = Box::new(self.vector(*unary.expr)?);
                Ok(Vector::Element { function: crate::functions::element::Element::Negate, args: Vec::new(), inner })
            }
            Expr::Binary(binary) => self.binary(binary),
            other => Err(wrong_type("instant vector", &other)),
        }
    }

    fn scalar(&self, tree: Expr) -> Result<Scalar, Error> {
        match tree {
            Expr::Paren(paren) => self.scalar(*paren.expr),
            Expr::NumberLiteral(number) => Ok(Scalar::Number(number.val)),
            Expr::Unary(unary) => Ok(Scalar::Negated(Box::new(self.scalar(*unary.expr)?))),
            Expr::Call(call) => self.scalar_call(call),
            Expr::Binary(binary) => {
                let op = operator(&binary)?;
                let (left, right) = (self.scalar(*binary.lhs)?, self.scalar(*binary.rhs)?);
                Ok(Scalar::Binary { op, left: Box::new(left), right: Box::new(right) })
            }
            other => Err(wrong_type("scalar", &other)),
        }
    }

    fn range(&self, tree: Expr) -> Result<Range, Error> {
        match tree {
            Expr::Paren(paren) => self.range(*paren.expr),
            Expr::MatrixSelector(matrix) => {
                let range_ms = span_ms(matrix.range)?;
                Ok(Range { source: RangeSource::Select(self.selector(matrix.vs)?), range_ms })
            }
            Expr::Subquery(subquery) => {
                let shift = shift(subquery.offset, subquery.at)?;
                let step_ms = subquery.step.map(span_ms).transpose()?;
                let inner = Box::new(self.vector(*subquery.expr)?);
                let range_ms = span_ms(subquery.range)?;
                Ok(Range { source: RangeSource::Subquery { inner, step_ms, shift }, range_ms })
            }
            other => Err(wrong_type("range vector", &other)),
        }
    }

    fn text(&self, tree: Expr) -> Result<String, Error> {
        match tree {
            Expr::Paren(paren) => self.text(*paren.expr),
            Expr::StringLiteral(text) => Ok(text.val),
            other => Err(wrong_type("string", &other)),
        }
    }

    fn selector(&self, selector: VectorSelector) -> Result<Selector, Error> {
        let mut matchers = matchers(selector.matchers)?;
        if let Some(name) = selector.name {
            matchers.push(Matcher { label: METRIC_NAME.to_owned(), test: Test::Is(name) });
        }
        Ok(Selector { matchers, shift: shift(selector.offset, selector.at)? })
    }

    fn binary(&self, binary: BinaryExpr) -> Result<Vector, Error> {
        let set = match binary.op.to_string().as_str() {
            "and" => Some(SetOp::And),
            "or" => Some(SetOp::Or),
            "unless" => Some(SetOp::Unless),
            _ => None,
        };
        let modifier = binary.modifier.clone().unwrap_or_default();
        if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
            return Err(Error::parse("fill modifiers are not supported; use `or` to add what is missing"));
        }
        let matching = match modifier.matching {
            Some(LabelModifier::Include(labels)) => Matching::On(labels.labels),
            Some(LabelModifier::Exclude(labels)) => Matching::Ignoring(labels.labels),
            None => Matching::Ignoring(Vec::new()),
        };
        let types = (binary.lhs.value_type(), binary.rhs.value_type());
        if let Some(op) = set {
            let (left, right) = (Box::new(self.vector(*binary.lhs)?), Box::new(self.vector(*binary.rhs)?));
            return Ok(Vector::Set { op, matching, left, right });
        }
        let op = operator(&binary)?;
        let filter = op.is_comparison() && !modifier.return_bool;
        if types.0 == ValueType::Scalar || types.1 == ValueType::Scalar {
            let scalar_left = types.0 == ValueType::Scalar;
            let (scalar, vector) = if scalar_left { (binary.lhs, binary.rhs) } else { (binary.rhs, binary.lhs) };
            let (scalar, vector) = (self.scalar(*scalar)?, Box::new(self.vector(*vector)?));
            return Ok(Vector::WithScalar { op, filter, scalar, vector, scalar_left });
        }
        let card = match modifier.card {
            VectorMatchCardinality::ManyToOne(include) => Card::ManyToOne(include.labels),
            VectorMatchCardinality::OneToMany(include) => Card::OneToMany(include.labels),
            VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => Card::OneToOne,
        };
        let (left, right) = (self.vector(*binary.lhs)?, self.vector(*binary.rhs)?);
        Ok(Vector::Join(Box::new(Join { op, filter, matching, card, left, right })))
    }

    fn aggregate(&self, tree: AggregateExpr) -> Result<Vector, Error> {
        let name = tree.op.to_string();
        if matches!(name.as_str(), "limitk" | "limit_ratio") {
            self.allow_experimental(&name)?;
        }
        let parameter = || match tree.param.clone() {
            Some(parameter) => Ok(*parameter),
            None => Err(Error::parse(format!("{name} needs a parameter"))),
        };
        let function = match name.as_str() {
            "sum" => Aggregation::Fold(Fold::Sum),
            "avg" => Aggregation::Fold(Fold::Avg),
            "count" => Aggregation::Fold(Fold::Count),
            "min" => Aggregation::Fold(Fold::Min),
            "max" => Aggregation::Fold(Fold::Max),
            "group" => Aggregation::Fold(Fold::Group),
            "stddev" => Aggregation::Fold(Fold::Stddev),
            "stdvar" => Aggregation::Fold(Fold::Stdvar),
            "quantile" => Aggregation::Quantile(self.scalar(parameter()?)?),
            "topk" => Aggregation::Ranked { k: self.scalar(parameter()?)?, largest: true },
            "bottomk" => Aggregation::Ranked { k: self.scalar(parameter()?)?, largest: false },
            "limitk" => Aggregation::LimitK(self.scalar(parameter()?)?),
            "limit_ratio" => Aggregation::LimitRatio(self.scalar(parameter()?)?),
            "count_values" => Aggregation::CountValues(label_name(self.text(parameter()?)?, "count_values")?),
            other => return Err(Error::parse(format!("unknown aggregation {other:?}"))),
        };
        let grouping = match tree.modifier {
            Some(LabelModifier::Include(labels)) => Grouping::By(labels.labels),
            Some(LabelModifier::Exclude(labels)) => Grouping::Without(labels.labels),
            None => Grouping::By(Vec::new()),
        };
        let inner = self.vector(*tree.expr)?;
        Ok(Vector::Aggregate(Box::new(Aggregate { function, grouping, inner })))
    }

    fn allow_experimental(&self, what: &str) -> Result<(), Error> {
        if self.experimental {
            return Ok(());
        }
        Err(Error::parse(format!("{what:?} is experimental; it must be enabled with the option `experimental`")))
    }
}

fn operator(binary: &BinaryExpr) -> Result<Op, Error> {
    let text = binary.op.to_string();
    Op::parse(&text).ok_or_else(|| Error::parse(format!("unknown operator {text:?}")))
}

fn wrong_type(expected: &str, got: &Expr) -> Error {
    Error::parse(format!("expected type {expected}, got {}", got.value_type()))
}

fn matchers(matchers: Matchers) -> Result<Vec<Matcher>, Error> {
    if !matchers.or_matchers.is_empty() {
        return Err(Error::parse("`or` between label matchers is not PromQL; use a regular expression"));
    }
    matchers.matchers.into_iter().map(matcher).collect()
}

fn matcher(matcher: promql_parser::label::Matcher) -> Result<Matcher, Error> {
    let pattern = |source: &str| Pattern::new(source).map_err(Error::parse);
    let test = match matcher.op {
        MatchOp::Equal => Test::Is(matcher.value),
        MatchOp::NotEqual => Test::IsNot(matcher.value),
        MatchOp::Re(_) => Test::Matches(pattern(&matcher.value)?),
        MatchOp::NotRe(_) => Test::MatchesNot(pattern(&matcher.value)?),
    };
    Ok(Matcher { label: matcher.name, test })
}

/// A range or step: at least a millisecond.
fn span_ms(span: Duration) -> Result<i64, Error> {
    match offset_ms(span)? {
        0 => Err(Error::parse("duration must be greater than 0")),
        ms => Ok(ms),
    }
}

fn offset_ms(span: Duration) -> Result<i64, Error> {
    let ms = span.as_millis();
    match i64::try_from(ms) {
        Ok(ms) if ms.unsigned_abs() <= SPAN_MAX.0 => Ok(ms),
        _ => Err(Error::parse(format!("duration of {ms} ms is over the limit of {SPAN_MAX}"))),
    }
}

fn shift(offset: Option<Offset>, at: Option<AtModifier>) -> Result<Shift, Error> {
    let offset_ms = match offset {
        None => 0,
        Some(Offset::Pos(span)) => offset_ms(span)?,
        Some(Offset::Neg(span)) => -offset_ms(span)?,
    };
    let at = match at {
        None => None,
        Some(AtModifier::Start) => Some(At::Start),
        Some(AtModifier::End) => Some(At::End),
        Some(time) => Some(At::Time(unix_ms(&time)?)),
    };
    Ok(Shift { offset_ms, at })
}

/// Milliseconds since 1970 of an instant in the grammar's form.
fn unix_ms(time: &AtModifier) -> Result<i64, Error> {
    let AtModifier::At(instant) = time else { return Err(Error::parse("@ needs a timestamp")) };
    let (span, sign) = match instant.duration_since(UNIX_EPOCH) {
        Ok(span) => (span, 1),
        Err(before) => (before.duration(), -1),
    };
    match i64::try_from(span.as_millis()) {
        Ok(ms) if ms <= TIME_MAX_MS => Ok(sign * ms),
        _ => Err(Error::parse("timestamp out of bounds for @ modifier")),
    }
}

/// A label name that a function makes: any text but an empty one.
fn label_name(name: String, function: &str) -> Result<String, Error> {
    if name.is_empty() { Err(Error::parse(format!("invalid label name in {function}(): {name:?}"))) } else { Ok(name) }
}
