//! The session's cookie: a reference and nothing else.
//!
//! With TLS `__Host-signalbox` (Secure, SameSite=Lax), without, on loopback only, its
//! plain twin `signalbox_session` (SameSite=Strict). Never readable by a script.

use axum::http::{HeaderMap, HeaderValue, header};
use reqwest::Url;
use signalbox_access::limits::SESSION_LIFE;

const WITH_TLS: &str = "__Host-signalbox";
const WITHOUT: &str = "signalbox_session";

/// The session that a request shows; none when it shows none, or two.
pub(crate) fn session(headers: &HeaderMap, is_tls: bool) -> Option<&str> {
    let wanted = if is_tls { WITH_TLS } else { WITHOUT };
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value);
    let first = found.next()?;
    // Two of one name: somebody else has planted one, and nobody can tell which.
    if found.next().is_some() { None } else { Some(first) }
}

/// `Set-Cookie` of a new session.
pub(crate) fn begin(secret: &str, is_tls: bool) -> HeaderValue {
    line(secret, SESSION_LIFE.0 / 1000, is_tls)
}

/// `Set-Cookie` that forgets it.
pub(crate) fn end(is_tls: bool) -> HeaderValue {
    line("", 0, is_tls)
}

fn line(value: &str, age_secs: u64, is_tls: bool) -> HeaderValue {
    let text = if is_tls {
        format!("{WITH_TLS}={value}; Path=/; Max-Age={age_secs}; Secure; HttpOnly; SameSite=Lax")
    } else {
        format!("{WITHOUT}={value}; Path=/; Max-Age={age_secs}; HttpOnly; SameSite=Strict")
    };
    let mut line = HeaderValue::from_str(&text).expect("base64url and constants");
    line.set_sensitive(true);
    line
}

/// `name=value&…`, escaped.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://localhost").expect("a constant URL");
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn the_session_is_found_among_other_cookies_and_only_under_its_name() {
        let both = headers(&["a=b; signalbox_session=plain; c", "__Host-signalbox=tls"]);
        assert_eq!(session(&both, false), Some("plain"));
        assert_eq!(session(&both, true), Some("tls"));
        assert_eq!(session(&headers(&["signalbox_session=plain"]), true), None);
        assert_eq!(session(&headers(&["xsignalbox_session=plain"]), false), None);
    }

    #[test]
    fn two_sessions_are_none() {
        assert_eq!(session(&headers(&["signalbox_session=a; signalbox_session=b"]), false), None);
        assert_eq!(session(&headers(&["signalbox_session=a", "signalbox_session=b"]), false), None);
    }

    #[test]
    fn cookies_are_out_of_reach_for_scripts_and_other_sites() {
        let (tls, plain) = (begin("x", true), begin("x", false));
        assert_eq!(tls, "__Host-signalbox=x; Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(plain, "signalbox_session=x; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
        assert!(tls.is_sensitive() && end(true).to_str().unwrap().contains("Max-Age=0"));
    }
}
