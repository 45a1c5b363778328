//! The package for Fedora, the Enterprise Linux family, Amazon Linux and SUSE.

use anyhow::{Context as _, Result};
use rpm::{
    BuildConfig, CompressionType, Dependency, FileOptions, PackageBuilder, Scriptlet, Timestamp,
};

use super::about::{About, DESCRIPTION, REVISION, SUMMARY, lines};
use super::elf::Needs;
use super::payload::{File, Kind};
use super::target::Target;

/// The file's name, as rpm itself would call it.
pub(super) fn name(about: &About, target: Target) -> String {
    format!(
        "why502-{}.{}.rpm",
        about.full_version(),
        target.architecture()
    )
}

/// Builds it from what [`super::payload::place`] put in place for rpm.
///
/// # Errors
///
/// When the writer of the format refuses a name or a time.
pub(super) fn build(
    about: &About,
    target: Target,
    needs: &Needs,
    files: &[File],
) -> Result<Vec<u8>> {
    let seconds = u32::try_from(about.epoch).context("the time is past the format's range")?;
    let mut package = PackageBuilder::new(
        "why502",
        &about.version,
        "MIT OR Apache-2.0",
        target.architecture(),
        &capital(SUMMARY),
    );
    package
        .using_config(
            BuildConfig::v4()
                // What every rpm can read without another library.
                .compression(CompressionType::Gzip)
                .source_date(Timestamp::from(seconds)),
        )
        .release(REVISION)
        .description(DESCRIPTION.map(|text| lines(text).join("\n")).join("\n\n"))
        .packager(about.maintainer.clone())
        .group("Applications/Internet")
        // Otherwise the name of the machine it is built on.
        .build_host("localhost")
        .add_changelog_entry(
            format!("{} - {}", about.maintainer, about.full_version()),
            format!("- Release {}", about.version),
            Timestamp::from(seconds),
        );
    for capability in requires(needs) {
        package.requires(Dependency::any(capability));
    }
    package
        .requires(Dependency::script_post("/bin/sh"))
        .requires(Dependency::script_preun("/bin/sh"))
        .requires(Dependency::script_postun("/bin/sh"))
        .recommends(Dependency::any("ca-certificates"))
        .post_install_script(Scriptlet::new(POST))
        .pre_uninstall_script(Scriptlet::new(PREUN))
        .post_uninstall_script(Scriptlet::new(POSTUN));
    // Directories that are ours alone; rpm removes what it owns.
    for directory in own_directories(files) {
        package.with_dir_entry(FileOptions::dir(directory).permissions(0o755))?;
    }
    for file in files {
        let mode = u16::try_from(file.mode).context("a mode of more than 16 bits")?;
        let options = FileOptions::new(format!("/{}", file.path)).permissions(mode);
        let options = match file.kind {
            Kind::Config => options.config().noreplace(),
            Kind::Licence => options.license(),
            Kind::Document => options.doc(),
            Kind::Program | Kind::Support => options,
        };
        package.with_file_contents(file.bytes.as_slice(), options)?;
    }
    let mut bytes = Vec::new();
    package.build()?.write(&mut bytes)?;
    Ok(bytes)
}

/// As the summaries of rpms begin, unlike Debian's.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// What rpmbuild would find: each library with each version of its symbols.
fn requires(needs: &Needs) -> Vec<String> {
    let mut capabilities = Vec::new();
    for (library, versions) in &needs.libraries {
        capabilities.push(format!("{library}()(64bit)"));
        for version in versions {
            capabilities.push(format!("{library}({version})(64bit)"));
        }
    }
    capabilities
}

/// Every directory named why502, and those below.
fn own_directories(files: &[File]) -> Vec<String> {
    let mut directories = std::collections::BTreeSet::new();
    for file in files {
        let mut own = false;
        for (end, _) in file.path.match_indices('/') {
            let directory = &file.path[..end];
            own |= directory.ends_with("/why502");
            if own {
                directories.insert(format!("/{directory}"));
            }
        }
    }
    directories.into_iter().collect()
}

/// As the macros of systemd's packages expand where no newer helper is at hand. The presets of a
/// distribution, or of the administrator, say whether a new unit is enabled; for one that they do not
/// name that is no.
const POST: &str = r#"if [ "$1" -eq 1 ] && command -v systemctl >/dev/null; then
    systemctl --no-reload preset why502.service >/dev/null 2>&1 || :
fi
"#;

const PREUN: &str = r#"if [ "$1" -eq 0 ] && command -v systemctl >/dev/null; then
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now why502.service >/dev/null 2>&1 || :
    else
        systemctl --no-reload disable why502.service >/dev/null 2>&1 || :
    fi
fi
"#;

const POSTUN: &str = r#"if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    if [ "$1" -ge 1 ]; then
        systemctl try-restart why502.service >/dev/null 2>&1 || :
    fi
fi
"#;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn file(path: &str, kind: Kind) -> File {
        File {
            path: path.into(),
            mode: 0o640,
            kind,
            bytes: b"abc".to_vec(),
        }
    }

    #[test]
    fn only_what_is_ours_is_owned() {
        let files = [
            file("etc/why502/why502.toml", Kind::Config),
            file("usr/bin/why502", Kind::Program),
            file("usr/share/doc/why502/rules/a.md", Kind::Document),
        ];
        assert_eq!(
            own_directories(&files),
            [
                "/etc/why502",
                "/usr/share/doc/why502",
                "/usr/share/doc/why502/rules"
            ]
        );
    }

    #[test]
    fn what_is_written_can_be_read_and_is_the_same_twice() {
        let about = About {
            version: "1.2.3".into(),
            maintainer: "A <a@b.c>".into(),
            epoch: 1_795_389_557,
        };
        let versions = vec!["GLIBC_2.17".to_owned()];
        let needs = Needs {
            libraries: BTreeMap::from([("libc.so.6".to_owned(), versions)]),
            ..Needs::default()
        };
        let files = [
            file("etc/why502/why502.toml", Kind::Config),
            file("usr/share/licenses/why502/MIT", Kind::Licence),
        ];
        let once = || build(&about, Target::Aarch64, &needs, &files).unwrap();
        let bytes = once();
        assert_eq!(bytes, once());

        let package = rpm::Package::parse(&mut bytes.as_slice()).unwrap();
        package.verify_digests().unwrap();
        let head = &package.metadata;
        assert_eq!(head.get_version().unwrap(), "1.2.3");
        assert_eq!(head.get_arch().unwrap(), "aarch64");
        assert_eq!(head.get_build_time().unwrap(), about.epoch);
        let requires = head.get_requires().unwrap();
        for wanted in ["libc.so.6()(64bit)", "libc.so.6(GLIBC_2.17)(64bit)"] {
            assert!(
                requires.iter().any(|one| one.name == wanted),
                "{requires:?}"
            );
        }
        let entries = head.get_file_entries().unwrap();
        let flags = |end: &str| {
            let entry = entries.iter().find(|entry| entry.path().ends_with(end));
            entry.unwrap().flags()
        };
        assert!(flags("why502.toml").contains(rpm::FileFlags::CONFIG | rpm::FileFlags::NOREPLACE));
        assert!(flags("MIT").contains(rpm::FileFlags::LICENSE));
        assert!(
            entries
                .iter()
                .all(|entry| { (entry.user(), entry.group()) == ("root", "root") })
        );
    }
}
