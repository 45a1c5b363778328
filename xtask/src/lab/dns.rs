//! A DNS server that knows no name: every question is answered with NXDOMAIN.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Length of the header (RFC 1035 section 4.1.1).
const HEADER: usize = 12;

/// A running server; ended when dropped.
pub struct UnknownNames {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UnknownNames {
    /// Starts it on that address.
    pub fn start(addr: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(addr).with_context(|| format!("cannot listen on {addr}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while !told.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut packet) else {
                    continue;
                };
                if let Some(answer) = answer(&packet[..len]) {
                    // Whoever asks asks again.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for UnknownNames {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The question back, with "no such name"; `None` if it is no question.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let head = query.get(..HEADER)?;
    let is_response = head[2] & 0x80 != 0;
    if is_response || head[4..6] != [0, 1] {
        return None;
    }
    // The name is a run of labels that ends with an empty one; type and class follow.
    let mut end = HEADER;
    while *query.get(end)? != 0 {
        end += 1 + usize::from(query[end]);
    }
    let question = query.get(HEADER..end + 5)?;
    let recursion_desired = head[2] & 1;
    let mut answer = vec![
        head[0],
        head[1],
        0x80 | recursion_desired,
        // Recursion is available; there is no such name.
        0x83,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    answer.extend_from_slice(question);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_answered_and_nothing_else() {
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x02nx\x03lab\0\0\x01\0\x01\0\0\x29extra";
        let expected = b"\x12\x34\x81\x83\0\x01\0\0\0\0\0\0\x02nx\x03lab\0\0\x01\0\x01";
        assert_eq!(answer(query).unwrap(), expected);
        for cut in 0..query.len() - 10 {
            // Never a panic, whatever is missing.
            let _ = answer(&query[..cut]);
        }
        assert_eq!(answer(expected), None);
        assert_eq!(answer(b""), None);
    }
}
