//! Rows in which the backend's response breaks the rules of HTTP/1.1, or the proxy's limits.

use super::{ALL, BASE, UNCHECKED, cannot};
use crate::lab::matrix::plan::{Expect, Impossible, Make, Marks, Method, Row, Variant, Way};
use crate::lab::proxy::Kind::{self, Apache, Envoy, Haproxy, Nginx};

const TOO_LARGE: Expect = Expect::Rule(&["header-too-large"]);
/// Small, and yet beyond a limit.
const TOO_MANY: Expect = Expect::Rule(&["header-too-large", "malformed-response"]);
const MALFORMED: Expect = Expect::Rule(&["malformed-response"]);
const CONFLICTING: Expect = Expect::Rule(&["conflicting-framing"]);
const VERSION: Expect = Expect::Rule(&["protocol-version-mismatch"]);
const CHUNKS: Expect = Expect::Rule(&["chunk-framing-invalid"]);

/// What the proxy has sent on when it finds the fault decides whether the client gets an error, a
/// response that is cut, or (NGINX) nothing.
const ERROR_OR_CUT: &[&str] = &["error-response", "truncated", "dropped"];

const TOO_LARGE_MARKS: Marks = Marks {
    nginx: &["upstream sent too big header"],
    haproxy: &[" 502 …PH"],
    envoy: &["502…UPE", "UPE…502"],
    apache: &["AH10124"],
};

const INVALID_MARKS: Marks = Marks {
    nginx: &["upstream sent invalid header"],
    haproxy: &[" 502 …PH"],
    envoy: &["502…UPE", "UPE…502"],
    apache: &[
        "AH02429",
        "AH01106",
        "AH01102",
        "AH01110",
        "Corrupt status line",
    ],
};

const CHUNK_MARKS: Marks = Marks {
    nginx: &["upstream sent invalid chunked response"],
    haproxy: &["PD", " 502 …PH"],
    envoy: &["UPE"],
    apache: &["AH01110"],
};

/// With the words of each proxy's HTTP/2.
const HTTP2_MARKS: Marks = Marks {
    nginx: &["upstream sent too large http2 frame"],
    // It has not left the state of connecting: as if the connection were refused.
    haproxy: &[" 503 …SC"],
    envoy: &["502…UPE", "UPE…502", "503…UC", "UC…503", "503…UR", "UR…503"],
    apache: &["\" 50"],
};

/// The backend closes: it may do so whatever is asked, and the request says no more than that a
/// WebSocket was asked for.
const REFUSED: Expect = Expect::Rule(&["upgrade-refused", "fin-before-response"]);
const REFUSED_OR_RESET: Expect = Expect::Rule(&["upgrade-refused", "rst-before-response"]);
/// Likewise for an error page.
const REFUSED_OR_FAILED: Expect = Expect::Rule(&["upgrade-refused", "application-502"]);

const ONLY_REFUSED: Expect = Expect::Rule(&["upgrade-refused"]);

const fn upgrade(name: &'static str, fault: &'static str, rule: Expect) -> Variant {
    Variant {
        way: Way::Upgrade,
        method: Method::Upgrade,
        marks: UNCHECKED,
        ..invalid(name, fault, ALL, rule)
    }
}

const fn ask(fault: &'static str) -> Make {
    Make::Ask {
        fault,
        after: (0, 1),
    }
}

const fn large(name: &'static str, fault: &'static str, proxies: &'static [Kind]) -> Variant {
    Variant {
        name,
        proxies,
        make: ask(fault),
        local: TOO_LARGE,
        remote: TOO_LARGE,
        marks: TOO_LARGE_MARKS,
        short: false,
        ..BASE
    }
}

const fn invalid(
    name: &'static str,
    fault: &'static str,
    proxies: &'static [Kind],
    rule: Expect,
) -> Variant {
    Variant {
        name,
        proxies,
        make: ask(fault),
        local: rule,
        remote: rule,
        marks: INVALID_MARKS,
        short: false,
        ..BASE
    }
}

const fn chunks(name: &'static str, fault: &'static str) -> Variant {
    Variant {
        outcomes: ERROR_OR_CUT,
        marks: CHUNK_MARKS,
        ..invalid(name, fault, ALL, CHUNKS)
    }
}

const fn in_short(variant: Variant) -> Variant {
    Variant {
        short: true,
        ..variant
    }
}

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "E24",
        variants: &[
            // NGINX takes a page for the whole head, Apache 8190 bytes a line, HAProxy 15 KiB,
            // Envoy 80 KiB.
            in_short(large("h4k", "head-size?bytes=4200", &[Nginx])),
            in_short(large("h8k", "head-size?bytes=8500", &[Nginx, Apache])),
            in_short(large(
                "h17k",
                "head-size?bytes=17000",
                &[Nginx, Haproxy, Apache],
            )),
            large("h33k", "head-size?bytes=33000", &[Nginx, Haproxy, Apache]),
            large("h62k", "head-size?bytes=62500", &[Nginx, Haproxy, Apache]),
            in_short(large("h90k", "head-size?bytes=90000", ALL)),
            large("h140k", "head-size?bytes=140000", ALL),
            large("sum17k", "head-sum?bytes=17000", &[Nginx, Haproxy]),
            large("sum90k", "head-sum?bytes=90000", &[Nginx, Haproxy, Envoy]),
            // More lines than HAProxy (101) and Envoy (100) take.
            Variant {
                local: TOO_MANY,
                remote: TOO_MANY,
                ..large("lines", "head-lines?lines=150", &[Haproxy, Envoy])
            },
        ],
    },
    Row {
        id: "E25",
        variants: &[
            in_short(invalid("nulname", "nul-name", ALL, MALFORMED)),
            invalid("nulvalue", "nul-value", &[Nginx, Envoy, Apache], MALFORMED),
            in_short(invalid("spacecolon", "space-colon", ALL, MALFORMED)),
            // A backend that closes at once, as one that was asked to.
            invalid("spacecolonfin", "space-colon?stay=0", ALL, MALFORMED),
            invalid("nocolon", "no-colon", ALL, MALFORMED),
            in_short(invalid("garbage", "garbage", &[Haproxy, Envoy], MALFORMED)),
            invalid("garbagefin", "garbage?stay=0", &[Haproxy, Envoy], MALFORMED),
            invalid("badstatus", "bad-status", &[Haproxy, Envoy], MALFORMED),
            invalid("badversion", "bad-version", &[Apache], MALFORMED),
        ],
    },
    Row {
        id: "E26",
        variants: &[
            in_short(invalid(
                "twolengths",
                "two-lengths",
                &[Haproxy, Envoy],
                CONFLICTING,
            )),
            in_short(invalid(
                "badlength",
                "bad-length",
                &[Haproxy, Envoy, Apache],
                CONFLICTING,
            )),
            invalid("lengthchunked", "length-chunked", &[Envoy], CONFLICTING),
            invalid("oddcoding", "odd-coding", &[Haproxy, Envoy], CONFLICTING),
        ],
    },
    Row {
        id: "E27",
        variants: &[
            in_short(invalid(
                "settings",
                "h2-settings",
                &[Haproxy, Envoy, Apache],
                VERSION,
            )),
            in_short(Variant {
                way: Way::Door("h2_to_text"),
                marks: HTTP2_MARKS,
                ..invalid("preface", "ok", ALL, VERSION)
            }),
        ],
    },
    Row {
        id: "E28",
        variants: &[
            in_short(upgrade("fin", "fin", REFUSED)),
            upgrade("rst", "rst", REFUSED_OR_RESET),
            in_short(upgrade("status400", "400", ONLY_REFUSED)),
            upgrade("status426", "426", ONLY_REFUSED),
            in_short(upgrade("status503", "503", REFUSED_OR_FAILED)),
        ],
    },
    Row {
        id: "E31",
        variants: &[
            in_short(chunks("first", "bad-chunk-first")),
            in_short(chunks("later", "bad-chunk-later")),
            chunks("firstfin", "bad-chunk-first?stay=0"),
            chunks("laterfin", "bad-chunk-later?stay=0"),
        ],
    },
    Row {
        id: "E32",
        variants: &[
            // The client gets a whole response, and nothing is to be reported.
            Variant {
                make: ask("surplus"),
                name: "atonce",
                outcomes: &[],
                ..BASE
            },
            Variant {
                make: ask("surplus-later"),
                name: "later",
                outcomes: &[],
                ..BASE
            },
        ],
    },
];

const PASSED_ON: &str = "it passes the response on as it is";
const HTTP_09: &str = "it takes what is not HTTP/1 for HTTP/0.9 and passes it on (its log: 009)";
const OLD_NGINX: &str = "before 1.23 it passes the response on";

pub(super) const IMPOSSIBLE: &[Impossible] = &[
    cannot("E25", "nulvalue", Haproxy, PASSED_ON),
    cannot("E25", "badversion", Haproxy, PASSED_ON),
    cannot("E25", "badversion", Envoy, PASSED_ON),
    cannot("E25", "badversion", Nginx, PASSED_ON),
    cannot("E25", "garbage", Nginx, HTTP_09),
    cannot("E25", "garbagefin", Nginx, HTTP_09),
    cannot("E25", "badstatus", Nginx, HTTP_09),
    cannot("E25", "garbage", Apache, HTTP_09),
    cannot("E25", "garbagefin", Apache, HTTP_09),
    cannot("E25", "badstatus", Apache, PASSED_ON),
    cannot("E26", "", Nginx, OLD_NGINX),
    cannot("E26", "lengthchunked", Haproxy, "it leaves the length out"),
    cannot("E26", "twolengths", Apache, PASSED_ON),
    cannot("E26", "lengthchunked", Apache, PASSED_ON),
    cannot("E26", "oddcoding", Apache, PASSED_ON),
    cannot("E27", "settings", Nginx, HTTP_09),
];
