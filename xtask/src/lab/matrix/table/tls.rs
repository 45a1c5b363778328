//! Rows in which the handshake with the backend fails, and those of [`super::response`] again, with
//! TLS in between.

use super::response::{FIN, FIN_MARKS, RACE, REUSED_MARKS, RST, RST_MARKS, TIMEOUT, TIMEOUT_MARKS};
use super::{BASE, ERROR_OR_HIDDEN, cannot};
use crate::lab::matrix::plan::{Expect, Impossible, Make, Marks, Method, Row, Variant, Way};
use crate::lab::proxy::Kind::{Apache, Envoy, Haproxy, Nginx};

const ALERT: Expect = Expect::Rule(&["tls-alert-from-backend"]);
const VERIFY: Expect = Expect::Rule(&["tls-verify-failed"]);
const TO_PLAIN: Expect = Expect::Rule(&["tls-to-plaintext"]);
const TO_TLS: Expect = Expect::Rule(&["plaintext-to-tls"]);
const SILENT: Expect = Expect::Rule(&["tls-handshake-timeout"]);

const BROKEN_MARKS: Marks = Marks {
    nginx: &["peer closed connection in SSL handshake"],
    haproxy: &[" 503 …SC"],
    envoy: &["503…UF", "UF…503"],
    apache: &["\" 500 "],
};

const ALERT_MARKS: Marks = Marks {
    nginx: &["SSL_do_handshake() failed…alert"],
    ..BROKEN_MARKS
};

/// In TLS 1.3 the client is done with the handshake before the server has looked at its
/// certificate (RFC 8446, 2): the alert comes where the response is awaited, and it is encrypted.
/// From a goodbye (`close_notify`), which has the same size, only those who hold the keys can tell
/// it.
const HIDDEN_ALERT: Expect = Expect::Rule(&[
    "tls-alert-from-backend",
    "tls-peer-closed",
    "fin-before-response",
    "rst-before-response",
]);
const LATE_ALERT_MARKS: Marks = Marks {
    nginx: &["alert certificate required"],
    haproxy: &[" 502 …SH", " 503 …SC"],
    envoy: &["503…UC", "UC…503", "503…UF", "UF…503"],
    apache: &["\" 502 ", "\" 500 "],
};

const VERIFY_MARKS: Marks = Marks {
    nginx: &[
        "upstream SSL certificate verify error",
        "upstream SSL certificate does not match",
    ],
    haproxy: &[" 503 …SC"],
    envoy: &["CERTIFICATE_VERIFY_FAILED"],
    apache: &["\" 500 "],
};

const TO_PLAIN_MARKS: Marks = Marks {
    nginx: &["wrong version number", "upstream prematurely sent response"],
    haproxy: &[" 503 …SC"],
    envoy: &["WRONG_VERSION_NUMBER"],
    apache: &["\" 500 "],
};

/// The backend's page is passed on.
const PAGE_MARKS: Marks = Marks {
    nginx: &["\"status\":\"400\""],
    haproxy: &[" 400 …----"],
    envoy: &["via_upstream"],
    apache: &["\" 400 "],
};

const SILENT_MARKS: Marks = Marks {
    nginx: &["upstream timed out (110:…SSL handshaking"],
    haproxy: &[" 503 …sC"],
    envoy: &["connection_timeout"],
    apache: &["\" 500 "],
};

/// Over TLS, NGINX calls a reset a premature close.
const TLS_RST_MARKS: Marks = Marks {
    nginx: FIN_MARKS.nginx,
    ..RST_MARKS
};

const fn through(
    name: &'static str,
    door: &'static str,
    expect: Expect,
    marks: Marks,
    short: bool,
) -> Variant {
    Variant {
        name,
        way: Way::Door(door),
        local: expect,
        remote: expect,
        marks,
        short,
        ..BASE
    }
}

/// A good handshake, and then that fault.
const fn over(
    name: &'static str,
    door: &'static str,
    fault: &'static str,
    expect: Expect,
    marks: Marks,
) -> Variant {
    Variant {
        make: Make::Ask {
            fault,
            after: (0, 100),
        },
        ..through(name, door, expect, marks, false)
    }
}

/// The same on a kept connection.
const fn again(
    name: &'static str,
    door: &'static str,
    fault: &'static str,
    expect: Expect,
) -> Variant {
    Variant {
        make: Make::Reused {
            fault,
            after: (0, 100),
        },
        outcomes: ERROR_OR_HIDDEN,
        ..through(name, door, expect, REUSED_MARKS, false)
    }
}

/// Nothing fails.
const fn healthy(name: &'static str, door: &'static str) -> Variant {
    Variant {
        outcomes: &[],
        ..through(name, door, Expect::Nothing, super::UNCHECKED, true)
    }
}

const fn crossing(name: &'static str, door: &'static str) -> Variant {
    Variant {
        make: Make::Race,
        method: Method::Post,
        outcomes: ERROR_OR_HIDDEN,
        // A server that says goodbye closes in two steps, and in between its kernel acknowledges what
        // nobody will read: from afar that may be a backend that read it and closed.
        remote: Expect::Rule(&[
            "keepalive-race",
            "rst-before-response",
            "fin-before-response",
        ]),
        ..through(name, door, RACE, REUSED_MARKS, false)
    }
}

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "E09",
        variants: &[
            through(
                "fin",
                "tls_fin",
                Expect::Rule(&["tls-peer-closed"]),
                BROKEN_MARKS,
                true,
            ),
            through(
                "reset",
                "tls_reset",
                Expect::Rule(&["tls-reset"]),
                Marks {
                    nginx: &["peer closed connection in SSL handshake (104:"],
                    ..BROKEN_MARKS
                },
                true,
            ),
            healthy("good12", "tls_good12"),
            healthy("good13", "tls_good13"),
            healthy("kept12", "tls_kept12"),
            healthy("kept13", "tls_kept13"),
        ],
    },
    Row {
        id: "E10",
        variants: &[
            through("handshake", "tls_alert40", ALERT, ALERT_MARKS, true),
            through("badcertificate", "tls_alert42", ALERT, ALERT_MARKS, false),
            through("version", "tls_alert70", ALERT, ALERT_MARKS, false),
            through("internal", "tls_alert80", ALERT, ALERT_MARKS, false),
            through("name", "tls_alert112", ALERT, ALERT_MARKS, false),
            through("client12", "tls_client12", ALERT, ALERT_MARKS, true),
            through(
                "client13",
                "tls_client13",
                HIDDEN_ALERT,
                LATE_ALERT_MARKS,
                true,
            ),
        ],
    },
    Row {
        id: "E11",
        variants: &[
            through("expired12", "tls_expired12", VERIFY, VERIFY_MARKS, true),
            through("expired13", "tls_expired13", VERIFY, VERIFY_MARKS, true),
            through("name12", "tls_name12", VERIFY, VERIFY_MARKS, false),
            through("name13", "tls_name13", VERIFY, VERIFY_MARKS, false),
            through("unknown12", "tls_unknown12", VERIFY, VERIFY_MARKS, false),
            through("unknown13", "tls_unknown13", VERIFY, VERIFY_MARKS, false),
            healthy("unverified", "tls_unverified"),
        ],
    },
    Row {
        id: "E12",
        variants: &[
            through("http", "tls_text", TO_PLAIN, TO_PLAIN_MARKS, true),
            through("banner", "tls_banner", TO_PLAIN, TO_PLAIN_MARKS, false),
        ],
    },
    Row {
        id: "E13",
        variants: &[
            Variant {
                proxies: &[Haproxy, Envoy, Apache],
                ..through(
                    "alert",
                    "plain_to_rustls",
                    TO_TLS,
                    Marks {
                        nginx: &[],
                        haproxy: &[" 502 …PH"],
                        envoy: &["UC", "UPE"],
                        apache: &["\" 502 "],
                    },
                    true,
                )
            },
            through("page", "plain_to_nginx", TO_TLS, PAGE_MARKS, true),
            through("gopage", "plain_to_go", TO_TLS, PAGE_MARKS, false),
            // A close without a word has many causes, and nobody can see this one.
            through(
                "close",
                "plain_to_openssl",
                Expect::Rule(&[
                    "plaintext-to-tls",
                    "fin-before-response",
                    "rst-before-response",
                ]),
                Marks {
                    nginx: &["failed (104:", "prematurely closed"],
                    haproxy: &[" 502 …SH"],
                    envoy: &["UC"],
                    apache: &["\" 502 "],
                },
                true,
            ),
        ],
    },
    Row {
        id: "E14",
        variants: &[
            through("deaf", "tls_deaf", SILENT, SILENT_MARKS, true),
            through("mute", "tls_mute", SILENT, SILENT_MARKS, false),
            through("part", "tls_part", SILENT, SILENT_MARKS, true),
        ],
    },
    Row {
        id: "E15",
        variants: &[
            crossing("tls12", "tls_kept12"),
            crossing("tls13", "tls_kept13"),
        ],
    },
    Row {
        id: "E17",
        variants: &[
            over("tls12", "tls_good12", "fin", FIN, FIN_MARKS),
            over("tls13", "tls_good13", "fin", FIN, FIN_MARKS),
            again("tls12kept", "tls_kept12", "fin", FIN),
            again("tls13kept", "tls_kept13", "fin", FIN),
        ],
    },
    Row {
        id: "E18",
        variants: &[
            over("tls12", "tls_good12", "rst", RST, TLS_RST_MARKS),
            over("tls13", "tls_good13", "rst", RST, TLS_RST_MARKS),
            again("tls12kept", "tls_kept12", "rst", RST),
            again("tls13kept", "tls_kept13", "rst", RST),
        ],
    },
    Row {
        id: "E20",
        variants: &[
            over("tls12", "tls_good12", "hang", TIMEOUT, TIMEOUT_MARKS),
            over("tls13", "tls_good13", "hang", TIMEOUT, TIMEOUT_MARKS),
        ],
    },
];

pub(super) const IMPOSSIBLE: &[Impossible] = &[cannot(
    "E13",
    "alert",
    Nginx,
    "it takes the alert for HTTP/0.9 and passes it on (its log: 009)",
)];
