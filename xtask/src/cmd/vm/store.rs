//! What was fetched, below `target/vm`: packages as they came, checked before each use, and unpacked
//! beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::apt::{Apt, Package};
use super::kernels::{Line, Release};
use crate::progress::say;

/// A kernel that can be booted.
pub(super) struct Kernel {
    pub(super) release: Release,
    /// The compressed image.
    pub(super) image: PathBuf,
    /// Where its modules are.
    pub(super) modules: PathBuf,
}

/// Has the newest kernel of a line ready, from the cache where it is still the newest.
pub(super) fn kernel(top: &Path, line: &'static Line) -> Result<Kernel> {
    let apt = Apt::new(&top.join("apt"), line.suite, line.security)?;
    if !apt.update()? {
        say(format!(
            "vm: {}: the mirror cannot be reached; taking what its index said before",
            line.suite
        ));
    }
    let names = apt.names("linux-")?;
    let names: Vec<&str> = names.lines().collect();
    let release = line.newest(&names).with_context(|| {
        format!(
            "Debian {} has no kernel package of the line {} any more; remove {} if its index is old",
            line.suite,
            line.name,
            top.join("apt").display()
        )
    })?;
    let packages = top.join("packages");
    fs::create_dir_all(&packages)?;
    let mut files = Vec::new();
    for name in &release.packages {
        let package = apt.package(name)?;
        fetch(&apt, name, &package, &packages)?;
        files.push(package);
    }
    let unpacked = top.join("kernels").join(&release.name);
    let mark: Vec<&str> = files.iter().map(|file| file.sha256.as_str()).collect();
    unpack(
        &unpacked,
        &mark.join("\n"),
        files.iter().map(|file| packages.join(&file.file)),
    )?;
    let of = |paths: [String; 2]| {
        let mut paths = paths.into_iter().map(|path| unpacked.join(path));
        paths.find(|path| path.exists())
    };
    let name = &release.name;
    let image = of([
        format!("boot/vmlinuz-{name}"),
        format!("usr/lib/modules/{name}/vmlinuz"),
    ]);
    let modules = of([
        format!("usr/lib/modules/{name}/kernel"),
        format!("lib/modules/{name}/kernel"),
    ]);
    let (Some(image), Some(modules)) = (image, modules) else {
        bail!(
            "{} holds no image or no modules of {name}: Debian packs its kernels in a new way, see kernels.rs",
            release.packages.join(" ")
        );
    };
    Ok(Kernel {
        image,
        modules,
        release,
    })
}

/// Has a package's file in `into`, whole.
fn fetch(apt: &Apt, name: &str, package: &Package, into: &Path) -> Result<()> {
    let file = into.join(&package.file);
    if file.exists() {
        if sha256(&file)? == package.sha256 {
            return Ok(());
        }
        say(format!(
            "vm: {} is damaged (its checksum is not that of the index); fetching it again",
            file.display()
        ));
        fs::remove_file(&file)?;
    }
    say(format!(
        "vm: fetching {} ({} MB)",
        package.file,
        package.size / 1_000_000
    ));
    apt.download(name, into)?;
    ensure!(
        file.exists(),
        "apt fetched {name}, but not as {}",
        file.display()
    );
    let found = sha256(&file)?;
    if found != package.sha256 {
        fs::remove_file(&file)?;
        bail!(
            "{name} was thrown away: its checksum is {found}, the package index says {}. Try again; if it stays, the mirror or a proxy on the way is broken",
            package.sha256
        );
    }
    Ok(())
}

fn sha256(file: &Path) -> Result<String> {
    let output = Command::new("sha256sum")
        .arg("--")
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .context("cannot run sha256sum; install coreutils")?;
    ensure!(
        output.status.success(),
        "cannot read {}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    // A backslash comes first if the file's name holds odd characters.
    let sum = text.trim_start_matches('\\').split(' ').next();
    Ok(sum.unwrap_or_default().to_owned())
}

/// Unpacks packages into a directory; only once as long as `mark` stays the same.
fn unpack(directory: &Path, mark: &str, packages: impl IntoIterator<Item = PathBuf>) -> Result<()> {
    let marked = directory.join(".unpacked");
    if fs::read_to_string(&marked).is_ok_and(|found| found == mark) {
        return Ok(());
    }
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    for package in packages {
        let output = Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&package)
            .arg(directory)
            .stdin(Stdio::null())
            .output()
            .context("cannot run dpkg-deb")?;
        ensure!(
            output.status.success(),
            "dpkg-deb cannot unpack {}: {}",
            package.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    // Last, so that what was torn is unpacked again.
    fs::write(marked, mark)?;
    Ok(())
}

/// The suite whose QEMU is taken where the host has none that will do.
const QEMU_SUITE: &str = "trixie";

/// The machine emulator, and what it boots from.
const QEMU_PACKAGES: [&str; 2] = ["qemu-system-x86", "seabios"];

/// Has QEMU unpacked with all its libraries, so that nothing is installed; gives the directory.
pub(super) fn qemu(top: &Path) -> Result<PathBuf> {
    let directory = top.join("qemu");
    let apt = Apt::new(&top.join("apt"), QEMU_SUITE, true)?;
    let reached = apt.update()?;
    let files = apt.closure(&QEMU_PACKAGES)?;
    let mark = files.join("\n");
    let there = fs::read_to_string(directory.join(".unpacked"));
    // Without the network an older one will do as well.
    if there.is_ok_and(|found| found == mark || !reached) {
        return Ok(directory);
    }
    say(format!(
        "vm: fetching QEMU and its libraries ({} packages of Debian {QEMU_SUITE}); nothing is installed",
        files.len()
    ));
    let archives = apt.fetch_closure(&QEMU_PACKAGES)?;
    unpack(
        &directory,
        &mark,
        files.iter().map(|file| archives.join(file)),
    )?;
    // Unpacked they are enough; apt would fetch them again.
    for file in &files {
        // Only space is lost if it stays.
        let _ = fs::remove_file(archives.join(file));
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a\nb");
        fs::write(&file, "hello\n").unwrap();
        let expected = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(sha256(&file).unwrap(), expected);
        assert!(sha256(&dir.path().join("none")).is_err());
    }

    /// A package as `dpkg-deb` makes it, with one file.
    fn package(dir: &Path, text: &str) -> Option<PathBuf> {
        let tree = dir.join("tree");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::write(
            tree.join("DEBIAN/control"),
            "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.com>\nDescription: x\n",
        )
        .unwrap();
        fs::write(tree.join("file"), text).unwrap();
        let made = Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .arg(&tree)
            .arg(dir.join("x.deb"))
            .output();
        // Not every machine has Debian's tools.
        made.is_ok_and(|output| output.status.success())
            .then(|| dir.join("x.deb"))
    }

    #[test]
    fn what_is_unpacked_is_whole_and_of_the_package_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let Some(deb) = package(dir.path(), "one") else {
            return;
        };
        let into = dir.path().join("into");
        let text = || fs::read_to_string(into.join("file")).unwrap_or_default();
        unpack(&into, "1", [deb.clone()]).unwrap();
        assert_eq!(text(), "one");
        fs::write(into.join("file"), "kept").unwrap();
        unpack(&into, "1", [deb]).unwrap();
        assert_eq!(text(), "kept");

        let deb = package(dir.path(), "two").unwrap();
        unpack(&into, "2", [deb.clone()]).unwrap();
        assert_eq!(text(), "two");

        // Torn: said, and not taken for whole the next time.
        let whole = fs::read(&deb).unwrap();
        fs::write(&deb, &whole[..whole.len() / 2]).unwrap();
        for _ in 0..2 {
            let error = unpack(&into, "3", [deb.clone()]).unwrap_err();
            assert!(error.to_string().contains("cannot unpack"), "{error}");
        }
    }

    /// An archive in a directory, with that package.
    fn repository(dir: &Path, deb: &Path) {
        let size = fs::metadata(deb).unwrap().len();
        let index = format!(
            "Package: x\nVersion: 1\nArchitecture: all\nFilename: ./x.deb\nSize: {size}\nSHA256: {}\n",
            sha256(deb).unwrap()
        );
        fs::write(dir.join("Packages"), index).unwrap();
    }

    #[test]
    fn downloads_are_checked_and_damage_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let Some(deb) = package(dir.path(), "one") else {
            return;
        };
        repository(dir.path(), &deb);
        let sources = format!("deb [trusted=yes] copy:{} ./\n", dir.path().display());
        let Ok(apt) = Apt::with(&dir.path().join("apt"), &sources, "") else {
            return;
        };
        apt.update().unwrap();
        let wanted = apt.package("x").unwrap();
        let cache = dir.path().join("cache");
        fs::create_dir(&cache).unwrap();
        fetch(&apt, "x", &wanted, &cache).unwrap();
        let file = cache.join(&wanted.file);
        let whole = fs::read(&file).unwrap();

        // What lies there is compared each time.
        fs::write(&file, "damaged").unwrap();
        fetch(&apt, "x", &wanted, &cache).unwrap();
        assert_eq!(fs::read(&file).unwrap(), whole);

        // The archive's own file is not the one of its index.
        let mut other = whole.clone();
        let last = other.last_mut().unwrap();
        *last ^= 1;
        fs::write(&deb, other).unwrap();
        fs::write(&file, "damaged").unwrap();
        let error = fetch(&apt, "x", &wanted, &cache).unwrap_err().to_string();
        assert!(error.contains("checksum of the package index"), "{error}");
        assert!(!file.exists());

        let error = apt.package("y").unwrap_err().to_string();
        assert!(error.contains('y'), "{error}");
    }
}
