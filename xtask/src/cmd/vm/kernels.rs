//! Which kernels are booted, and which of Debian's packages hold them.

use std::cmp::Ordering;

/// A line of kernels: what one suite of Debian has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// How it is asked for; of the last line the version is what Debian has today.
    pub(super) name: &'static str,
    /// Debian's name of the suite.
    pub(super) suite: &'static str,
    /// Does that suite get its newer kernels from the security archive?
    pub(super) security: bool,
    /// How the version begins; empty: any.
    version: &'static str,
}

/// The lines, oldest first.
pub(super) const LINES: [Line; 4] = [
    Line {
        name: "5.10",
        suite: "bullseye",
        security: true,
        version: "5.10.",
    },
    Line {
        name: "6.1",
        suite: "bookworm",
        security: true,
        version: "6.1.",
    },
    Line {
        name: "6.12",
        suite: "trixie",
        security: true,
        version: "6.12.",
    },
    Line {
        name: "newest",
        suite: "sid",
        security: false,
        version: "",
    },
];

/// The lines that were asked for, all if none was; or the word that names none.
///
/// A version beyond those of the table (`7.2`) stands for the newest.
pub(super) fn chosen(asked: &[String]) -> Result<Vec<&'static Line>, String> {
    let Some((newest, known)) = LINES.split_last() else {
        return Ok(Vec::new());
    };
    let last = known.last().map_or("", |line| line.name);
    let find = |word: &String| {
        let named = LINES.iter().find(|line| line.name == *word);
        let is_version = word.split('.').all(|part| part.parse::<u32>().is_ok());
        let later = is_version && by_version(word, last) == Ordering::Greater;
        named
            .or_else(|| later.then_some(newest))
            .ok_or_else(|| word.clone())
    };
    let wanted: Vec<&Line> = asked.iter().map(find).collect::<Result<_, _>>()?;
    let of_table = LINES.iter();
    Ok(of_table
        .filter(|line| asked.is_empty() || wanted.contains(line))
        .collect())
}

/// A kernel as Debian packs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Release {
    /// What `uname -r` says: `6.1.0-50-cloud-amd64`.
    pub(super) name: String,
    /// The packages that hold the image and the modules.
    pub(super) packages: Vec<String>,
}

impl Line {
    /// The newest kernel of this line among these names of packages.
    ///
    /// The small cloud flavour: it has BTF and boots fastest. Since 7.x the image is in
    /// `linux-binary-*` and the modules in `linux-modules-*`; before, both were in `linux-image-*`.
    pub(super) fn newest(&self, packages: &[&str]) -> Option<Release> {
        let release = |package: &&str| -> Option<String> {
            let name = ["linux-binary-", "linux-image-"]
                .into_iter()
                .find_map(|kind| package.strip_prefix(kind))?;
            let version = name.strip_suffix("-cloud-amd64")?;
            // Not `linux-image-cloud-amd64`, which only names the newest, not `linux-binary-unsigned-`
            // and not another suite's kernel built for this one (`6.1.0-0.deb11.52`).
            let digits = version.starts_with(|c: char| c.is_ascii_digit());
            let whole = version.matches(['.']).count() >= 2 && !version.contains(".deb");
            (digits && whole && version.starts_with(self.version)).then(|| name.to_owned())
        };
        let mut releases: Vec<String> = packages.iter().filter_map(release).collect();
        releases.sort_by(|a, b| by_version(a, b));
        let name = releases.pop()?;
        let split = format!("linux-binary-{name}");
        let packages = if packages.contains(&split.as_str()) {
            vec![split, format!("linux-modules-{name}")]
        } else {
            vec![format!("linux-image-{name}")]
        };
        Some(Release { name, packages })
    }
}

/// Compares so that numbers count as numbers: `6.12.9` before `6.12.10`.
fn by_version(a: &str, b: &str) -> Ordering {
    fn parts(text: &str) -> impl Iterator<Item = (u64, &str)> {
        text.split(|c: char| !c.is_ascii_alphanumeric())
            .map(|part| (part.parse().unwrap_or(0), part))
    }
    parts(a).cmp(parts(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> &'static Line {
        LINES.iter().find(|line| line.name == name).unwrap()
    }

    #[test]
    fn the_newest_package_of_a_line() {
        let packages = [
            "linux-image-5.10.0-9-cloud-amd64",
            "linux-image-5.10.0-46-cloud-amd64",
            "linux-image-5.10.0-47-cloud-amd64-unsigned",
            "linux-image-5.10.0-48-cloud-amd64-dbg",
            "linux-image-5.10.0-49-amd64",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.12.94+deb13-cloud-amd64",
            "linux-image-6.12.107+deb13-cloud-amd64",
            "linux-image-7.2.13+deb14-cloud-amd64",
            "linux-binary-7.2.13+deb14-cloud-amd64",
            "linux-binary-unsigned-7.2.14+deb14-cloud-amd64",
            "linux-modules-7.2.13+deb14-cloud-amd64",
            "linux-image-cloud-amd64",
        ];
        for (name, release, of) in [
            ("5.10", "5.10.0-46-cloud-amd64", &["linux-image-"][..]),
            ("6.1", "6.1.0-50-cloud-amd64", &["linux-image-"]),
            ("6.12", "6.12.107+deb13-cloud-amd64", &["linux-image-"]),
            (
                "newest",
                "7.2.13+deb14-cloud-amd64",
                &["linux-binary-", "linux-modules-"],
            ),
        ] {
            let expected = Release {
                name: release.to_owned(),
                packages: of.iter().map(|kind| format!("{kind}{release}")).collect(),
            };
            assert_eq!(line(name).newest(&packages), Some(expected), "{name}");
        }
        assert_eq!(line("6.12").newest(&packages[..3]), None);
        assert_eq!(line("newest").newest(&[]), None);
    }

    #[test]
    fn kernels_are_asked_for_by_name() {
        for (asked, expected) in [
            (&[][..], Ok(vec!["5.10", "6.1", "6.12", "newest"])),
            (&["6.12", "5.10"], Ok(vec!["5.10", "6.12"])),
            (&["7.2"], Ok(vec!["newest"])),
            (&["newest", "7.2"], Ok(vec!["newest"])),
            (&["6.6"], Err("6.6".to_owned())),
            (&["6.1", "latest"], Err("latest".to_owned())),
            (&[""], Err(String::new())),
        ] {
            let asked: Vec<String> = asked.iter().map(|word| (*word).to_owned()).collect();
            let names = chosen(&asked).map(|lines| {
                let names = lines.iter().map(|line| line.name);
                names.collect::<Vec<_>>()
            });
            assert_eq!(names, expected, "{asked:?}");
        }
    }
}
