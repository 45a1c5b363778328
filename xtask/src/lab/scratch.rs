//! A place for files that vanishes with this process: a file system in memory, mounted where only
//! this process and its children see it.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Directories that every Linux has (FHS 3.0) and nothing of ours lies in; the first that is there
/// and free is covered.
const COVERED: [&str; 4] = ["/mnt", "/srv", "/media", "/opt"];

/// Where programs look for the name server (resolv.conf(5)).
const RESOLVER: &str = "/etc/resolv.conf";

/// Makes that the name server of this process and its children. Only behind [`private_directory`].
pub fn use_name_server(addr: IpAddr, directory: &Path) -> Result<()> {
    let file = directory.join("resolv.conf");
    fs::write(
        &file,
        format!("nameserver {addr}\noptions timeout:1 attempts:1\n"),
    )?;
    mount_bind(&file, RESOLVER).with_context(|| format!("cannot cover {RESOLVER}"))
}

/// Leaves the host's mount namespace and mounts the file system; gives its directory. To be called
/// before any other thread is started: threads made later see it, earlier ones do not.
#[expect(
    unsafe_code,
    reason = "the only safe way to unshare is a deprecated name for the same call"
)]
pub fn private_directory() -> Result<PathBuf> {
    let busy = [
        std::env::current_exe()?,
        std::env::current_dir()?,
        crate::paths::root(),
        crate::paths::target_dir(),
        std::env::temp_dir(),
    ];
    let directory = COVERED
        .into_iter()
        .map(Path::new)
        .find(|one| one.is_dir() && !busy.iter().any(|path| path.starts_with(one)))
        .with_context(|| format!("none of {} can be covered", COVERED.join(", ")))?;
    // SAFETY: the call is unsafe for `FILES` alone, where a thread loses the descriptors of others.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("cannot leave the mount namespace")?;
    // Nothing that is mounted from here on is to reach the host.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("cannot make the mounts private")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount(
        "why502-lab",
        directory,
        "tmpfs",
        flags,
        c"mode=0755,size=2g",
    )
    .with_context(|| format!("cannot mount a file system on {}", directory.display()))?;
    Ok(directory.to_path_buf())
}
