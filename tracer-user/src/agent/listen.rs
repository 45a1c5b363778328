//! `/metrics` and `/healthz` over HTTP/1.1, for a few readers at a time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::held::held;
use super::vitals::Vitals;
use crate::export::Family;
use crate::export::prometheus::{self, Exposition};

/// Readers at a time; others wait in the accept queue.
const CONNECTIONS: usize = 16;
/// A connection ends after this time, whatever it does.
const PATIENCE: Duration = Duration::from_secs(10);
/// A request's head comes within this time …
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// … and is not larger, bytes (hyper's smallest buffer).
const HEAD_MAX: usize = 8192;

/// More metrics for the page.
pub(super) type More = Box<dyn Fn() -> Vec<Family> + Send + Sync>;

/// What can be asked for.
#[derive(Default)]
pub(super) struct Pages {
    pub(super) vitals: Mutex<Vitals>,
    /// Of the exporters.
    pub(super) more: Vec<More>,
}

/// A listener; closed when dropped.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens from now on. To be called within the runtime.
pub(super) fn listen(addr: SocketAddr, pages: Arc<Pages>) -> anyhow::Result<Listening> {
    let bind = || -> std::io::Result<TcpListener> {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    let listener = bind().with_context(|| {
        format!("cannot listen on {addr} for metrics (listen of [metrics]; \"off\" for none)")
    })?;
    let addr = listener.local_addr()?;
    let task = tokio::spawn(serve(listener, pages));
    Ok(Listening { addr, task })
}

async fn serve(listener: TcpListener, pages: Arc<Pages>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors: it may pass.
                tracing::warn!("cannot accept a reader of metrics: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let pages = Arc::clone(&pages);
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let response = answer(&request, &pages);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_PATIENCE)
                .max_buf_size(HEAD_MAX)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            // A reader that breaks off is not our concern.
            let _ = timeout(PATIENCE, connection).await;
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>, pages: &Pages) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let vitals = || held(&pages.vitals).clone();
    match request.uri().path() {
        "/metrics" => {
            let accept = request.headers().get_all(ACCEPT).iter();
            let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
            let form = Exposition::of_accept(&accept.join(","));
            let mut families: Vec<Family> = pages.more.iter().flat_map(|more| more()).collect();
            families.extend(vitals().families());
            let page = prometheus::text(&families, form);
            with(StatusCode::OK, form.content_type(), page)
        }
        "/healthz" => with(StatusCode::OK, "application/json", vitals().health()),
        "/" => text(StatusCode::OK, "why502 agent: /metrics, /healthz\n".into()),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics and /healthz\n".into(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    with(status, "text/plain; charset=utf-8", body)
}

fn with(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let value = hyper::header::HeaderValue::from_static;
    headers.insert(CONTENT_TYPE, value(content_type));
    headers.insert(CACHE_CONTROL, value("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use crate::export::{Point, Points};

    /// Sends that, and gives everything that comes back.
    fn say(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn what_can_be_asked() {
        let runtime = crate::capture::runtime().unwrap();
        let inside = runtime.enter();
        let more = || {
            let points = Points::Counter(vec![Point::new(Vec::new(), 7)]);
            vec![Family::new("more.things", "{thing}", "More.", points)]
        };
        let pages = Pages {
            more: vec![Box::new(more)],
            ..Pages::default()
        };
        let listening = listen(([127, 0, 0, 1], 0).into(), Arc::new(pages)).unwrap();
        let addr = listening.addr;
        let again = listen(addr, Arc::default()).unwrap_err();
        assert!(
            format!("{again:#}").contains("listen of [metrics]"),
            "{again:#}"
        );
        drop(inside);
        let asking = std::thread::spawn(move || questions(addr));
        runtime.block_on(async {
            while !asking.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        asking.join().unwrap();
        drop(listening);
    }

    fn questions(addr: SocketAddr) {
        let openmetrics = "Accept: application/openmetrics-text;version=1.0.0\r\n";
        let long = format!("X-Long: {}\r\n", "x".repeat(HEAD_MAX));
        let table = [
            (
                "GET /metrics",
                "",
                "200 OK",
                "why502_agent_uptime_seconds 0",
            ),
            ("GET /metrics", "", "200 OK", "version=0.0.4"),
            ("GET /metrics", "", "200 OK", "\nmore_things_total 7"),
            ("GET /metrics?x=1", openmetrics, "200 OK", "# EOF"),
            (
                "GET /metrics",
                openmetrics,
                "200 OK",
                "# TYPE more_things counter",
            ),
            ("GET /healthz", "", "200 OK", "\"status\":\"ok\""),
            ("GET /secret", "", "404", "/healthz"),
            ("POST /metrics", "", "405", "allow: GET, HEAD"),
            ("GET /metrics", long.as_str(), "431", ""),
        ];
        for (line, headers, status, word) in table {
            let answer = say(
                addr,
                &format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"),
            );
            let head = answer.lines().next().unwrap_or("");
            assert!(head.contains(status), "{line}: {answer}");
            assert!(answer.contains(word), "{line}: {answer}");
        }
        assert!(say(addr, "\x00\x01nonsense\r\n\r\n").contains("400"));
        // Silent readers take the places; the next one gets its turn when their patience is over, and
        // this one leaves at once.
        let silent: Vec<TcpStream> = (0..CONNECTIONS)
            .map(|_| TcpStream::connect(addr).unwrap())
            .collect();
        drop(silent);
        assert!(say(addr, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").contains("200 OK"));
    }
}
