//! What is in a package, before any packager's form: a plain list of files.

use anyhow::{Context as _, Result, ensure};

use super::gzip::gzip;

/// Where the unit in the repository, which is for an installation by hand, has the program.
const BY_HAND: &str = "/usr/local/bin/why502";

/// What a file is for; packagers treat them differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The program.
    Program,
    /// What the administrator changes: kept over upgrades.
    Config,
    /// Terms.
    Licence,
    /// What is read: manual pages, documents.
    Document,
    /// What other programs read: the unit, completions.
    Support,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// From the root of the system, or of what is unpacked, without a slash in front.
    pub(super) path: String,
    /// Its permissions.
    pub(super) mode: u32,
    /// What it is for.
    pub(super) kind: Kind,
    /// Its contents.
    pub(super) bytes: Vec<u8>,
}

/// What a package is made of, read or made before.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    /// The program.
    pub(super) program: Vec<u8>,
    /// The unit of the agent, as it is in the repository.
    pub(super) unit: String,
    /// The agent's configuration.
    pub(super) config: String,
    /// Manual pages, by name: `why502`, `why502-capture`.
    pub(super) manuals: Vec<(String, String)>,
    /// Completion scripts, by shell.
    pub(super) completions: Vec<(String, String)>,
    /// Documents, by their path below `docs/`.
    pub(super) documents: Vec<(String, Vec<u8>)>,
    /// Files for a fleet, by name.
    pub(super) examples: Vec<(String, Vec<u8>)>,
    /// Our licences, by file name.
    pub(super) licences: Vec<(String, String)>,
    /// The notices of everything that is linked in.
    pub(super) notices: String,
    /// Those of Rust's standard library; `None` where the compiler came without them.
    pub(super) std_notices: Option<String>,
}

/// Whose rules the places of files follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Debian's policy.
    Debian,
    /// Fedora's guidelines.
    Rpm,
    /// None: to be unpacked below `/usr/local`.
    Local,
}

impl Family {
    /// Below it is everything but the configuration.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Debian | Self::Rpm => "usr/",
            Self::Local => "",
        }
    }

    /// Where licences are, below the prefix.
    const fn licences(self) -> &'static str {
        match self {
            Self::Rpm => "share/licenses/why502",
            Self::Debian | Self::Local => "share/doc/why502",
        }
    }

    /// The completion script for a shell, below the prefix; `None` when the shell has no place for it.
    fn completion(self, shell: &str) -> Option<&'static str> {
        match (shell, self) {
            ("bash", _) => Some("share/bash-completion/completions/why502"),
            ("zsh", Self::Debian) => Some("share/zsh/vendor-completions/_why502"),
            ("zsh", _) => Some("share/zsh/site-functions/_why502"),
            ("fish", _) => Some("share/fish/vendor_completions.d/why502.fish"),
            _ => None,
        }
    }
}

/// Puts every part in its place, in the order of the paths.
///
/// # Errors
///
/// When the unit does not start the program that is packaged.
pub(super) fn place(parts: &Parts, family: Family) -> Result<Vec<File>> {
    let prefix = family.prefix();
    let mut files = vec![
        file(
            format!("{prefix}bin/why502"),
            Kind::Program,
            parts.program.clone(),
        ),
        file(
            format!("{prefix}lib/systemd/system/why502.service"),
            Kind::Support,
            unit(&parts.unit, family)?.into_bytes(),
        ),
        file(
            "etc/why502/why502.toml".into(),
            Kind::Config,
            parts.config.clone().into_bytes(),
        ),
    ];
    for (name, text) in &parts.manuals {
        files.push(file(
            format!("{prefix}share/man/man1/{name}.1.gz"),
            Kind::Document,
            gzip(text.as_bytes())?,
        ));
    }
    for (shell, text) in &parts.completions {
        let place = family.completion(shell);
        let place = place.with_context(|| format!("no place for completions of {shell}"))?;
        files.push(file(
            format!("{prefix}{place}"),
            Kind::Support,
            text.clone().into_bytes(),
        ));
    }
    for (path, bytes) in &parts.documents {
        files.push(file(
            format!("{prefix}share/doc/why502/{path}"),
            Kind::Document,
            bytes.clone(),
        ));
    }
    for (name, bytes) in &parts.examples {
        files.push(file(
            format!("{prefix}share/doc/why502/examples/{name}"),
            Kind::Document,
            bytes.clone(),
        ));
    }
    let licences = family.licences();
    files.push(file(
        format!("{prefix}{licences}/THIRD-PARTY-NOTICES.gz"),
        Kind::Licence,
        gzip(parts.notices.as_bytes())?,
    ));
    if let Some(text) = &parts.std_notices {
        files.push(file(
            format!("{prefix}{licences}/RUST-STD-NOTICES.html.gz"),
            Kind::Licence,
            gzip(text.as_bytes())?,
        ));
    }
    // Debian wants them in one file of another form, which its packager adds.
    if family != Family::Debian {
        for (name, text) in &parts.licences {
            files.push(file(
                format!("{prefix}{licences}/{name}"),
                Kind::Licence,
                text.clone().into_bytes(),
            ));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn file(path: String, kind: Kind, bytes: Vec<u8>) -> File {
    let mode = match kind {
        Kind::Program => 0o755,
        // It may come to hold what not everybody is to read, and only root's agent reads it.
        Kind::Config => 0o600,
        Kind::Licence | Kind::Document | Kind::Support => 0o644,
    };
    File {
        path,
        mode,
        kind,
        bytes,
    }
}

/// The unit, starting the program from where the package puts it. Its first lines, which say how to
/// install it by hand, are left out where a package manager does that.
fn unit(text: &str, family: Family) -> Result<String> {
    let start = format!("ExecStart={BY_HAND} ");
    ensure!(
        text.matches(&start).count() == 1,
        "the unit has no single line that begins with {start:?}"
    );
    if family == Family::Local {
        return Ok(text.to_owned());
    }
    let body = text.trim_start_matches(|c| c != '[');
    Ok(body.replace(&start, "ExecStart=/usr/bin/why502 "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Parts {
        let text = |name: &str| (name.to_owned(), name.to_owned());
        Parts {
            program: vec![1, 2],
            unit: "# by hand\n[Service]\nExecStart=/usr/local/bin/why502 agent\n".into(),
            config: "#a = 1\n".into(),
            manuals: vec![text("why502"), text("why502-capture")],
            completions: vec![text("zsh"), text("bash"), text("fish")],
            documents: vec![("rules/a.md".into(), Vec::new())],
            examples: vec![("alerts.yml".into(), Vec::new())],
            licences: vec![text("LICENSE-MIT")],
            notices: "n".into(),
            std_notices: Some("s".into()),
        }
    }

    fn listing(family: Family) -> Vec<String> {
        let files = place(&parts(), family).unwrap();
        let line = |file: &File| format!("{:o} {}", file.mode, file.path);
        files.iter().map(line).collect()
    }

    #[test]
    fn places() {
        assert_eq!(
            listing(Family::Debian),
            [
                "600 etc/why502/why502.toml",
                "755 usr/bin/why502",
                "644 usr/lib/systemd/system/why502.service",
                "644 usr/share/bash-completion/completions/why502",
                "644 usr/share/doc/why502/RUST-STD-NOTICES.html.gz",
                "644 usr/share/doc/why502/THIRD-PARTY-NOTICES.gz",
                "644 usr/share/doc/why502/examples/alerts.yml",
                "644 usr/share/doc/why502/rules/a.md",
                "644 usr/share/fish/vendor_completions.d/why502.fish",
                "644 usr/share/man/man1/why502-capture.1.gz",
                "644 usr/share/man/man1/why502.1.gz",
                "644 usr/share/zsh/vendor-completions/_why502",
            ]
        );
        let rpm = listing(Family::Rpm);
        for path in [
            "644 usr/share/licenses/why502/LICENSE-MIT",
            "644 usr/share/licenses/why502/THIRD-PARTY-NOTICES.gz",
            "644 usr/share/zsh/site-functions/_why502",
        ] {
            assert!(rpm.iter().any(|line| line == path), "{path}: {rpm:?}");
        }
        let local = listing(Family::Local);
        for path in [
            "755 bin/why502",
            "600 etc/why502/why502.toml",
            "644 lib/systemd/system/why502.service",
            "644 share/doc/why502/LICENSE-MIT",
        ] {
            assert!(local.iter().any(|line| line == path), "{path}: {local:?}");
        }
    }

    #[test]
    fn the_unit_starts_what_is_installed() {
        let text = parts().unit;
        for (family, expected) in [
            (
                Family::Debian,
                "[Service]\nExecStart=/usr/bin/why502 agent\n",
            ),
            (Family::Rpm, "[Service]\nExecStart=/usr/bin/why502 agent\n"),
            (Family::Local, &*text),
        ] {
            assert_eq!(unit(&text, family).unwrap(), expected);
        }
        assert!(unit("[Service]\nExecStart=/opt/why502 agent\n", Family::Rpm).is_err());
    }

    #[test]
    fn a_shell_without_a_place_is_an_error() {
        let mut parts = parts();
        parts.completions.push(("elvish".into(), String::new()));
        let error = place(&parts, Family::Debian).unwrap_err();
        assert!(error.to_string().contains("elvish"), "{error}");
    }
}
