//! Parameters of a request, from its address and from a posted form.

use super::envelope::{ErrorType, Refusal};
use crate::http::extract::BodyLimit;
use crate::series::LISTED_MAX;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use signalbox_proto::selector::Selector;
use signalbox_proto::text::parse_span;
use signalbox_proto::units::{Millis, UnixMillis};

/// The earliest and the latest instant, as clients of Prometheus's library write them.
const ENDS: [(&str, UnixMillis); 2] =
    [("-292273086-05-16T16:47:06Z", UnixMillis::MIN), ("292277025-08-18T07:12:54.999999999Z", UnixMillis::MAX)];

/// Names and values in order, those of the body first.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Params, Response> {
        let bad = |why: String| Refusal::new(ErrorType::BadData, why).into_response();
        let query = request.uri().query().unwrap_or("").to_owned();
        let is_form = request.method() == Method::POST && is_form(&request);
        let limit = request.extensions().get::<BodyLimit>().map_or(0, |limit| limit.0);
        let body = if is_form {
            let body = Bytes::from_request(request, state).await;
            body.map_err(|why| bad(format!("form of at most {limit} bytes: {}", why.body_text())))?
        } else {
            Bytes::new()
        };
        let read = |text: &[u8]| serde_urlencoded::from_bytes::<Vec<(String, String)>>(text);
        let mut pairs = read(&body).map_err(|why| bad(format!("form: {why}")))?;
        pairs.extend(read(query.as_bytes()).map_err(|why| bad(format!("query of the address: {why}")))?);
        Ok(Params(pairs))
    }
}

fn is_form(request: &Request) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

impl Params {
    /// The first value of a name; an empty one counts as not given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// Every value of a name.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(own, _)| own == name).map(|(_, value)| value.clone()).collect()
    }

    /// The value of a name that must be given.
    pub(crate) fn need(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::parameter(name, "it is missing"))
    }

    /// An instant.
    pub(crate) fn time(&self, name: &str) -> Result<Option<UnixMillis>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let why = || format!("{text:?} is no instant; write Unix seconds or RFC 3339");
        parse_time(text).map(Some).ok_or_else(|| Refusal::parameter(name, why()))
    }

    /// A span.
    pub(crate) fn span(&self, name: &str) -> Result<Option<Millis>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let why = || format!("{text:?} is no span; write seconds, or for example 30s or 1h30m");
        parse_duration(text).map(Some).ok_or_else(|| Refusal::parameter(name, why()))
    }

    /// Entries at most; 0 and none mean as many as the collector gives at all.
    pub(crate) fn limit(&self, name: &str) -> Result<usize, Refusal> {
        let Some(text) = self.get(name) else { return Ok(LISTED_MAX) };
        let limit: usize = text.parse().map_err(|_| Refusal::parameter(name, format!("{text:?} is no number")))?;
        Ok(if limit == 0 { LISTED_MAX } else { limit.min(LISTED_MAX) })
    }

    /// Every `match[]`.
    pub(crate) fn selectors(&self) -> Result<Vec<Selector>, Refusal> {
        let given = self.0.iter().filter(|(name, _)| name == "match[]");
        given.map(|(name, text)| Selector::parse(text).map_err(|why| Refusal::parameter(name, why))).collect()
    }
}

/// Unix seconds, or RFC 3339.
fn parse_time(text: &str) -> Option<UnixMillis> {
    if let Ok(secs) = text.parse::<f64>() {
        return millis_of(secs).map(UnixMillis);
    }
    let end = ENDS.iter().find(|(end, _)| *end == text).map(|(_, at)| *at);
    end.or_else(|| Some(UnixMillis(text.parse::<jiff::Timestamp>().ok()?.as_millisecond())))
}

/// Seconds, or a number with its unit.
pub(crate) fn parse_duration(text: &str) -> Option<Millis> {
    if let Ok(secs) = text.parse::<f64>() {
        return u64::try_from(millis_of(secs)?).ok().map(Millis);
    }
    parse_span(text).ok()
}

/// Whole milliseconds; none when no instant is so far away.
fn millis_of(secs: f64) -> Option<i64> {
    let ms = (secs * 1000.0).round();
    #[allow(clippy::cast_precision_loss, reason = "a bound that need not be exact")]
    let is_instant = ms.abs() < i64::MAX as f64;
    #[allow(clippy::cast_possible_truncation, reason = "checked on the line before")]
    is_instant.then_some(ms as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn instants_are_unix_seconds_or_rfc_3339() {
        for (text, ms) in [
            ("0", 0),
            ("1435781451.781", 1_435_781_451_781),
            ("1435781451.7815", 1_435_781_451_782),
            ("1.5e9", 1_500_000_000_000),
            ("-1.5", -1500),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51+02:00", 1_435_781_451_000),
            ("-292273086-05-16T16:47:06Z", i64::MIN),
        ] {
            assert_eq!(parse_time(text), Some(UnixMillis(ms)), "{text}");
        }
        for text in ["", "now", "NaN", "Inf", "1e30", "2015-07-01", "5m"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn spans_are_seconds_or_have_a_unit() {
        for (text, ms) in [("15", 15_000), ("0.5", 500), ("5m", 300_000), ("1h30m", 5_400_000), ("1w", 604_800_000)] {
            assert_eq!(parse_duration(text), Some(Millis(ms)), "{text}");
        }
        for text in ["", "m", "-5", "-5m", "1e30", "Inf"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    async fn read(request: axum::http::request::Builder, body: &'static str) -> Params {
        let mut request = request.body(Body::from(body)).unwrap();
        request.extensions_mut().insert(BodyLimit(1000));
        Params::from_request(request, &()).await.unwrap()
    }

    #[tokio::test]
    async fn the_form_comes_before_the_address() {
        let post = || Request::post("/q?query=b&match[]=up&x=1");
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        let both = read(post().header("content-type", form), "query=a%2B1&match%5B%5D=down").await;
        assert_eq!((both.get("query"), both.get("x"), both.get("y")), (Some("a+1"), Some("1"), None));
        assert_eq!(both.selectors().unwrap().len(), 2);
        let other = read(post().header("content-type", "text/plain"), "query=a").await;
        assert_eq!(other.get("query"), Some("b"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let params = Params(vec![
            ("start".to_owned(), "soon".to_owned()),
            ("match[]".to_owned(), "{".to_owned()),
            ("limit".to_owned(), "-1".to_owned()),
            ("none".to_owned(), "0".to_owned()),
        ]);
        assert!(params.time("start").unwrap_err().error.contains("invalid parameter \"start\": \"soon\""));
        assert!(params.selectors().unwrap_err().error.contains("match[]"));
        assert!(params.limit("limit").is_err() && params.need("query").is_err());
        assert_eq!(params.limit("none"), Ok(LISTED_MAX));
    }
}
