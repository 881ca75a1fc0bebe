//! A webhook receiver that logs every delivery with its idempotency key and the
//! instant at which it came, and can be told to refuse.

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::units::UnixMillis;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One delivery.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// When it came.
    pub at: UnixMillis,
    /// `Idempotency-Key`.
    pub key: String,
    /// `X-Signalbox-Signature`, empty without.
    pub signature: String,
    /// The body as JSON.
    pub body: serde_json::Value,
    /// The body as it came.
    pub raw: Vec<u8>,
    /// What the sink answered.
    pub answered: u16,
}

/// A webhook receiver on a free loopback port, in a thread of its own.
pub struct Sink {
    /// Where it listens.
    pub port: u16,
    log: Arc<Log>,
}

struct Log {
    deliveries: Mutex<Vec<Delivery>>,
    answer: AtomicU16,
    clock: SystemClock,
}

impl Sink {
    /// Starts it.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start() -> Result<Sink> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("bind the sink")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let log =
            Arc::new(Log { deliveries: Mutex::default(), answer: AtomicU16::new(200), clock: SystemClock::start() });
        let router = Router::new().route("/{*any}", post(take)).with_state(Arc::clone(&log));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, router).await
            })
        });
        Ok(Sink { port, log })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// Answers with this status from now on.
    pub fn answer_with(&self, status: u16) {
        self.log.answer.store(status, Ordering::SeqCst);
    }

    /// Everything that came so far.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.log.deliveries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Deliveries that it accepted.
    pub fn accepted(&self) -> Vec<Delivery> {
        self.deliveries().into_iter().filter(|delivery| delivery.answered == 200).collect()
    }
}

async fn take(State(log): State<Arc<Log>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let answered = log.answer.load(Ordering::SeqCst);
    let delivery = Delivery {
        at: log.clock.wall(),
        key: header("idempotency-key"),
        signature: header("x-signalbox-signature"),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        raw: body.to_vec(),
        answered,
    };
    log.deliveries.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
    StatusCode::from_u16(answered).unwrap_or(StatusCode::OK)
}
