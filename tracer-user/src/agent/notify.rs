//! What the service manager is told, over the socket that it names (sd_notify(3)). Without one, nothing.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::event::MonoNs;

/// The way to the service manager.
#[derive(Debug, Default)]
pub(super) struct Notify {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that we live; half of that, to be sure.
    pub(super) watchdog: Option<Duration>,
}

impl Notify {
    /// As the environment says.
    pub(super) fn from_env() -> io::Result<Self> {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else {
            return Ok(Self::default());
        };
        let mine =
            env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse() == Ok(std::process::id()));
        let usec = env::var("WATCHDOG_USEC").ok();
        let usec = usec.and_then(|usec| usec.parse().ok()).filter(|_| mine);
        Self::to(name.as_bytes(), usec)
    }

    /// A name that begins with @ is an abstract one.
    fn to(name: &[u8], watchdog_usec: Option<u64>) -> io::Result<Self> {
        let addr = match name.split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&addr)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Some(socket),
            watchdog: watchdog_usec.map(|usec| Duration::from_micros(usec) / 2),
        })
    }

    /// Messages are lost if nobody listens; that is no failure of ours.
    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(message.as_bytes());
        }
    }

    /// Work has begun, or goes on after a reload.
    pub(super) fn ready(&self) {
        self.send("READY=1");
    }

    /// The configuration is read again.
    pub(super) fn reloading(&self, now: MonoNs) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now / 1000));
    }

    /// The end has begun.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// One line for `systemctl status`.
    pub(super) fn status(&self, line: &str) {
        let line = line.replace('\n', " ");
        self.send(&format!("STATUS={line}"));
    }

    /// The event loop turns.
    pub(super) fn alive(&self) {
        self.send("WATCHDOG=1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(path.as_os_str().as_bytes(), Some(4_000_000)).unwrap();
        assert_eq!(notify.watchdog, Some(Duration::from_secs(2)));
        notify.ready();
        notify.reloading(5_000_000);
        notify.status("two\nlines");
        notify.alive();
        notify.stopping();
        let mut heard = Vec::new();
        for _ in 0..5 {
            let mut buffer = [0; 256];
            let len = listener.recv(&mut buffer).unwrap();
            heard.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
        }
        let expected = [
            "READY=1",
            "RELOADING=1\nMONOTONIC_USEC=5000",
            "STATUS=two lines",
            "WATCHDOG=1",
            "STOPPING=1",
        ];
        assert_eq!(heard, expected);
        // A manager that is gone, or whose queue is full, holds nothing up.
        drop(listener);
        notify.alive();
        Notify::default().ready();
    }

    #[test]
    fn abstract_names_are_understood() {
        let name = format!("why502-test-{}", std::process::id());
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&addr).unwrap();
        Notify::to(format!("@{name}").as_bytes(), None)
            .unwrap()
            .ready();
        let mut buffer = [0; 16];
        let len = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"READY=1");
        assert!(Notify::to(b"/nonexistent/socket", None).is_err());
    }
}
