//! Names of the reasons for which a kernel sends a reset. The numbers are not stable, so the running
//! kernel is asked: its type information first, else the tracepoint's `format` file.

use std::io::{self, Read as _};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// The enum in the kernel's type information.
pub(super) const ENUM: &[u8] = b"sk_rst_reason";
const PREFIX: &str = "SK_RST_REASON_";
const FORMAT: &str = "events/tcp/tcp_send_reset/format";

/// Number and short name (`TCP_ABORT_ON_CLOSE`) from the constants of the enum.
pub(super) fn from_constants(constants: Vec<(&[u8], u32)>) -> Vec<(u32, String)> {
    constants
        .into_iter()
        .filter_map(|(name, number)| {
            let name = std::str::from_utf8(name).ok()?;
            keep(number, name.strip_prefix(PREFIX)?)
        })
        .collect()
}

/// The same from the tracepoint's `format` file: the pairs that its print format gives for
/// `REC->reason`.
pub fn parse_format(text: &str) -> Vec<(u32, String)> {
    let Some((_, after)) = text.split_once("__print_symbolic(REC->reason,") else {
        return Vec::new();
    };
    let list = after.split(')').next().unwrap_or_default();
    list.split('{')
        .skip(1)
        .filter_map(|pair| {
            let (number, name) = pair.split('}').next()?.split_once(',')?;
            let name = name.trim().strip_prefix('"')?.strip_suffix('"')?;
            keep(number.trim().parse().ok()?, name)
        })
        .collect()
}

/// `MAX` closes the list and is no reason.
fn keep(number: u32, name: &str) -> Option<(u32, String)> {
    (name != "MAX").then(|| (number, name.to_owned()))
}

/// Reads the `format` file from a tracefs of our own. The file system is opened and never attached
/// to any directory, so nothing changes on the host and it is gone when the file is closed. Needs
/// kernel 5.2 and the right to mount; the reasons themselves came with 6.10.
pub(super) fn read_format() -> io::Result<String> {
    let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let root = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_NOSUID,
    )?;
    let file = openat(
        &root,
        FORMAT,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_file_of_6_18() {
        let reasons = parse_format(include_str!("../testdata/tcp_send_reset-6.18.format"));
        assert_eq!(reasons.len(), 25);
        assert_eq!(reasons[0], (0, "NOT_SPECIFIED".into()));
        assert_eq!(reasons[11], (11, "TCP_ABORT_ON_CLOSE".into()));
        assert!(reasons.iter().all(|(_, name)| name != "MAX"));
    }

    #[test]
    fn other_format_files() {
        let pair = vec![(1, "NO_SOCKET".to_owned())];
        let table = [
            // 6.1: the tracepoint has no reason.
            ("print fmt: \"sport=%hu\", REC->sport", vec![]),
            ("", vec![]),
            ("__print_symbolic(REC->reason,", vec![]),
            (
                "__print_symbolic(REC->reason, { 1, \"NO_SOCKET\" })",
                pair.clone(),
            ),
            // Pairs that cannot be read are left out, the others kept.
            (
                "__print_symbolic(REC->reason, { X, \"A\" }, { 1, \"NO_SOCKET\" }, { 2, B }, { 3",
                pair,
            ),
        ];
        for (text, expected) in table {
            assert_eq!(parse_format(text), expected, "{text}");
        }
    }

    #[test]
    fn constants_lose_their_prefix() {
        let reasons = from_constants(vec![
            (b"SK_RST_REASON_NO_SOCKET", 1),
            (b"SOMETHING_ELSE", 2),
            (b"SK_RST_REASON_\xff", 3),
            (b"SK_RST_REASON_MAX", 4),
        ]);
        assert_eq!(reasons, [(1, "NO_SOCKET".to_owned())]);
    }

    /// Both sources name the same reasons, where this machine lets us look at both.
    #[test]
    fn the_two_sources_agree() {
        let Ok(text) = read_format() else {
            eprintln!("skipped: not root, or no tracefs in this kernel");
            return;
        };
        let from_btf = super::super::Features::probe(&Default::default()).reset_reasons;
        let from_tracefs = parse_format(&text);
        if !from_btf.is_empty() && !from_tracefs.is_empty() {
            assert_eq!(from_btf, from_tracefs);
        }
    }
}
