//! Facts about one process, each `None` when the process is gone or may not be looked at.

use std::fs;
use std::path::{Path, PathBuf};

/// The parent's id (0 for none). `None` for a process that is gone, and for a zombie: it runs no
/// code any more.
pub(super) fn living_parent(root: &Path, pid: u32) -> Option<u32> {
    parse_stat(&read(root, pid, "stat")?)
}

/// The process that a process or thread id belongs to.
pub(super) fn thread_group(root: &Path, pid: u32) -> Option<u32> {
    parse_tgid(&read(root, pid, "status")?)
}

/// The command name: at most 15 bytes, and the process may have chosen it.
pub(super) fn comm(root: &Path, pid: u32) -> Option<String> {
    Some(read(root, pid, "comm")?.trim_end_matches('\n').to_owned())
}

/// The file name of the executable, or the command name where the link cannot be read (kernel
/// threads; without the rights, other users' processes).
pub fn program_name(root: &Path, pid: u32) -> Option<String> {
    exe_path(root, pid)
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .or_else(|| comm(root, pid))
}

/// The path of the executable as its own mount namespace names it, without the mark that the kernel
/// appends when the file was replaced (an upgrade while it runs).
pub fn exe_path(root: &Path, pid: u32) -> Option<PathBuf> {
    let link = fs::read_link(root.join(pid.to_string()).join("exe")).ok()?;
    let text = link.to_string_lossy();
    Some(match text.strip_suffix(" (deleted)") {
        Some(path) => PathBuf::from(path),
        None => link,
    })
}

/// Inode number of the network namespace; `None` when the process is gone or we may not look.
pub fn netns(root: &Path, pid: u32) -> Option<u64> {
    let link = fs::read_link(root.join(pid.to_string()).join("ns/net")).ok()?;
    inode_of_link(link.to_str()?, "net:[")
}

/// The number in `net:[4026531840]` or `socket:[12345]`.
pub(super) fn inode_of_link(text: &str, prefix: &str) -> Option<u64> {
    text.strip_prefix(prefix)?.strip_suffix(']')?.parse().ok()
}

/// Lossy, because a command name may hold any bytes.
fn read(root: &Path, pid: u32, file: &str) -> Option<String> {
    let bytes = fs::read(root.join(pid.to_string()).join(file)).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// `pid (comm) state ppid …`; the command name may itself hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<u32> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" | "x" => None,
        _ => fields.next()?.parse().ok(),
    }
}

fn parse_tgid(status: &str) -> Option<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))?
        .trim()
        .parse()
        .ok()
}

/// A `/proc` made of plain files, for tests.
#[cfg(test)]
pub(super) mod fake {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Removed when dropped.
    pub(in super::super) struct Proc(PathBuf);

    impl Proc {
        pub(in super::super) fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path =
                std::env::temp_dir().join(format!("why502-proc-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(in super::super) fn root(&self) -> &Path {
            &self.0
        }

        pub(in super::super) fn dir(&self, pid: u32) -> PathBuf {
            self.0.join(pid.to_string())
        }

        pub(in super::super) fn process(&self, pid: u32, ppid: u32, comm: &str, exe: Option<&str>) {
            self.files(pid, pid, ppid, 'S', comm);
            if let Some(exe) = exe {
                symlink(exe, self.dir(pid).join("exe")).unwrap();
            }
        }

        /// The directory of a thread: it can be opened, though `/proc` does not list it.
        pub(in super::super) fn thread(&self, tid: u32, pid: u32) {
            self.files(tid, pid, 1, 'S', "thread");
        }

        pub(in super::super) fn zombie(&self, pid: u32, ppid: u32, comm: &str) {
            self.files(pid, pid, ppid, 'Z', comm);
        }

        pub(in super::super) fn netns(&self, pid: u32, inode: u64) {
            let dir = self.dir(pid).join("ns");
            fs::create_dir_all(&dir).unwrap();
            symlink(format!("net:[{inode}]"), dir.join("net")).unwrap();
        }

        fn files(&self, pid: u32, tgid: u32, ppid: u32, state: char, comm: &str) {
            let dir = self.dir(pid);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("comm"), format!("{comm}\n")).unwrap();
            fs::write(
                dir.join("stat"),
                format!("{pid} ({comm}) {state} {ppid} 1 1 0 -1\n"),
            )
            .unwrap();
            fs::write(
                dir.join("status"),
                format!("Name:\t{comm}\nState:\t{state}\nTgid:\t{tgid}\nPid:\t{pid}\n"),
            )
            .unwrap();
        }
    }

    impl Drop for Proc {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let table = [
            ("10 (nginx) S 1 10 10 0", Some(1)),
            ("10 (a) R (b) S 7 10", Some(7)),
            ("10 (x\n) y) R 3 10", Some(3)),
            ("10 (nginx) Z 1 10", None),
            ("10 (nginx) S", None),
            ("10 (nginx", None),
            ("10 (nginx) S -1", None),
            ("", None),
        ];
        for (text, parent) in table {
            assert_eq!(parse_stat(text), parent, "{text}");
        }
    }

    #[test]
    fn links_and_status() {
        assert_eq!(
            inode_of_link("net:[4026531840]", "net:["),
            Some(4_026_531_840)
        );
        for bad in ["net:[]", "net:[1", "mnt:[1]", "net:[x]", ""] {
            assert_eq!(inode_of_link(bad, "net:["), None, "{bad}");
        }
        assert_eq!(parse_tgid("Name:\tx\nTgid:\t42\nPid:\t43\n"), Some(42));
        assert_eq!(parse_tgid("Name:\tx\n"), None);
    }
}
