//! Datadog's test agent: a receiver of OTLP that shares no code with the OpenTelemetry project's own
//! and keeps what was posted word for word. A recorder, not a judge: it checks no field.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Signal;
use super::http::{self, Answer};
use super::python::python;
use super::service::{Service, answers};
use crate::lab::net::free_ports;

/// A running recorder; ended when dropped.
pub struct Recorder {
    service: Service,
    addr: SocketAddr,
}

impl Recorder {
    /// Starts one and waits until it answers. Errors hold its log.
    pub fn start() -> Result<Self> {
        let ports = free_ports(3)?;
        let [agent, http, grpc] = ports[..] else {
            bail!("three ports were asked for");
        };
        let directory = Service::directory()?;
        let mut command = python()?;
        command
            .args([
                "-c",
                "from ddapm_test_agent.agent import main; main()",
                "--host",
                "127.0.0.1",
                "--disable-llmobs-data-forwarding",
            ])
            .args(["--port", &agent.port().to_string()])
            .args(["--otlp-http-port", &http.port().to_string()])
            .args(["--otlp-grpc-port", &grpc.port().to_string()])
            .env("HOME", directory.path());
        let service = Service::start("ddapm-test-agent", &mut command, directory, || {
            answers(http, "/test/session/traces")
        })?;
        Ok(Self {
            service,
            addr: http,
        })
    }

    /// Where it listens for OTLP.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Posts a document.
    pub fn post(&self, signal: Signal, body: &[u8]) -> Result<Answer> {
        http::post_json(self.addr, &signal.path(), body)
            .with_context(|| self.service.explain("did not answer"))
    }

    /// The documents that came since the start or the last [`Self::clear`], in their order.
    pub fn documents(&self, signal: Signal) -> Result<Vec<Value>> {
        let path = format!("/test/session/{}", signal.name());
        let answer = http::get(self.addr, &path)?;
        match (answer.status, answer.json()?) {
            (200, Value::Array(documents)) => Ok(documents),
            (status, other) => bail!(
                "{}",
                self.service.explain(&format!("answered {status}: {other}"))
            ),
        }
    }

    /// Forgets.
    pub fn clear(&self) -> Result<()> {
        http::get(self.addr, "/test/session/clear").map(drop)
    }
}
