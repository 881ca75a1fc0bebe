//! A blocking client of the collector's API.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbox_proto::api::{Incident, Item, QueryAnswer, Status};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One answer may take this long.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Speaks HTTP/1.1 to one collector, a connection per request.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    port: u16,
}

/// Status code and body of an answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// 200, 404 …
    pub status: u16,
    /// The body as text.
    pub body: String,
}

impl Client {
    /// To the collector on this loopback port.
    pub fn new(port: u16) -> Client {
        Client { port }
    }

    /// True when it says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.send("GET", "/-/ready", &[], "").is_ok_and(|reply| reply.status == 200)
    }

    /// The board.
    ///
    /// # Errors
    /// No answer, or one that is not 200.
    pub fn status(&self) -> Result<Status> {
        self.get("/status")
    }

    /// The item of the board whose id holds this text.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn item(&self, part: &str) -> Result<Option<Item>> {
        let items = self.status()?.entities.into_iter().flat_map(|entity| entity.items);
        Ok(items.into_iter().find(|item| item.id.contains(part)))
    }

    /// All incidents.
    ///
    /// # Errors
    /// No answer, or one that is not 200.
    pub fn incidents(&self) -> Result<Vec<Incident>> {
        self.get("/incidents?state=all&limit=1000")
    }

    /// Samples of a selector in a closed range.
    ///
    /// # Errors
    /// No answer, or one that is not 200.
    pub fn query(&self, selector: &str, from_ms: i64, to_ms: i64) -> Result<QueryAnswer> {
        self.get(&format!("/query?selector={}&from={from_ms}&to={to_ms}&limit_points=11000", percent(selector)))
    }

    /// `GET /api/signalbox/v1` + path, as JSON.
    ///
    /// # Errors
    /// No answer, one that is not 200, or one that is not of this type.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let reply = self.send("GET", &format!("/api/signalbox/v1{path}"), &[], "")?;
        if reply.status != 200 {
            bail!("GET {path}: {} {}", reply.status, reply.body);
        }
        serde_json::from_str(&reply.body).with_context(|| format!("GET {path}: {}", reply.body))
    }

    /// `POST /api/signalbox/v1` + path with a JSON body.
    ///
    /// # Errors
    /// No answer at all; a refusal is a [`Reply`].
    pub fn post(&self, path: &str, body: &impl Serialize) -> Result<Reply> {
        let body = serde_json::to_string(body)?;
        self.send("POST", &format!("/api/signalbox/v1{path}"), &["content-type: application/json"], &body)
    }

    /// One request as it is.
    ///
    /// # Errors
    /// No connection, or no whole answer in time.
    pub fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Result<Reply> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).context("connect")?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let own_host = !headers.iter().any(|header| header.to_ascii_lowercase().starts_with("host:"));
        let host = if own_host { format!("host: 127.0.0.1:{}\r\n", self.port) } else { String::new() };
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\n{host}{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("read the answer")?;
        parse(&String::from_utf8_lossy(&answer))
    }
}

fn parse(answer: &str) -> Result<Reply> {
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    let status = head.split_whitespace().nth(1).context("an answer has a status")?.parse()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Ok(Reply { status, body })
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || tail.len() < size {
            break;
        }
        body.push_str(&tail[..size]);
        rest = tail[size..].trim_start_matches("\r\n");
    }
    body
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
