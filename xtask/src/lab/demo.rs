//! The demonstration: a real NGINX in front of a backend that fails in several ways, traced and
//! explained, and everything stopped again.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::capture::{Capture, Ended, Output};
use super::client::{Client, Request};
use super::proxy::{Kind, Options, Route};
use super::ready;
use super::stand::{Behind, Stand};

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Rules that the report must name, or the demonstration has failed.
const PROMISED: [&str; 7] = [
    "connect-refused",
    "fin-before-response",
    "rst-before-response",
    "keepalive-race",
    "body-truncated-fin",
    "response-timeout",
    "application-502",
];

/// How long the pooled connection is left alone before the race, so that the report has a gap to
/// show.
const IDLE_GAP: Duration = Duration::from_millis(1500);

/// Runs it: the report goes to standard output, the conversation to standard error.
pub fn run(format: Format, why502: &Path) -> Result<()> {
    let missing = ready::missing(&[Kind::Nginx]);
    ensure!(missing.is_empty(), "the demo needs {}", missing.join(", "));
    let stand = Stand::with(Kind::Nginx, Options::default(), Behind::without_filter()?)?;
    eprintln!(
        "demo: NGINX (pid {}) in front of a backend on {}",
        stand.proxy.pid(),
        stand.behind.main.addr()
    );
    let recording = stand.proxy.dir().join("demo.w502");
    let pid = stand.proxy.pid().to_string();
    let file = recording.to_str().context("odd temporary directory")?;
    let args = ["--pid", &pid, "--format", format.name(), "-w", file];
    let output = match format {
        Format::Text => Output::Inherit,
        Format::Json => Output::Collect,
    };
    let capture = Capture::start(why502, &args, output)?;
    eprintln!(
        "demo: why502 is attached ({} ms)",
        capture.attach_time().as_millis()
    );
    traffic(&stand)?;
    eprintln!("demo: the report\n");
    let ended = capture.stop()?;
    ensure!(
        ended.code == 0,
        "why502 ended with code {}: {}",
        ended.code,
        ended.stderr
    );
    let document = replay(why502, &recording)?;
    check(&document)?;
    if format == Format::Json {
        print_checked(&ended, &document)?;
    }
    drop(stand);
    eprintln!("\ndemo: everything that was started is stopped");
    Ok(())
}

/// Requests of every kind, with a word about each.
fn traffic(stand: &Stand) -> Result<()> {
    let say = |count: usize, what: &str| eprintln!("demo: {count:>4} × {what}");
    let repeat = |count: usize, route: Route, request: &Request<'_>, what: &str| -> Result<()> {
        say(count, what);
        for _ in 0..count {
            stand.ask(route, request)?;
        }
        Ok(())
    };

    say(600, "healthy requests over kept connections");
    let mut client = Client::connect(stand.proxy.front(Route::Pooled))?;
    for number in 0..600 {
        let pause = number % 7;
        let target = format!("/slow/catalogue?ms={pause}");
        let reply = client.send(&Request::get(&target))?;
        ensure!(
            reply.status == Some(200),
            "a healthy request failed: {reply:?}"
        );
    }
    drop(client);

    repeat(
        3,
        Route::Refused,
        &Request::get("/ok/cart"),
        "nothing listens on the backend's port",
    )?;
    repeat(
        5,
        Route::Fresh,
        &Request::get("/fin/search?q=x"),
        "the backend closes without an answer",
    )?;
    repeat(
        4,
        Route::Fresh,
        &Request::get("/rst/login"),
        "the backend resets without an answer",
    )?;
    repeat(
        2,
        Route::Fresh,
        &Request::get("/body-fin/export"),
        "the backend closes in mid-response",
    )?;
    repeat(
        2,
        Route::Fresh,
        &Request::get("/hang/report"),
        "no answer within 0.5 s",
    )?;
    repeat(
        3,
        Route::Fresh,
        &Request::get("/502/pay"),
        "the application itself says 502",
    )?;
    repeat(
        2,
        Route::Retry,
        &Request::get("/fin/news"),
        "a failure that a retry on a second backend hides",
    )?;

    let warm_up = Request::get("/ok/cart");
    say(
        2,
        "a POST meets a kept connection that the backend is closing",
    );
    for _ in 0..2 {
        stand.drain()?;
        let order = Request::post("/ok/order", b"item=42");
        stand.race_paused_after(IDLE_GAP, Route::Pooled, &warm_up, &order)?;
    }
    say(1, "the same with a GET, which NGINX sends again");
    stand.drain()?;
    stand.race_paused(Route::Pooled, &warm_up, &Request::get("/ok/offers"))?;
    // What the last request caused is reported within half a second.
    std::thread::sleep(Duration::from_millis(500));
    Ok(())
}

/// The document that the recording gives.
fn replay(why502: &Path, recording: &Path) -> Result<Value> {
    let output = Command::new(why502)
        .arg("report")
        .arg(recording)
        .args(["--format", "json"])
        .output()
        .with_context(|| format!("cannot run {}", why502.display()))?;
    ensure!(
        output.status.success(),
        "the recording cannot be read: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("the report is not JSON")
}

/// Everything that was made to fail must be in the report.
fn check(document: &Value) -> Result<()> {
    let rules: Vec<_> = document["groups"]
        .as_array()
        .context("the report has no groups")?
        .iter()
        .filter_map(|group| group["rule"].as_str())
        .collect();
    let absent: Vec<_> = PROMISED
        .into_iter()
        .filter(|rule| !rules.contains(rule))
        .collect();
    ensure!(
        absent.is_empty(),
        "the report does not name {}; it names {rules:?}",
        absent.join(", ")
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print_checked(ended: &Ended, document: &Value) -> Result<()> {
    let stdout = ended.stdout();
    let live: Value = serde_json::from_str(&stdout).context("the live report is not JSON")?;
    ensure!(
        live == *document,
        "the report of the recording is not that of the capture"
    );
    print!("{stdout}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_missing_rule_fails_the_demo() {
        let groups = |rules: &[&str]| {
            let groups: Vec<_> = rules.iter().map(|rule| json!({"rule": rule})).collect();
            json!({"groups": groups})
        };
        assert!(check(&groups(&PROMISED)).is_ok());
        let error = check(&groups(&PROMISED[1..])).unwrap_err();
        assert!(
            error.to_string().contains("does not name connect-refused"),
            "{error}"
        );
        assert!(check(&json!({})).is_err());
    }
}
