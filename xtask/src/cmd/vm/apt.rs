//! Debian's packages of any suite, without touching the host's package state: apt with lists, cache
//! and status of its own. What /etc/apt says of proxies and mirrors holds here too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use xtask::lab::process::find_program;

/// Signatures of Debian's archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Lists younger than this are not fetched again.
const FRESH: Duration = Duration::from_secs(12 * 3600);

/// One suite.
pub(super) struct Apt {
    suite: String,
    directory: PathBuf,
}

/// Where packages come from.
#[derive(Debug, PartialEq, Eq)]
struct Mirrors {
    debian: String,
    security: String,
}

/// A package of the index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// Name of the file that apt makes of it.
    pub(super) file: String,
    /// Checksum in the signed index, hexadecimal.
    pub(super) sha256: String,
    /// Size, bytes.
    pub(super) size: u64,
}

impl Apt {
    /// Makes the state below `top`.
    pub(super) fn new(top: &Path, suite: &str, security: bool) -> Result<Self> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            if find_program(program).is_none() {
                bail!(
                    "{program} is not installed: the kernels come as Debian's packages. Run this on Debian or Ubuntu"
                );
            }
        }
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is missing: install the package debian-archive-keyring");
        }
        let directory = top.join(suite);
        for part in ["lists/partial", "archives/partial"] {
            let part = directory.join(part);
            fs::create_dir_all(&part)
                .with_context(|| format!("cannot create {}", part.display()))?;
        }
        fs::write(directory.join("status"), "")?;
        let mirrors = mirrors(&host_sources());
        fs::write(
            directory.join("sources.list"),
            sources(&mirrors, suite, security),
        )?;
        fs::write(directory.join("apt.conf"), configuration(&directory))?;
        Ok(Self {
            suite: suite.to_owned(),
            directory,
        })
    }

    /// The same with other sources and more configuration.
    #[cfg(test)]
    pub(super) fn with(top: &Path, sources: &str, more: &str) -> Result<Self> {
        let apt = Self::new(top, "test", false)?;
        fs::write(apt.directory.join("sources.list"), sources)?;
        let configuration = apt.directory.join("apt.conf");
        let text = fs::read_to_string(&configuration)? + more;
        fs::write(configuration, text)?;
        Ok(apt)
    }

    /// Fetches the index if what is there is old. `false`: it could not, and an older one is there.
    pub(super) fn update(&self) -> Result<bool> {
        let stamp = self.directory.join("updated");
        let age = fs::metadata(&stamp)
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age < FRESH) {
            return Ok(true);
        }
        // Without it, a failed fetch is a warning and success.
        let output = self.run("apt-get", &["update", "--error-on=any"])?;
        if output.status.success() {
            fs::write(&stamp, "")?;
            return Ok(true);
        }
        if age.is_some() {
            return Ok(false);
        }
        bail!("{}", self.explain("the package index", &output));
    }

    /// The names of all packages that begin so.
    pub(super) fn names(&self, prefix: &str) -> Result<String> {
        self.ask("apt-cache", &["pkgnames", prefix])
    }

    /// What the index says about a package.
    pub(super) fn package(&self, name: &str) -> Result<Package> {
        let text = self.ask("apt-cache", &["show", "--no-all-versions", name])?;
        package(&text).with_context(|| format!("the index of {} lacks {name}", self.suite))
    }

    /// What has to be unpacked so that these packages run without anything of this host.
    pub(super) fn closure(&self, names: &[&str]) -> Result<Vec<String>> {
        let mut args = vec![
            "install",
            "--print-uris",
            "--yes",
            "--no-install-recommends",
        ];
        args.extend(names);
        let text = self.ask("apt-get", &args)?;
        Ok(uris(&text))
    }

    /// Fetches the same into the cache, where apt checks every file; gives the directory.
    pub(super) fn fetch_closure(&self, names: &[&str]) -> Result<PathBuf> {
        let mut args = vec![
            "install",
            "--download-only",
            "--yes",
            "--no-install-recommends",
        ];
        args.extend(names);
        let output = self.run("apt-get", &args)?;
        if !output.status.success() {
            bail!("{}", self.explain(&names.join(" "), &output));
        }
        Ok(self.directory.join("archives"))
    }

    /// Downloads a package; apt compares it with the index.
    pub(super) fn download(&self, name: &str, into: &Path) -> Result<()> {
        let mut command = self.command("apt-get");
        let output = command
            .args(["download", name])
            .current_dir(into)
            .output()
            .context("cannot run apt-get")?;
        if !output.status.success() {
            bail!("{}", self.explain(name, &output));
        }
        Ok(())
    }

    fn ask(&self, program: &str, args: &[&str]) -> Result<String> {
        let output = self.run(program, args)?;
        if !output.status.success() {
            bail!("{}", self.explain(&args.join(" "), &output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<Output> {
        let mut command = self.command(program);
        let output = command.args(args).output();
        output.with_context(|| format!("cannot run {program}"))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("--config-file")
            .arg(self.directory.join("apt.conf"))
            // Messages are translated otherwise.
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    fn explain(&self, what: &str, output: &Output) -> String {
        let said = String::from_utf8_lossy(&output.stderr);
        explain(&self.suite, what, &said, &self.directory)
    }
}

/// apt's own words, and before them what they mean and what to do.
fn explain(suite: &str, what: &str, said: &str, directory: &Path) -> String {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let meaning = if has(&["Hash Sum mismatch", "File has unexpected size"]) {
        format!(
            "a download does not have the checksum of the package index, so it was thrown away. A mirror that is just being updated or a proxy does that: try again in some minutes, with {} removed if it stays",
            directory.display()
        )
    } else if has(&["NO_PUBKEY", "EXPKEYSIG", "is not signed", "BADSIG"]) {
        "the package index is not signed with a key this host knows: update the package debian-archive-keyring".to_owned()
    } else if has(&[
        "Temporary failure resolving",
        "Could not resolve",
        "Could not connect",
        "Cannot initiate the connection",
        "Connection refused",
        "Connection timed out",
        "Network is unreachable",
        "Unable to connect",
    ]) {
        "the mirror cannot be reached: is there a network, and does /etc/apt name the proxy it needs? Kernels that were fetched before stay usable without".to_owned()
    } else if has(&["does not have a Release file", "404"]) {
        format!(
            "the mirror has no such file: Debian may have moved {suite} to archive.debian.org; name a mirror that has it in /etc/apt"
        )
    } else if has(&["No space left on device"]) {
        "the disk is full".to_owned()
    } else {
        "apt failed".to_owned()
    };
    let mut text = format!("cannot fetch {what} of Debian {suite}: {meaning}");
    for line in said
        .lines()
        .filter(|line| line.starts_with("E:") || line.starts_with("Err"))
        .take(4)
    {
        text.push_str("\n    | ");
        text.push_str(line);
    }
    text
}

/// The configuration; read after that of the host, so that proxies and time limits are kept.
fn configuration(directory: &Path) -> String {
    let dir = directory.display();
    format!(
        r#"// Things of the host that a run for another suite must not set off.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large-hidpi;
#clear Acquire::IndexTargets::deb::Contents-deb;
#clear APT::Default-Release;
Acquire::Languages "none";
Acquire::Retries "2";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "root";
Dir::State "{dir}";
Dir::State::lists "{dir}/lists";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}";
Dir::Cache::archives "{dir}/archives";
Dir::Etc::sourcelist "{dir}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
"#
    )
}

fn sources(mirrors: &Mirrors, suite: &str, security: bool) -> String {
    let Mirrors {
        debian,
        security: other,
    } = mirrors;
    let mut text = format!("deb [signed-by={KEYRING}] {debian} {suite} main\n");
    if security {
        text.push_str(&format!(
            "deb [signed-by={KEYRING}] {other} {suite}-security main\n"
        ));
    }
    text
}

/// The host's lists of sources, one after the other.
fn host_sources() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(listed) = fs::read_dir("/etc/apt/sources.list.d") {
        let mut more: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
        more.retain(|path| {
            path.extension()
                .is_some_and(|end| end == "list" || end == "sources")
        });
        more.sort();
        files.extend(more);
    }
    let texts = files
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok());
    texts.collect::<Vec<_>>().join("\n")
}

/// The mirrors of Debian that the host uses; Debian's own where it uses none.
fn mirrors(text: &str) -> Mirrors {
    let mut mirrors = Mirrors {
        debian: "http://deb.debian.org/debian".to_owned(),
        security: "http://deb.debian.org/debian-security".to_owned(),
    };
    let addresses = text
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
        .flat_map(str::split_ascii_whitespace)
        .filter(|word| word.contains("://"))
        .map(|word| word.trim_end_matches('/'));
    let (mut debian, mut security) = (None, None);
    for address in addresses {
        if address.ends_with("/debian") {
            debian.get_or_insert(address);
        } else if address.ends_with("/debian-security") {
            security.get_or_insert(address);
        }
    }
    if let Some(debian) = debian {
        mirrors.debian = debian.to_owned();
    }
    if let Some(security) = security {
        mirrors.security = security.to_owned();
    }
    mirrors
}

/// Reads a paragraph of `apt-cache show`.
fn package(text: &str) -> Option<Package> {
    let field = |name: &str| {
        text.lines()
            .take_while(|line| !line.is_empty())
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let name = field("Package")?;
    // As apt names it: a colon, before an epoch, would not do in every file system.
    let version = field("Version")?.replace(':', "%3a");
    let architecture = field("Architecture")?;
    Some(Package {
        file: format!("{name}_{version}_{architecture}.deb"),
        sha256: field("SHA256")?.to_ascii_lowercase(),
        size: field("Size")?.parse().ok()?,
    })
}

/// File names in `'http://…' FILE SIZE HASH`, sorted.
fn uris(text: &str) -> Vec<String> {
    let mut files: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with('\''))
        .filter_map(|line| line.split_ascii_whitespace().nth(1))
        .map(str::to_owned)
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_mirrors_are_used() {
        let debian = "http://deb.debian.org/debian";
        let security = "http://deb.debian.org/debian-security";
        for (text, expected) in [
            ("", [debian, security]),
            (
                "# deb http://no.example/debian x main\ndeb http://a.example/debian/ bookworm main\n",
                ["http://a.example/debian", security],
            ),
            (
                "deb [signed-by=/k arch=amd64] https://b.example/debian-security x main",
                [debian, "https://b.example/debian-security"],
            ),
            (
                "Types: deb\nURIs: http://c.example/debian http://d.example/debian\nSuites: x\n\nURIs: http://e.example/debian-security\n",
                [
                    "http://c.example/debian",
                    "http://e.example/debian-security",
                ],
            ),
            (
                "deb http://archive.ubuntu.com/ubuntu noble main\ndeb http://s.example/archive/debian/20250101T000000Z x main",
                [debian, security],
            ),
        ] {
            let [debian, security] = expected.map(str::to_owned);
            assert_eq!(mirrors(text), Mirrors { debian, security }, "{text}");
        }
    }

    #[test]
    fn without_a_network_it_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        // Nothing listens on port 1.
        let nowhere = "Acquire::Retries \"0\";\nAcquire::http::Proxy \"http://127.0.0.1:1\";\n";
        let sources = "deb http://deb.example/debian test main\n";
        // Not every machine has Debian's tools.
        let Ok(apt) = Apt::with(dir.path(), sources, nowhere) else {
            return;
        };
        let error = apt.update().unwrap_err().to_string();
        assert!(error.contains("the mirror cannot be reached"), "{error}");
        // With an index of before it goes on.
        let stamp = fs::File::create(apt.directory.join("updated")).unwrap();
        stamp.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(!apt.update().unwrap());
    }

    #[test]
    fn what_apt_says_is_explained() {
        let of = |said: &str| explain("sid", "linux", said, Path::new("target/vm/apt/sid"));
        for (said, expected) in [
            (
                "E: Failed to fetch http://m/x.deb  Hash Sum mismatch",
                "does not have the checksum",
            ),
            (
                "E: Failed to fetch http://m/x.deb  File has unexpected size (1 != 2). Mirror sync in progress?",
                "does not have the checksum",
            ),
            (
                "Err:1 http://m sid InRelease\n  Temporary failure resolving 'm'",
                "is there a network",
            ),
            (
                "E: Failed to fetch http://m/  Could not connect to 127.0.0.1:1 (127.0.0.1). - connect (111: Connection refused)",
                "is there a network",
            ),
            (
                "W: GPG error: http://m sid InRelease: NO_PUBKEY 0E98404D386FA1D9",
                "debian-archive-keyring",
            ),
            (
                "E: The repository 'http://m sid Release' does not have a Release file.",
                "archive.debian.org",
            ),
            ("E: write (28: No space left on device)", "the disk is full"),
            ("E: something new", "apt failed"),
        ] {
            let text = of(said);
            assert!(text.contains(expected), "{text}");
            assert!(
                text.starts_with("cannot fetch linux of Debian sid: "),
                "{text}"
            );
        }
        assert!(of("E: something new").ends_with("\n    | E: something new"));
    }

    #[test]
    fn the_index() {
        let text = "\
Package: linux-image-6.1.0-50-cloud-amd64
Architecture: amd64
Version: 1:6.1.176-1
Size: 26484304
SHA256: 00FF
Description: Linux
 Version: 9

Package: another
Version: 2
";
        let expected = Package {
            file: "linux-image-6.1.0-50-cloud-amd64_1%3a6.1.176-1_amd64.deb".to_owned(),
            sha256: "00ff".to_owned(),
            size: 26_484_304,
        };
        assert_eq!(package(text), Some(expected));
        for torn in [
            "",
            "Package: x\n",
            "\nPackage: x\nVersion: 1\nArchitecture: a\nSHA256: 0\nSize: 1",
        ] {
            assert_eq!(package(torn), None, "{torn:?}");
        }
        let text = "Reading package lists...\n'http://m/b.deb' b_1_amd64.deb 10 SHA256:00\n'http://m/a.deb' a_1_all.deb 10\n";
        assert_eq!(uris(text), ["a_1_all.deb", "b_1_amd64.deb"]);
    }

    #[test]
    fn only_security_has_a_second_line() {
        let mirrors = mirrors("");
        assert_eq!(sources(&mirrors, "sid", false).lines().count(), 1);
        let both = sources(&mirrors, "bookworm", true);
        assert!(both.contains(" bookworm main\n") && both.contains(" bookworm-security main\n"));
    }
}
