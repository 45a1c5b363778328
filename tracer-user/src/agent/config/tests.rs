use super::*;

const SHIPPED: &str = include_str!("../../../../scripts/agent/why502.toml");

/// The shipped file with every key in force.
fn uncommented() -> String {
    let is_key = |line: &&str| {
        let rest = line.strip_prefix('#').unwrap_or("");
        rest.starts_with('[') || rest.starts_with(|c: char| c.is_ascii_lowercase())
    };
    let lines = SHIPPED.lines();
    lines
        .map(|line| if is_key(&line) { &line[1..] } else { line }.to_owned() + "\n")
        .collect()
}

#[test]
fn the_shipped_file_is_the_defaults() {
    assert_eq!(Config::parse(SHIPPED), Ok(Config::default()));
    assert_eq!(Config::parse(""), Ok(Config::default()));
    let all = Config::parse(&uncommented()).unwrap();
    let receiver = |port: u16, name: &str| Receiver {
        headers_file: Some(format!("/etc/why502/{name}.headers").into()),
        ..Receiver::new(format!("http://127.0.0.1:{port}"))
    };
    let expected = Config {
        logs: vec![LogOption {
            path: "/var/log/nginx/error.log".into(),
            format: Some("nginx-error".parse().unwrap()),
        }],
        export: Export {
            otlp: Some(receiver(4318, "otlp")),
            zipkin: Some(receiver(9411, "zipkin")),
            ndjson: Some(NdjsonFile::new("/var/log/why502/cases.ndjson")),
        },
        capture: Capture {
            types: TypeSource::File("/etc/why502/kernel.btf".into()),
            ..Capture::default()
        },
        ..Config::default()
    };
    assert_eq!(all, expected);
}

#[test]
fn what_is_shown_can_be_read_again() {
    for text in [SHIPPED.to_owned(), uncommented()] {
        let config = Config::parse(&text).unwrap();
        assert_eq!(Config::parse(&config.show()), Ok(config));
    }
    // Every key of the shipped file is shown.
    let keys = |text: &str| -> Vec<String> {
        let keys = text.lines().filter(|line| !line.starts_with('#'));
        let keys = keys.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()));
        keys.collect()
    };
    let all = uncommented();
    let shown = Config::parse(&all).unwrap().show();
    assert_eq!(keys(&all), keys(&shown));
}

#[test]
fn values() {
    let capture = |change: fn(&mut Capture)| {
        let mut config = Config::default();
        change(&mut config.capture);
        config
    };
    let table = [
        (
            "[capture]\nsample = \"1/100\"",
            capture(|c| c.sample_every = 100),
        ),
        (
            "[capture]\nsample = \"all\"",
            capture(|c| c.sample_every = 1),
        ),
        ("capture.snaplen = 0x80", capture(|c| c.snaplen = 128)),
        (
            "capture.statuses = [504, 502, 504]",
            capture(|c| c.statuses = vec![502, 504]),
        ),
        (
            "capture.ring_bytes = 5_000",
            capture(|c| c.ring_bytes = 8192),
        ),
        (
            "capture.outcomes = [\"masked\", \"dropped\"]",
            capture(|c| c.outcomes = vec![Outcome::Dropped, Outcome::Masked]),
        ),
        (
            "capture.pids = [7]",
            capture(|c| (c.pids, c.proxies) = (vec![7], vec![])),
        ),
        (
            "[metrics]\nlisten = \"off\"",
            Config {
                metrics_listen: None,
                ..Config::default()
            },
        ),
        (
            "[metrics]\nlisten = \"[::1]:1\"",
            Config {
                metrics_listen: Some(([0, 0, 0, 0, 0, 0, 0, 1], 1).into()),
                ..Config::default()
            },
        ),
    ];
    for (text, expected) in table {
        assert_eq!(Config::parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let table = [
        (
            "[capture]\nsnaplen = 9999",
            2,
            11,
            "from 64 to 1024 (bytes)",
        ),
        ("[capture]\nsnaplen = -1", 2, 11, "from 64 to 1024 (bytes)"),
        ("[capture]\nsnaplen = \"512\"", 2, 11, "this is a string"),
        ("[capture]\nsnap_len = 512", 2, 1, "did you mean snaplen?"),
        (
            "[capture]\nsnaplen = 512\nsnaplen = 256",
            3,
            1,
            "duplicate key",
        ),
        ("[captrue]\nsnaplen = 512", 1, 2, "did you mean capture?"),
        (
            "snaplen = 512",
            1,
            1,
            "no key snaplen outside of the sections",
        ),
        ("capture = 5", 1, 11, "has to be a section: [capture]"),
        ("[capture]\nproxies = \"nginx\"", 2, 11, "a list of strings"),
        (
            "[capture]\nproxies = [\"nginx\", 5]",
            2,
            21,
            "a string in quotes",
        ),
        (
            "[capture]\nproxies = [\"/usr/sbin/nginx\"]",
            2,
            12,
            "without its directory",
        ),
        (
            "[capture]\nrole = \"bakend\"",
            2,
            8,
            "did you mean \"backend\"?",
        ),
        ("[capture]\noutcomes = [\"lost\"]", 2, 13, "error-response"),
        ("[capture]\nstatuses = [502, 600]", 2, 18, "from 100 to 599"),
        ("[capture]\nsample = \"0\"", 2, 10, "no share"),
        (
            "[log]\npath = \"/x\"",
            1,
            1,
            "two pairs of brackets: [[log]]",
        ),
        (
            "[[log]]\nformat = \"nginx-error\"",
            1,
            1,
            "[[log]] needs the key path",
        ),
        ("[[log]]\npath = \"access.log\"", 2, 8, "begins with /"),
        (
            "[[log]]\npath = \"/x\"\nformat = \"ngnix-error\"",
            3,
            10,
            "did you mean nginx-error?",
        ),
        ("[lookback]\nminutes = 0", 2, 11, "from 1 to 1440 (minutes)"),
        ("[lookback]\nminutes = 1.5", 2, 11, "with a fraction"),
        (
            "[lookback]\nbytes = 99999999999999999999999",
            2,
            9,
            "(bytes)",
        ),
        ("[snapshot]\nburst_failures = true", 2, 18, "true or false"),
        (
            "[export.otlp]\ncompression = \"gzip\"",
            1,
            1,
            "[export.otlp] needs the key endpoint",
        ),
        (
            "[export.otlp]\nendpoint = \"grpc://x:4317\"",
            2,
            12,
            "only http and https",
        ),
        (
            "[export.otlp]\nendpoint = \"http://u:p@x/\"",
            2,
            12,
            "headers_file",
        ),
        (
            "[export.otlp]\nendpoint = \"x y\"",
            2,
            12,
            "http://127.0.0.1:4318",
        ),
        ("[export.jaeger]", 1, 9, "there are otlp, zipkin, ndjson"),
        ("[metrics]\nlisten = \"localhost\"", 2, 10, "127.0.0.1:9502"),
        (
            "[log_output]\nlevel = \"warning\"",
            2,
            9,
            "did you mean \"warn\"?",
        ),
        ("# ü\n[capture", 2, 9, ""),
        ("runtime_directory = \"run\"", 1, 21, "begins with /"),
        ("ü = 1", 1, 1, ""),
        ("\"\\u001b[31m\" = 1", 1, 1, "\\u{1b}[31m"),
    ];
    for (text, line, column, word) in table {
        let problems = Config::parse(text).expect_err(text).0;
        let first = &problems[0];
        assert_eq!(
            (first.line, first.column),
            (line, column),
            "{text}: {first}"
        );
        assert!(first.what.contains(word), "{text}: {first}");
        assert!(!first.to_string().contains('\u{1b}'), "{text}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_order() {
    let text = "[log_output]\nlevel = 5\n[capture]\nsnaplen = 1\nnope = 2\n";
    let problems = Config::parse(text).unwrap_err();
    let lines: Vec<usize> = problems.0.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 4, 5]);
    assert_eq!(problems.to_string().lines().count(), 3);
}
