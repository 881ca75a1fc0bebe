//! A blocking client of the collector's API: over its Unix socket, where it is an
//! admin, or over TCP, where it is nobody without a token or a cookie.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbox_proto::api::{Incident, Item, QueryAnswer, Status};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One answer may take this long.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Speaks HTTP/1.1 to one collector, a connection per request.
#[derive(Debug, Clone)]
pub struct Client {
    way: Way,
    /// Sent with every request.
    headers: Vec<String>,
}

#[derive(Debug, Clone)]
enum Way {
    Unix(PathBuf),
    Tcp(u16),
}

/// Both kinds of connection.
trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

/// Status code and body of an answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// 200, 404 …
    pub status: u16,
    /// The headers as they came, a line each.
    pub head: String,
    /// The body as text.
    pub body: String,
}

impl Reply {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl Client {
    /// To the collector behind this socket.
    pub fn unix(socket: &Path) -> Client {
        Client { way: Way::Unix(socket.to_owned()), headers: Vec::new() }
    }

    /// To the collector on this loopback port.
    pub fn tcp(port: u16) -> Client {
        Client { way: Way::Tcp(port), headers: Vec::new() }
    }

    /// The same, with a header line sent with every request.
    #[must_use]
    pub fn with(mut self, header: &str) -> Client {
        self.headers.push(header.to_owned());
        self
    }

    /// The same, with an API token.
    #[must_use]
    pub fn with_token(self, token: &str) -> Client {
        self.with(&format!("authorization: Bearer {token}"))
    }

    fn connect(&self) -> Result<Box<dyn Connection>> {
        match &self.way {
            Way::Unix(path) => {
                let stream = UnixStream::connect(path).with_context(|| format!("connect to {}", path.display()))?;
                stream.set_read_timeout(Some(ANSWER_MAX))?;
                Ok(Box::new(stream))
            }
            Way::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port)).context("connect")?;
                stream.set_read_timeout(Some(ANSWER_MAX))?;
                Ok(Box::new(stream))
            }
        }
    }

    fn host(&self) -> String {
        match &self.way {
            Way::Unix(_) => "localhost".to_owned(),
            Way::Tcp(port) => format!("127.0.0.1:{port}"),
        }
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
    pub fn send(&self, method: &str, path: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Result<Reply> {
        let mut stream = self.connect()?;
        let own = self.headers.iter().map(String::as_str);
        let headers: Vec<&str> = headers.iter().copied().chain(own).collect();
        let own_host = !headers.iter().any(|header| header.to_ascii_lowercase().starts_with("host:"));
        let host = if own_host { format!("host: {}\r\n", self.host()) } else { String::new() };
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let body = body.as_ref();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\n{host}{headers}connection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), body].concat())?;
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
    Ok(Reply { status, head: head.to_owned(), body })
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
