//! The agent's socket: `why502 snapshot` asks, the agent answers with a path. One line each way.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader as Reader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Who may ask at a time.
const CONNECTIONS: usize = 4;
/// A question is this long at most, bytes, …
const QUESTION_MAX: u64 = 64;
/// … and comes within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a snapshot may take to be written.
const WRITE_PATIENCE: Duration = Duration::from_secs(120);

/// Someone wants a snapshot: the answer is its path, or why there is none.
pub(super) type Order = oneshot::Sender<Result<PathBuf, String>>;

/// The socket; its name goes when it is dropped.
#[derive(Debug)]
pub(super) struct Control {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_file(&self.path);
    }
}

impl Control {
    /// Listens from now on, for root alone. Call it within the runtime, with the lock of the directory
    /// held: a socket that is there is a dead one.
    pub(super) fn listen(path: &Path, orders: mpsc::Sender<Order>) -> anyhow::Result<Self> {
        let at = || format!("cannot listen on {}", path.display());
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(at);
            }
            _ => {}
        }
        // Between these two only the directory's mode protects it; it is 0700.
        let listener = UnixListener::bind(path).with_context(at)?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).with_context(at)?;
        Ok(Self {
            path: path.to_owned(),
            task: tokio::spawn(serve(listener, orders)),
        })
    }
}

async fn serve(listener: UnixListener, orders: mpsc::Sender<Order>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let orders = orders.clone();
        tokio::spawn(async move {
            // Who asked and left is not our concern.
            let _ = converse(stream, &orders).await;
            drop(permit);
        });
    }
}

async fn converse(stream: UnixStream, orders: &mpsc::Sender<Order>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut question = String::new();
    let mut read = Reader::new(read.take(QUESTION_MAX));
    let asked = timeout(PATIENCE, read.read_line(&mut question)).await;
    let answer = match asked {
        Ok(Ok(_)) if question.trim_end() == "snapshot" => snapshot(orders).await,
        _ => Err("the only question is: snapshot".to_owned()),
    };
    let line = match answer {
        Ok(path) => format!("ok {}\n", path.display()),
        Err(why) => format!("error {}\n", why.replace('\n', " ")),
    };
    write.write_all(line.as_bytes()).await
}

async fn snapshot(orders: &mpsc::Sender<Order>) -> Result<PathBuf, String> {
    let (answer, answered) = oneshot::channel();
    let ends = || "the agent is ending".to_owned();
    orders.send(answer).await.map_err(|_| ends())?;
    match timeout(WRITE_PATIENCE, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(ends()),
        Err(_) => Err("it takes too long; the agent's log will tell".to_owned()),
    }
}

/// Asks the agent behind that socket for a snapshot, and gives its path.
pub(super) fn ask(socket: &Path) -> anyhow::Result<String> {
    let mut stream = Blocking::connect(socket).with_context(|| {
        format!(
            "no agent answers at {} (is it running, and are you root?)",
            socket.display()
        )
    })?;
    stream.set_read_timeout(Some(WRITE_PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"snapshot\n")?;
    let mut answer = String::new();
    BufReader::new(stream.take(16 << 10)).read_line(&mut answer)?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", path)) => Ok(path.to_owned()),
        Some(("error", why)) => bail!("the agent has written no snapshot: {why}"),
        _ => bail!("the agent ended before it answered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        fs::write(&path, "left by an agent that was killed").unwrap();
        let runtime = crate::capture::runtime().unwrap();
        let inside = runtime.enter();
        let (orders, mut ordered) = mpsc::channel::<Order>(4);
        let control = Control::listen(&path, orders).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        runtime.spawn(async move {
            let answers = [
                Ok(PathBuf::from("/var/lib/a b.w502")),
                Err("the disk\nis full".to_owned()),
            ];
            for answer in answers {
                let order = ordered.recv().await.unwrap();
                order.send(answer).unwrap();
            }
            drop(ordered.recv().await);
        });
        drop(inside);
        let asked = path.clone();
        let asking = std::thread::spawn(move || questions(&asked));
        runtime.block_on(async {
            while !asking.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        asking.join().unwrap();
        drop(control);
        let gone = ask(&path).unwrap_err();
        assert!(format!("{gone:#}").contains("is it running"), "{gone:#}");
        assert!(!path.exists());
    }

    fn questions(path: &Path) {
        let told = || ask(path).map_err(|error| format!("{error:#}"));
        assert_eq!(told(), Ok("/var/lib/a b.w502".to_owned()));
        assert!(told().unwrap_err().contains("the disk is full"));
        assert!(told().unwrap_err().contains("ending"));
        let mut odd = Blocking::connect(path).unwrap();
        odd.write_all(&[b'x'; 100]).unwrap();
        let mut answer = String::new();
        let _ = odd.read_to_string(&mut answer);
        assert!(answer.contains("the only question"), "{answer}");
    }
}
