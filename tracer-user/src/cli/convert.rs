//! From what was typed to what the program needs: the one place where the two meet.

use super::args::{CaptureArgs, ReportFormat, RoleArg, TypesArgs};
use super::error::UsageError;
use crate::capture::options::{CaptureOptions, Exports};
use crate::case::Outcome;
use crate::discover::{KNOWN_KINDS, Kinds, Selection, kind_of_name};
use crate::event::HostRole;
use crate::kernel::types::TypeSource;
use crate::report::Format;

impl From<ReportFormat> for Format {
    fn from(format: ReportFormat) -> Self {
        match format {
            ReportFormat::Text => Self::Text,
            ReportFormat::Json => Self::Json,
            ReportFormat::Ndjson => Self::Ndjson,
        }
    }
}

impl From<TypesArgs> for TypeSource {
    fn from(args: TypesArgs) -> Self {
        args.btf.map_or(Self::Kernel, Self::File)
    }
}

impl TryFrom<CaptureArgs> for CaptureOptions {
    type Error = UsageError;

    fn try_from(args: CaptureArgs) -> Result<Self, UsageError> {
        if args.role == RoleArg::Backend && args.remote_view {
            return Err(UsageError::new(
                "--remote-view is about a proxy's half of its connections",
                "leave out --role backend",
            ));
        }
        if args.headers_file.is_some() && args.otlp.is_none() && args.zipkin.is_none() {
            return Err(UsageError::new(
                "--headers-file is sent to nobody",
                "add --otlp URL or --zipkin URL",
            ));
        }
        let selection = selection(&args.proxy, args.pid, args.role == RoleArg::Backend);
        Ok(Self {
            selection,
            role: match args.role {
                RoleArg::Auto | RoleArg::Proxy => HostRole::Proxy,
                RoleArg::Backend => HostRole::Backend,
            },
            local_backends: args.role == RoleArg::Auto && !args.remote_view,
            remote_view: args.remote_view,
            duration: args.duration,
            count: args.count,
            statuses: sorted(args.status),
            outcomes: outcomes(&args.outcome),
            sample_every: if args.all {
                1
            } else {
                args.sample.unwrap_or(0)
            },
            standby: args.standby,
            snaplen: args.snaplen,
            logs: args.log,
            write: args.write,
            format: args.format.into(),
            exports: Exports {
                otlp: args.otlp,
                zipkin: args.zipkin,
                headers_file: args.headers_file,
            },
            verbose: args.verbose,
            fail_on: args.fail_on.unwrap_or_default(),
            command: args.command,
            ring_bytes: args.ring_bytes,
            max_connections: args.max_connections,
            types: args.types.into(),
        })
    }
}

/// `auto` beside other names, or beside --pid, means "and all that are known". Of a backend's host,
/// "anything" means what listens.
pub(crate) fn selection(names: &[String], mut pids: Vec<u32>, backend: bool) -> Selection {
    let mut kinds = Vec::new();
    for name in names {
        match name.as_str() {
            "auto" => kinds.extend(KNOWN_KINDS),
            name => kinds.push(kind_of_name(name)),
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    pids.sort_unstable();
    pids.dedup();
    let only_auto = names.iter().all(|name| name == "auto");
    let named_by_pid_alone = names.is_empty() && !pids.is_empty();
    Selection {
        kinds: if named_by_pid_alone {
            Kinds::Auto
        } else if only_auto && pids.is_empty() {
            if backend {
                Kinds::Listening
            } else {
                Kinds::Auto
            }
        } else {
            Kinds::Only(kinds)
        },
        pids,
    }
}

/// None named means all; the order is that of the contract.
pub(crate) fn outcomes(named: &[Outcome]) -> Vec<Outcome> {
    Outcome::ALL
        .into_iter()
        .filter(|outcome| named.is_empty() || named.contains(outcome))
        .collect()
}

fn sorted(mut statuses: Vec<u16>) -> Vec<u16> {
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser as _;

    use super::super::args::{Cli, Command};
    use super::*;
    use crate::capture::options::FailOn;
    use crate::event::ProxyKind;

    fn parse(line: &str) -> Result<CaptureOptions, String> {
        let words = ["why502", "capture"]
            .into_iter()
            .chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Capture(args) = cli.command else {
            return Err("not a capture".into());
        };
        CaptureOptions::try_from(*args).map_err(|error| error.to_string())
    }

    fn defaults() -> CaptureOptions {
        CaptureOptions {
            selection: Selection::default(),
            role: HostRole::Proxy,
            local_backends: true,
            remote_view: false,
            duration: None,
            count: None,
            statuses: vec![502, 503, 504],
            outcomes: Outcome::ALL.to_vec(),
            sample_every: 0,
            standby: None,
            snaplen: 512,
            logs: Vec::new(),
            write: None,
            format: Format::Text,
            exports: Exports::default(),
            verbose: false,
            fail_on: FailOn::Never,
            command: vec![],
            ring_bytes: 8 << 20,
            max_connections: 131_072,
            types: TypeSource::Kernel,
        }
    }

    fn selecting(kinds: Kinds, pids: &[u32]) -> CaptureOptions {
        CaptureOptions {
            selection: Selection {
                kinds,
                pids: pids.to_vec(),
            },
            ..defaults()
        }
    }

    /// This text gives exactly this configuration.
    #[test]
    fn options() {
        let other = |name: &str| ProxyKind::Other(name.into());
        let table = [
            ("", defaults()),
            (
                "--duration 30s --count 3",
                CaptureOptions {
                    duration: Some(Duration::from_secs(30)),
                    count: Some(3),
                    ..defaults()
                },
            ),
            (
                "--proxy auto --role proxy",
                CaptureOptions {
                    local_backends: false,
                    ..defaults()
                },
            ),
            (
                "--role backend",
                CaptureOptions {
                    role: HostRole::Backend,
                    local_backends: false,
                    ..selecting(Kinds::Listening, &[])
                },
            ),
            (
                "--role backend --pid 7",
                CaptureOptions {
                    role: HostRole::Backend,
                    local_backends: false,
                    ..selecting(Kinds::Auto, &[7])
                },
            ),
            (
                "--pid 20 --pid 10 --pid 20",
                selecting(Kinds::Auto, &[10, 20]),
            ),
            (
                "--proxy httpd --proxy nginx --proxy openresty",
                selecting(Kinds::Only(vec![ProxyKind::Nginx, ProxyKind::Apache]), &[]),
            ),
            (
                "--proxy gunicorn --pid 7",
                selecting(Kinds::Only(vec![other("gunicorn")]), &[7]),
            ),
            (
                "--proxy auto --pid 7",
                selecting(Kinds::Only(KNOWN_KINDS.to_vec()), &[7]),
            ),
            (
                "--proxy auto --proxy caddy",
                selecting(
                    Kinds::Only(KNOWN_KINDS.into_iter().chain([other("caddy")]).collect()),
                    &[],
                ),
            ),
            (
                "--status 504,502,504,499",
                CaptureOptions {
                    statuses: vec![499, 502, 504],
                    ..defaults()
                },
            ),
            (
                "--outcome masked,dropped,masked",
                CaptureOptions {
                    outcomes: vec![Outcome::Dropped, Outcome::Masked],
                    ..defaults()
                },
            ),
            (
                "--all",
                CaptureOptions {
                    sample_every: 1,
                    ..defaults()
                },
            ),
            (
                "--sample 1/100 --snaplen 1024",
                CaptureOptions {
                    sample_every: 100,
                    snaplen: 1024,
                    ..defaults()
                },
            ),
            (
                "-w out.w502 --format ndjson -v",
                CaptureOptions {
                    write: Some("out.w502".into()),
                    format: Format::Ndjson,
                    verbose: true,
                    ..defaults()
                },
            ),
            (
                "--fail-on keepalive-race",
                CaptureOptions {
                    fail_on: FailOn::Rules(vec!["keepalive-race".into()]),
                    ..defaults()
                },
            ),
            (
                "--fail-on case --format json -- curl --all http://127.0.0.1/",
                CaptureOptions {
                    fail_on: FailOn::AnyCase,
                    format: Format::Json,
                    command: ["curl", "--all", "http://127.0.0.1/"]
                        .map(Into::into)
                        .into(),
                    ..defaults()
                },
            ),
            (
                "--otlp http://c:4318 --zipkin https://z --headers-file h",
                CaptureOptions {
                    exports: Exports {
                        otlp: Some("http://c:4318".into()),
                        zipkin: Some("https://z".into()),
                        headers_file: Some("h".into()),
                    },
                    ..defaults()
                },
            ),
            (
                "--ring-bytes 65536 --max-connections 100 --btf a.btf",
                CaptureOptions {
                    ring_bytes: 65536,
                    max_connections: 100,
                    types: TypeSource::File("a.btf".into()),
                    ..defaults()
                },
            ),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        let table = [
            ("--role backend --remote-view", "a proxy's half"),
            ("--all --sample 10", "cannot be used with"),
            ("--status 600", "600"),
            ("--status 50x", "50x"),
            ("--outcome lost", "possible values: error-response"),
            ("--snaplen 2048", "2048"),
            ("--pid 0", "0"),
            ("--count 0", "0"),
            ("--duration 30", "unit"),
            ("--sample 0", "no share"),
            ("--proxy /usr/sbin/nginx", "without its directory"),
            ("--format xml", "possible values: text, json, ndjson"),
            ("--log access.log=ngnix-error", "aws-alb"),
            ("--html report.html", "--html"),
            ("--otlp localhost:4318", "http://"),
            ("--otlp http://c:4318/v1/traces", "give the base"),
            ("--zipkin ftp://z", "http://"),
            ("--headers-file h", "nobody"),
            ("stray", "stray"),
        ];
        for (line, word) in table {
            let message = parse(line).unwrap_err();
            assert!(message.contains(word), "{line}: {message}");
        }
    }
}
