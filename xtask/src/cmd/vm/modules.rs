//! Kernel modules: Debian's cloud kernels have much of what the lab needs as modules.
//!
//! Debian's packages hold no `modules.dep` (it is made when they are installed), so the names that
//! each module depends on are read from the module itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// What the lab and the tests use; one that a kernel does not have as a module is built into it, or
/// nothing asks for it there (`nft_counter` became part of `nf_tables` in 5.17).
pub(super) const WANTED: [&str; 20] = [
    "veth",
    "dummy",
    "tcp_diag",
    "udp_diag",
    "unix_diag",
    "nf_tables",
    "nft_counter",
    "nft_ct",
    "nft_limit",
    "nft_log",
    "nft_quota",
    "nft_numgen",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_chain_nat",
    "nft_nat",
    "nft_redir",
    "sch_netem",
    "sch_tbf",
];

/// A module as it is loaded: its name and the ELF file's bytes.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// The wanted modules below a directory and all that they need, in the order to load them.
pub(super) fn collect(directory: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    find(directory, &mut files)?;
    let mut loaded: Vec<Module> = Vec::new();
    for name in WANTED {
        add(name, &files, &mut loaded, 0)?;
    }
    Ok(loaded)
}

fn add(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    loaded: &mut Vec<Module>,
    depth: usize,
) -> Result<()> {
    let Some(path) = files.get(name) else {
        return Ok(());
    };
    if loaded.iter().any(|module| module.name == name) {
        return Ok(());
    }
    if depth > 20 {
        bail!("{}: its dependencies never end", path.display());
    }
    let content = read(path)?;
    for needed in depends(&content) {
        add(&needed, files, loaded, depth + 1)?;
    }
    let name = name.to_owned();
    loaded.push(Module { name, content });
    Ok(())
}

/// All module files by name.
fn find(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let listed =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in listed {
        let entry = entry?;
        let path = entry.path();
        // Not through links: `build` and `source` lead elsewhere.
        if entry.file_type()?.is_dir() {
            find(&path, files)?;
        } else if let Some(name) = path
            .file_name()
            .and_then(|name| module_name(name.to_str()?))
        {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `crc32c-intel.ko.xz` → `crc32c_intel`, as the kernel calls it.
fn module_name(file: &str) -> Option<String> {
    let (name, end) = file.split_once(".ko")?;
    matches!(end, "" | ".xz").then(|| name.replace('-', "_"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|end| end != "xz") {
        return fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    }
    // Not left to the kernel: before 5.17 it does not unpack modules, and it need not be built to.
    let output = Command::new("xz")
        .args(["--decompress", "--stdout", "--"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .context("cannot run xz; install it (Debian: xz-utils)")?;
    if !output.status.success() {
        bail!(
            "xz cannot unpack {}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

/// What a module names in `depends=` of its section `.modinfo`: strings, each ended by a NUL.
fn depends(content: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = content.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = &content[start + KEY.len()..];
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&value[..end])
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_the_module() {
        for (content, expected) in [
            (
                &b"\0license=GPL\0depends=nf_tables,nf-reject\0x"[..],
                &["nf_tables", "nf_reject"][..],
            ),
            (b"\0depends=\0", &[]),
            (b"\0depends=torn", &[]),
            (b"xdepends=a\0", &[]),
            (b"", &[]),
        ] {
            assert_eq!(depends(content), expected);
        }
    }

    #[test]
    fn names() {
        for (file, expected) in [
            ("veth.ko", Some("veth")),
            ("crc32c-intel.ko.xz", Some("crc32c_intel")),
            ("veth.ko.gz", None),
            ("modules.order", None),
        ] {
            assert_eq!(module_name(file).as_deref(), expected, "{file}");
        }
    }

    #[test]
    fn what_is_needed_comes_first_and_circles_end() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, depends: &str| {
            let content = format!("\0depends={depends}\0");
            fs::write(dir.path().join(name), content).unwrap();
        };
        fs::create_dir(dir.path().join("net")).unwrap();
        write("net/tcp_diag.ko", "inet_diag");
        write("inet-diag.ko", "");
        write("veth.ko", "not-there");
        let names = |dir: &Path| -> Vec<String> {
            let modules = collect(dir).unwrap();
            modules.into_iter().map(|module| module.name).collect()
        };
        assert_eq!(names(dir.path()), ["veth", "inet_diag", "tcp_diag"]);
        write("inet-diag.ko", "tcp_diag");
        assert!(collect(dir.path()).is_err());
    }
}
