//! What a user can type. Help, completions and the manual pages are made from this file; the doc
//! comment of an option is its help.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use jiff::tz::TimeZone;

use super::values;
use crate::capture::options::{FailOn, LogOption, MAX_CONNECTIONS, RING_BYTES};
use crate::case::Outcome;

/// Says which backend connection caused a 502, who ended it, how, and what to change
///
/// Watches a reverse proxy (NGINX, HAProxy, Envoy, Apache httpd, …) from the kernel while it works,
/// and explains every 502, 503, 504, truncated or dropped response by the backend connection behind
/// it. Needs no change to the proxy and no restart.
#[derive(Debug, Parser)]
#[command(name = "why502", version, max_term_width = 100, after_help = TOP_EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const TOP_EXAMPLES: &str = "\
Examples:
  why502 doctor                          can this machine be traced? (no root needed)
  sudo why502 capture                    trace the proxies found here until Ctrl-C
  sudo why502 capture --duration 30s -w incident.w502
  why502 report incident.w502            the same report again, anywhere
  why502 logs /var/log/nginx             what the failures in the logs mean
  why502 explain keepalive-race          what a verdict means and what to change
  why502 explain --line 'LOG LINE'       what a line of a proxy's or balancer's log means

Results go to standard output, everything else to standard error.
Exit code: 0 it worked; 2 wrong usage or an error; 1 only with --fail-on.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Trace the proxies of this host and explain their failed responses (needs root)
    ///
    /// Finds the proxies, loads the kernel programs, waits for failures, and writes a report when it
    /// ends: at Ctrl-C, after --duration, after --count cases, or when the given command ends.
    /// Nothing on the host is changed, and nothing stays behind.
    #[command(after_help = CAPTURE_EXAMPLES)]
    Capture(Box<CaptureArgs>),

    /// Trace all year, keep the recent past, and export what is found (needs root)
    ///
    /// Loads the kernel programs, gives up every right that it does not need any more, and runs until
    /// SIGTERM. SIGHUP reads the configuration again, SIGUSR1 writes the recent past as a recording.
    /// Made to be run by systemd; scripts/agent/ has a unit and a configuration with every key.
    #[command(after_help = AGENT_EXAMPLES)]
    Agent(AgentArgs),

    /// Let the agent write its recent past as a recording, and print its path (needs root)
    Snapshot(SnapshotArgs),

    /// Report on a recording that `capture -w` wrote
    ///
    /// Gives the same result as the capture itself did, on any machine and without root.
    Report(ReportArgs),

    /// Turn a recording into documents for tracing backends and other tools
    ///
    /// Traces, metrics and logs as OTLP JSON, spans as Zipkin v2 JSON, or the lines of
    /// `report --format ndjson`. The same recording always gives the same ids. OTEL_SERVICE_NAME and
    /// OTEL_RESOURCE_ATTRIBUTES are honoured.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),

    /// Read logs of proxies and balancers, and say what their failures mean
    ///
    /// Takes logs of NGINX, HAProxy, Envoy, Apache httpd, Caddy, Traefik, BIG-IP and the balancers of
    /// AWS, Azure and Google Cloud; plain, gzip or Zstandard; mixed as they come. Counts every line,
    /// explains every failure as far as a log can, and says which causes a log cannot tell apart.
    /// Needs no root.
    #[command(after_help = LOGS_EXAMPLES)]
    Logs(Box<LogsArgs>),

    /// List the causes that why502 tells apart, or explain one, or a line of a log
    ///
    /// Of a rule: what happens, what evidence it needs, what it is often confused with, and what to
    /// change in each proxy. Of a log line: what it says, what it means, what can be behind it and how
    /// to tell that apart.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),

    /// Tell what this machine can and cannot observe
    ///
    /// Looks at the kernel, our rights, and the proxies that run here. Loads nothing for longer than
    /// a moment, changes nothing, and works without root, though it sees more with it. Exits with 0
    /// also when a capture would not work: the report says so.
    Doctor(DoctorArgs),

    /// Print the completion script for a shell
    ///
    /// For bash: why502 completions bash > /etc/bash_completion.d/why502
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },

    /// Print a manual page
    ///
    /// To read one: why502 man capture | man -l -
    Man {
        /// The command that the page is about; without one, the whole program
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
}

const CAPTURE_EXAMPLES: &str = "\
Examples:
  sudo why502 capture
      Trace every NGINX, HAProxy, Envoy and Apache found, until Ctrl-C.
  sudo why502 capture --duration 5m -w incident.w502
      Five minutes, kept in a file to look at later or to attach to a ticket.
  sudo why502 capture --proxy gunicorn --pid 1234
      A program that is not known by name, and one process with its children.
  sudo why502 capture --fail-on case -- ./load-test.sh
      Trace while the command runs; exit 1 if any response failed.
  sudo why502 capture --format ndjson | jq -c 'select(.type == \"case\")'
      Each case as it happens, for other programs.";

const AGENT_EXAMPLES: &str = "\
Examples:
  why502 agent --config /etc/why502/why502.toml --check
      Is it right? Says what would be used, or what is wrong in which line.
  sudo why502 agent --config /etc/why502/why502.toml
      In the foreground, until Ctrl-C.
  why502 report $(sudo why502 snapshot)
      What has happened in the last minutes.";

/// Options of `agent`.
#[derive(Args, Debug)]
pub struct AgentArgs {
    /// The configuration, in TOML
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,

    /// Only check the configuration, and print what would be used
    #[arg(long)]
    pub check: bool,
}

/// Options of `snapshot`.
#[derive(Args, Debug)]
pub struct SnapshotArgs {
    /// The configuration of the agent, which names the directory of its socket
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// The agent's socket [default: /run/why502/agent.sock]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "config")]
    pub socket: Option<PathBuf>,
}

const EXPORT_EXAMPLES: &str = "\
Examples:
  why502 export incident.w502 --to otlp -o traces.jsonl
      Traces; an OpenTelemetry Collector reads the file with its otlpjsonfile receiver.
  why502 export incident.w502 --to otlp --signal metrics
      Counts and durations. One signal a file.
  why502 export incident.w502 --to zipkin |
    curl -H 'Content-Type: application/json' -d @- http://localhost:9411/api/v2/spans
      Into Zipkin.
  why502 export incident.w502 --to ndjson | jq -c 'select(.type == \"case\")'
      Each case, for other programs.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  why502 explain keepalive-race
  why502 explain --line 'http 2026-11-22T07:31:02.417305Z app/shop/50dc 203.0.113.5:51544 …'
  grep ' 502 ' access.log | tail -n 1 | why502 explain --line -
  why502 explain --line ERRORINFO_UPSTREAM_NO_LIVE
      A code or message alone will do, too.
  why502 explain log-format nginx > /etc/nginx/conf.d/why502.conf
      A log format that names the connection of each request.";

/// Options of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// Id of a rule, such as keepalive-race; without one, all are listed
    ///
    /// The word log-format prints a log configuration instead, for the proxy named behind it: one
    /// with which each line can be tied to its connection.
    #[arg(value_name = "RULE")]
    pub rule: Option<String>,

    /// With log-format: whose
    #[arg(value_enum, value_name = "PROXY", conflicts_with = "line")]
    pub proxy: Option<LogFormatOf>,

    /// Explain this line of a log, or a code or message of one; - reads it from standard input
    ///
    /// Lines of NGINX, HAProxy, Envoy, Apache httpd, Caddy, Traefik, AWS ALB and NLB, Azure Application
    /// Gateway and Front Door, Google Cloud's Application Load Balancers and BIG-IP. Which it is, is
    /// told by a look at it.
    #[arg(
        long,
        value_name = "LOG LINE",
        allow_hyphen_values = true,
        conflicts_with = "rule"
    )]
    pub line: Option<OsString>,

    /// Read the line as this form: nginx-error, haproxy, aws-alb, …, or a log_format of NGINX
    #[arg(long, value_name = "NAME", requires = "line", value_parser = values::log_format)]
    pub format: Option<crate::logs::Format>,
}

/// Options of `capture`.
#[derive(Args, Debug)]
pub struct CaptureArgs {
    /// End after this time, for example 30s, 5m or 1h 30m
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "When to end")]
    pub duration: Option<Duration>,

    /// End after this many cases
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "When to end")]
    pub count: Option<u64>,

    /// Trace this process and its descendants; can be given several times
    ///
    /// Without --proxy, only the processes named here are traced. The processes that are alive at
    /// the start count, and their children from then on.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..), help_heading = "What to trace")]
    pub pid: Vec<u32>,

    /// Trace proxies of this kind; can be given several times
    ///
    /// One of auto (all that are known), nginx, haproxy, envoy, apache, or the name of any other
    /// program that accepts and makes HTTP connections. A name is compared with the file name of the
    /// executable and with the command name.
    #[arg(long, value_name = "auto|nginx|haproxy|envoy|apache|NAME", value_parser = values::proxy_name, help_heading = "What to trace")]
    pub proxy: Vec<String>,

    /// Where this host stands: the proxy itself, or a backend behind one
    #[arg(
        long,
        value_enum,
        value_name = "ROLE",
        default_value = "auto",
        help_heading = "What to trace"
    )]
    pub role: RoleArg,

    /// Judge as if every backend were on another host
    ///
    /// For measuring how much the proxy's half alone can tell.
    #[arg(long, hide = true, help_heading = "What to trace")]
    pub remote_view: bool,

    /// Statuses that count as a failed response when the proxy sends them
    ///
    /// With 499 in the list, requests whose client gave up before an answer are reported too (no
    /// such status is ever sent).
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(100..=599), default_value = "502,503,504", help_heading = "What to report")]
    pub status: Vec<u16>,

    /// Report only these outcomes [default: all of them]
    ///
    /// error-response: the proxy answered with a status of --status. truncated: the response began
    /// and was cut. dropped: the client connection ended without a response. masked: a retry hid the
    /// failure from the client.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = values::outcome(), hide_possible_values = true, help_heading = "What to report")]
    pub outcome: Vec<Outcome>,

    /// Record every healthy exchange too
    ///
    /// They go into the recording of -w, and reports say how many there are. Costs more: without this, healthy
    /// traffic is only counted, in the kernel.
    #[arg(long, conflicts_with = "sample", help_heading = "What to report")]
    pub all: bool,

    /// Record this share of the healthy exchanges: 1/100, 0.01, or 100 for one in 100
    #[arg(long, value_name = "RATE", value_parser = values::sample_every, help_heading = "What to report")]
    pub sample: Option<u32>,

    /// Stand by until something fails, and again after this time without a failure
    ///
    /// For a capture of hours or days on a proxy that carries much: while tracing stands by, only the beginning of
    /// what clients are sent is looked at, which costs a fraction. What wakes it is a response with a status of
    /// --status, a connection to a backend that cannot be made or that ends without an answer, or a line of a
    /// --log. Of that first failure the sockets' counters tell who ended the connection and how, so its verdict is
    /// weak, and its request is not known; those that follow are seen in full. Responses that are cut off wake
    /// nobody. Needs Linux 6.3.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with_all = ["all", "sample"], help_heading = "What to trace")]
    pub standby: Option<Duration>,

    /// Keep at most this many first bytes of each request and response head, 64 to 1024
    ///
    /// The method, path and request id of a case come from them, and how long a response's body should be: where
    /// its head is longer, a body that the backend cut short is not told from a whole one. Up to 512 bytes an open
    /// connection takes 2 KiB of the kernel's memory, beyond 4 KiB. Reports never show the query string.
    #[arg(long, value_name = "BYTES", default_value_t = 512, value_parser = clap::value_parser!(u16).range(64..=1024), help_heading = "What to report")]
    pub snaplen: u16,

    /// Follow this log and join its lines to the cases; can be given several times
    ///
    /// The access or error log of the proxy. A file that does not exist yet is waited for, and one that
    /// is rotated is followed. The form of its lines is found out; FORMAT (see why502 logs --help) says
    /// what it is.
    #[arg(long, value_name = "PATH[=FORMAT]", value_parser = values::log, value_hint = ValueHint::FilePath, help_heading = "What to report")]
    pub log: Vec<LogOption>,

    /// Write a recording that `why502 report` can read; created with mode 0600
    #[arg(short = 'w', long = "write", value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub write: Option<PathBuf>,

    /// Form of the report on standard output
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Output"
    )]
    pub format: ReportFormat,

    /// Send cases to this OTLP receiver, as traces and logs in JSON over HTTP: http://localhost:4318
    ///
    /// The base URL; v1/traces and v1/logs are appended. Headers, timeout, compression and certificates
    /// come from the OTEL_EXPORTER_OTLP_* variables. OTEL_LOGS_EXPORTER=none or OTEL_TRACES_EXPORTER=none
    /// leave one of them out.
    #[arg(long, value_name = "URL", value_parser = values::otlp_url, value_hint = ValueHint::Url, help_heading = "Output")]
    pub otlp: Option<String>,

    /// Send cases to this Zipkin server, as spans: http://localhost:9411
    #[arg(long, value_name = "URL", value_parser = values::zipkin_url, value_hint = ValueHint::Url, help_heading = "Output")]
    pub zipkin: Option<String>,

    /// Send the headers of this file with --otlp and --zipkin: a line `Name: value` each
    ///
    /// For tokens. Nobody but its owner may be able to read it (chmod 600).
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub headers_file: Option<PathBuf>,

    /// Show what the kernel programs say about their own work, on standard error
    #[arg(short, long, help_heading = "Output")]
    pub verbose: bool,

    /// Exit with 1 if this was found: `case` for any case, or a list of rules (see why502 explain)
    #[arg(long, value_name = "case|RULE,…", value_parser = values::fail_on, help_heading = "Output")]
    pub fail_on: Option<FailOn>,

    /// Size of the ring buffer between kernel and program, bytes; a power of two
    #[arg(long, value_name = "BYTES", hide = true, default_value_t = RING_BYTES, value_parser = values::ring_bytes)]
    pub ring_bytes: u32,

    /// Connections that can be open at once
    #[arg(long, value_name = "N", hide = true, default_value_t = MAX_CONNECTIONS, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub max_connections: u32,

    /// The kernel's types
    #[command(flatten)]
    pub types: TypesArgs,

    /// Run this command, and end the capture when it ends
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// Options of `report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The recording
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Read this log and join its lines to the cases; can be given several times
    ///
    /// The log of the proxy, or of the balancer in front of a backend's host. May be compressed (gzip,
    /// zstd). The form of its lines is found out; FORMAT (see why502 logs --help) says what it is.
    #[arg(long, value_name = "PATH[=FORMAT]", value_parser = values::log, value_hint = ValueHint::FilePath)]
    pub log: Vec<LogOption>,

    /// Form of the report on standard output
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: ReportFormat,
}

/// Options of `export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The recording
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Form of the documents
    #[arg(long, value_enum, value_name = "FORM")]
    pub to: ExportTo,

    /// Which signal of OTLP [default: traces; with --endpoint all three]
    #[arg(long, value_enum, value_name = "SIGNAL")]
    pub signal: Option<SignalArg>,

    /// Write to this file, created with mode 0600, instead of standard output
    #[arg(short = 'o', long = "output", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Send to this receiver instead: the base URL of an OTLP receiver or of a Zipkin server
    ///
    /// The usual OTEL_ variables give headers, timeouts, compression and certificates. What cannot be
    /// delivered is an error.
    #[arg(long, value_name = "URL", conflicts_with = "output")]
    pub endpoint: Option<String>,
}

/// Forms of exported documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportTo {
    /// OTLP JSON, one document a line
    Otlp,
    /// Zipkin v2 JSON, one array
    Zipkin,
    /// One JSON object a line, as report --format ndjson
    Ndjson,
}

/// Signals of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SignalArg {
    /// A span for each failed request and each attempt
    Traces,
    /// Counts and durations
    Metrics,
    /// A record for each case
    Logs,
}

const LOGS_EXAMPLES: &str = "\
Examples:
  why502 logs /var/log/nginx
      Every file in the folder and below, rotated and compressed ones included.
  why502 logs --since 2h --status 502,504 access.log error.log
      The last two hours, two statuses.
  why502 logs --since '2026-11-22 07:00' --until '2026-11-22 08:30' --zone Europe/Berlin haproxy.log
      An incident by the clock of the host that wrote the log.
  aws s3 cp --recursive s3://BUCKET/AWSLogs/ logs/ && why502 logs logs/
      The access logs of an Application Load Balancer, as they lie in the bucket.
  journalctl -u haproxy --since today | why502 logs -
      Standard input.
  why502 logs --format '$remote_addr [$time_local] \"$request\" $status $upstream_addr' access.log
      A log_format of your own, as it stands in nginx.conf.
  why502 logs --output ndjson access.log | jq -r 'select(.status == 502) | .upstream'
      Each failure as it is found, for other programs.

Lines that are of no known form are counted, and shown with --unparsed.
Exit code: 0 it worked, also when there are failures; 2 wrong usage, or a file could not be read
(the others are reported all the same).";

/// Options of `logs`.
#[derive(Args, Debug)]
pub struct LogsArgs {
    /// Log files, folders of them, or - for standard input
    #[arg(required = true, value_name = "FILE|-", value_hint = ValueHint::AnyPath)]
    pub files: Vec<PathBuf>,

    /// Form of the lines: auto, the name of a form, or a log_format string of NGINX
    ///
    /// auto knows each line by a look at it, so that files and lines may be mixed. The names:
    /// nginx-error, nginx-json, nginx-access, apache-error, apache-access, combined, haproxy, envoy,
    /// envoy-json, caddy, traefik, traefik-json, aws-alb, aws-alb-connection, aws-nlb,
    /// azure-app-gateway, azure-front-door, gcp, big-ip.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "auto",
        help_heading = "What to read"
    )]
    pub format: String,

    /// Leave out lines before this: RFC 3339, '2026-11-22 07:31', 07:31, or 2h for two hours ago
    #[arg(long, value_name = "TIME", help_heading = "What to read")]
    pub since: Option<String>,

    /// Leave out lines from this on, in the same forms
    #[arg(long, value_name = "TIME", help_heading = "What to read")]
    pub until: Option<String>,

    /// Zone of times that do not name theirs, here and in logs, and of the times in text: +01:00, UTC,
    /// Europe/Berlin [default: this machine's]
    #[arg(long, value_name = "ZONE", value_parser = super::moment::zone, help_heading = "What to read", allow_hyphen_values = true)]
    pub zone: Option<TimeZone>,

    /// Report only failures with these statuses [default: all failures]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=999), help_heading = "What to report")]
    pub status: Vec<u16>,

    /// Most entries in JSON, most rows of each table in text [default: json 1000, ndjson all, text 10]
    ///
    /// What is left out is counted.
    #[arg(long, value_name = "N", help_heading = "What to report")]
    pub limit: Option<u64>,

    /// Show the first lines that could not be read, and what was expected where
    #[arg(long, help_heading = "What to report")]
    pub unparsed: bool,

    /// Form of the report on standard output
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        default_value = "text",
        help_heading = "Output"
    )]
    pub output: ReportFormat,
}

/// Where the kernel's types are described.
#[derive(Args, Debug)]
pub struct TypesArgs {
    /// Type information (BTF) of this very kernel build, for a kernel that shows none of its own
    ///
    /// BTFHub has such files for the kernels of distributions (unpack them first), and
    /// `pahole --btf_encode_detached=FILE vmlinux` makes one from a kernel's debug information. A file of
    /// another build gives wrong results.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Kernel")]
    pub btf: Option<PathBuf>,
}

/// Options of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Load and attach the programs of a capture for a moment, and say where, and what it took the
    /// kernel to verify them (needs root)
    #[arg(long)]
    pub load: bool,

    /// The kernel's types
    #[command(flatten)]
    pub types: TypesArgs,

    /// Form of the report on standard output
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: DoctorFormat,
}

/// Proxies whose log can be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormatOf {
    /// Access log in JSON, and the error log
    Nginx,
    /// The line of `option httplog`, and the connection to the server
    Haproxy,
    /// Access log in JSON
    Envoy,
    /// Access and error log
    Apache,
}

/// Where this host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// As proxy; where a backend lives on this host too, both halves of a connection are seen
    Auto,
    /// As proxy only: backends on this host are not looked at
    Proxy,
    /// As backend of a proxy or balancer elsewhere: judges accepted connections
    Backend,
}

/// Forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    Text,
    /// One JSON object at the end
    Json,
    /// One JSON object a line, each as soon as it is known
    Ndjson,
}

/// Forms of what `doctor` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}
