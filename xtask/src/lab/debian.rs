//! The minimal Debian that set-up makes (`target/tools/debian`), as if it were fresh each time: what
//! is changed in it goes into a layer of its own, which is gone with the value. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// Mounts the layers, the kernel's own file systems,
/// where nobody else sees them: they end with the process.
const ENTER: &str = r#"
set -e
top=$1; base=$2; shift 2
mount -t overlay overlay -o "lowerdir=$base,upperdir=$top/upper,workdir=$top/work" "$top/root"
mount -t proc proc "$top/root/proc"
mount --rbind /sys "$top/root/sys"
exec "$@"
"#;

/// One such system.
pub struct Debian {
    layers: TempDir,
    base: PathBuf,
}

impl Debian {
    /// Is there one to begin with?
    pub fn is_there() -> bool {
        crate::paths::debian().join("usr/bin/dpkg").exists()
    }

    /// A fresh one, of what set-up made.
    ///
    /// # Errors
    ///
    /// When the layers cannot be made.
    pub fn new() -> Result<Self> {
        let layers = tempfile::tempdir_in(crate::paths::tools())?;
        for name in ["upper", "work", "root"] {
            fs::create_dir(layers.path().join(name))?;
        }
        Ok(Self {
            layers,
            base: crate::paths::debian(),
        })
    }

    /// Copies a file of this machine to `/root`, and returns its path inside.
    ///
    /// # Errors
    ///
    /// When it cannot be read or written.
    pub fn bring(&self, file: &Path) -> Result<String> {
        let name = file.file_name().context("a file without a name")?;
        let home = self.layers.path().join("upper/root");
        fs::create_dir_all(&home)?;
        fs::copy(file, home.join(name)).with_context(|| file.display().to_string())?;
        Ok(format!("/root/{}", name.display()))
    }

    /// Runs a program inside, whatever its status.
    ///
    /// # Errors
    ///
    /// When it cannot be run at all.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        let root = self.layers.path().join("root");
        let enter = [
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
            "chroot",
        ];
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--", "sh", "-c"])
            .args([ENTER, "enter"])
            .arg(self.layers.path())
            .arg(&self.base)
            .args(enter)
            .arg(&root)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .context("cannot run unshare (util-linux)")
    }

    /// Runs a program inside that must succeed, and returns what it printed, both streams.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn must(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words)?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{words:?}: {text}");
        Ok(text)
    }
}
