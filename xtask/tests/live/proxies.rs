//! Each proxy with every rule that it can show.

use xtask::lab::proxy::{Kind, Route};

use crate::story::{LogSays, Race, Sent, Story, To, Try, Want, answered, try_to};
use crate::turn;

fn delivered(ended_by: &'static str, how: &'static str) -> Try {
    try_to(To::Main, Sent::Delivered, ended_by, how)
}

const REFUSED: Try = try_to(To::Refused, Sent::No, "backend", "refused");
const RACE: Try = try_to(To::Main, Sent::TooLate, "backend", "reset");

/// What all four do alike, but for the status.
struct Statuses {
    refused: u16,
    connect_timeout: u16,
    ended_early: u16,
    partial_header: u16,
    response_timeout: u16,
    nobody: u16,
}

fn common(story: &mut Story, statuses: &Statuses) {
    let Statuses {
        refused,
        connect_timeout,
        ended_early,
        partial_header,
        response_timeout,
        nobody,
    } = *statuses;
    let error = Want::error;
    for (route, fault, want) in [
        (
            Route::Refused,
            "/ok",
            error(refused, "connect-refused", REFUSED),
        ),
        (
            Route::BlackHole,
            "/ok",
            error(
                connect_timeout,
                "connect-timeout",
                try_to(To::BlackHole, Sent::No, "proxy", "timeout"),
            ),
        ),
        (
            Route::Fresh,
            "/fin",
            error(
                ended_early,
                "fin-before-response",
                delivered("backend", "fin"),
            ),
        ),
        (
            Route::Pooled,
            "/fin",
            error(
                ended_early,
                "fin-before-response",
                delivered("backend", "fin"),
            ),
        ),
        (
            Route::Fresh,
            "/rst",
            error(
                ended_early,
                "rst-before-response",
                delivered("backend", "reset"),
            ),
        ),
        (
            Route::Fresh,
            "/partial-header",
            error(
                partial_header,
                "partial-header",
                delivered("backend", "fin"),
            ),
        ),
        (
            Route::Fresh,
            "/hang",
            error(
                response_timeout,
                "response-timeout",
                delivered("proxy", "timeout"),
            ),
        ),
        (
            Route::Fresh,
            "/502",
            error(502, "application-502", answered(To::Main)),
        ),
        (
            Route::Pooled,
            "/503",
            error(503, "application-502", answered(To::Main)),
        ),
        (
            Route::Fresh,
            "/body-fin",
            Want::truncated("body-truncated-fin", "fin"),
        ),
        (
            Route::Fresh,
            "/body-rst",
            Want::truncated("body-truncated-rst", "reset"),
        ),
        (
            Route::Fresh,
            "/body-fin?length=300000&sent=200000",
            Want::truncated("body-truncated-fin", "fin"),
        ),
        (
            Route::Pooled,
            "/body-rst?length=300000&sent=200000",
            Want::truncated("body-truncated-rst", "reset"),
        ),
        (
            Route::Fresh,
            "/chunked-fin",
            Want::truncated("body-truncated-fin", "fin"),
        ),
        (
            Route::Pooled,
            "/chunked-rst",
            Want::truncated("body-truncated-rst", "reset"),
        ),
        (Route::Nobody, "/ok", Want::nobody(nobody)),
    ] {
        story.fault(route, fault, &want);
    }
    story.client_abort(Route::Fresh);
}

/// A connection that was refused and an answer that came from elsewhere: often nothing but the time
/// ties them together, because the request went out only once.
fn refused_then_answered() -> Want {
    Want::masked("connect-refused", REFUSED, To::Second, LogSays::Retry).or_weak()
}

fn masked_retries(story: &mut Story) {
    story.fault(Route::RetryRefused, "/ok", &refused_then_answered());
    let failed = delivered("backend", "fin");
    let ended = Want::masked("fin-before-response", failed, To::Second, LogSays::Retry);
    story.fault(Route::Retry, "/fin", &ended);
}

#[test]
fn nginx() {
    let Some(_turn) = turn(&[Kind::Nginx]) else {
        return;
    };
    let mut story = Story::start(Kind::Nginx);
    story.healthy();
    common(
        &mut story,
        &Statuses {
            refused: 502,
            connect_timeout: 504,
            ended_early: 502,
            partial_header: 502,
            response_timeout: 504,
            nobody: 502,
        },
    );
    masked_retries(&mut story);
    let race = Want::error(502, "keepalive-race", RACE);
    story.race(Route::Pooled, Race::Paused, "POST", &race);
    story.race(Route::Pooled, Race::LostFin, "POST", &race);
    // Not a race: the connection was used before, but the backend had the request.
    let had_it = delivered("backend", "fin");
    let on_reused = Want::error(502, "fin-before-response", had_it);
    story.fault_on_reused(Route::Pooled, "/fin", &on_reused);
    // A GET is sent again.
    let hidden = Want::masked("keepalive-race", RACE, To::Main, LogSays::OurRule);
    story.race(Route::Pooled, Race::Paused, "GET", &hidden);
    story.race(Route::Pooled, Race::LostFin, "GET", &hidden);
    story.healthy();
    story.finish();
}

#[test]
fn haproxy() {
    let Some(_turn) = turn(&[Kind::Haproxy]) else {
        return;
    };
    let mut story = Story::start(Kind::Haproxy);
    story.healthy();
    common(
        &mut story,
        &Statuses {
            refused: 503,
            connect_timeout: 503,
            ended_early: 502,
            partial_header: 502,
            response_timeout: 504,
            nobody: 503,
        },
    );
    masked_retries(&mut story);
    let silent = Want::dropped("keepalive-race", RACE, LogSays::Nothing);
    story.race(Route::Pooled, Race::LostFin, "GET", &silent);
    story.race(Route::Pooled, Race::LostFin, "POST", &silent);
    // Not a race, though HAProxy treats it as one.
    let had_it = delivered("backend", "fin");
    let on_reused = Want::dropped("fin-before-response", had_it, LogSays::Nothing);
    story.fault_on_reused(Route::Pooled, "/fin", &on_reused);
    let told = Want::error(502, "keepalive-race", RACE);
    story.race(Route::Shared, Race::LostFinNewClient, "GET", &told);
    story.healthy();
    story.finish();
}

#[test]
fn envoy() {
    let Some(_turn) = turn(&[Kind::Envoy]) else {
        return;
    };
    let mut story = Story::start(Kind::Envoy);
    story.healthy();
    common(
        &mut story,
        &Statuses {
            refused: 503,
            connect_timeout: 503,
            ended_early: 503,
            // Envoy calls half a head a protocol error.
            partial_header: 502,
            response_timeout: 504,
            nobody: 503,
        },
    );
    masked_retries(&mut story);
    let race = Want::error(503, "keepalive-race", RACE);
    story.race(Route::Pooled, Race::LostFin, "GET", &race);
    story.race(Route::Pooled, Race::LostFin, "POST", &race);
    // Not a race: the backend had the request, whether its kernel had time to say so or not.
    for (fault, sent) in [
        ("/rst", Sent::DeliveredUnacked),
        ("/rst?after=120", Sent::Delivered),
    ] {
        let had_it = try_to(To::Main, sent, "backend", "reset");
        let on_reused = Want::error(503, "rst-before-response", had_it);
        story.fault_on_reused(Route::Pooled, fault, &on_reused);
    }
    story.healthy();
    story.finish();
}

#[test]
fn apache() {
    let Some(_turn) = turn(&[Kind::Apache]) else {
        return;
    };
    let mut story = Story::start(Kind::Apache);
    story.healthy();
    common(
        &mut story,
        &Statuses {
            refused: 503,
            connect_timeout: 503,
            ended_early: 502,
            partial_header: 502,
            response_timeout: 502,
            nobody: 503,
        },
    );
    story.fault_one(Route::RetryRefused, "/ok", &refused_then_answered(), true);
    let silent = Want::dropped("keepalive-race", RACE, LogSays::OurRule);
    story.race(Route::Pooled, Race::LostFin, "GET", &silent);
    story.race(Route::Pooled, Race::LostFin, "POST", &silent);
    story.healthy();
    story.finish();
}
