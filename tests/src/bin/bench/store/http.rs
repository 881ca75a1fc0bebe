//! The Prometheus API of any of the servers, over one kept connection: what a query
//! takes is then the server's time and no handshake.

use anyhow::{Context, Result, bail, ensure};
use e2e::client::percent;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One answer may take this long: a merge of all that a server holds is one.
const ANSWER_MAX: Duration = Duration::from_secs(300);

/// A connection to a loopback port.
pub(crate) struct Api {
    stream: BufReader<TcpStream>,
    /// Header lines of every request.
    headers: String,
}

/// One answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Api {
    /// With a token for those that ask for one.
    pub(crate) fn connect(port: u16, token: Option<&str>) -> Result<Api> {
        let stream = TcpStream::connect(("127.0.0.1", port)).with_context(|| format!("connect to port {port}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let token = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let headers = format!("Host: 127.0.0.1:{port}\r\n{token}");
        Ok(Api { stream: BufReader::new(stream), headers })
    }

    /// `path` with these parameters, percent-encoded.
    pub(crate) fn target(path: &str, parameters: &[(&str, String)]) -> String {
        let pairs: Vec<String> = parameters.iter().map(|(key, value)| format!("{key}={}", percent(value))).collect();
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
    }

    /// One request; any status is an answer.
    pub(crate) fn send(&mut self, method: &str, target: &str) -> Result<Answer> {
        let request = format!("{method} {target} HTTP/1.1\r\n{}Content-Length: 0\r\n\r\n", self.headers);
        self.stream.get_mut().write_all(request.as_bytes()).context("send a request")?;
        let mut line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).context("an answer has a status")?;
        let (mut length, mut is_chunked) = (0, false);
        loop {
            line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                None => break,
                Some(("content-length", n)) => length = n.trim().parse().context("the length of an answer")?,
                Some(("transfer-encoding", how)) => is_chunked |= how.contains("chunked"),
                Some(_) => {}
            }
        }
        let body = if is_chunked { self.chunks()? } else { self.exactly(length)? };
        Ok(Answer { status, body })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line).context("read an answer")? > 0, "the server closed the connection");
        Ok(line.trim_end().to_owned())
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).context("read an answer")?;
        Ok(body)
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line()?, 16).context("the length of a chunk")?;
            body.extend(self.exactly(length)?);
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    /// What the server says to `GET`, if it says 200.
    pub(crate) fn get(&mut self, target: &str) -> Result<Value> {
        let Answer { status, body } = self.send("GET", target)?;
        if status != 200 {
            bail!("GET {target}: {status} {}", String::from_utf8_lossy(&body).chars().take(300).collect::<String>());
        }
        serde_json::from_slice(&body).with_context(|| format!("GET {target}"))
    }

    /// Whether the server has such an address at all.
    pub(crate) fn is_there(&mut self, method: &str, target: &str) -> Result<bool> {
        Ok(!matches!(self.send(method, target)?.status, 404 | 405))
    }

    /// Samples of the bench's hosts in the `span_s` before `end_s`: a query for each
    /// metric, since the count drops the metric's name.
    pub(crate) fn n_samples(&mut self, end_s: i64, span_s: u64) -> Result<u64> {
        let range = [("start", (end_s - 86_400).to_string()), ("end", end_s.to_string())];
        let names = self.get(&Api::target("/api/v1/label/__name__/values", &range))?;
        let names = names["data"].as_array().context("a list of names")?.clone();
        let mut n_samples = 0;
        for name in names.iter().filter_map(Value::as_str) {
            let query = format!("sum(count_over_time({name}{{job=\"{}\"}}[{span_s}s]))", super::JOB);
            let parameters = [("query", query), ("time", end_s.to_string()), ("nocache", "1".to_owned())];
            let answer = self.get(&Api::target("/api/v1/query", &parameters))?;
            let n = answer["data"]["result"][0]["value"][1].as_str().unwrap_or("0");
            n_samples += n.parse::<u64>().with_context(|| format!("the count of {name}: {n}"))?;
        }
        Ok(n_samples)
    }
}
