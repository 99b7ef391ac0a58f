//! Where a sink's bytes go.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use deltalite_shard::write::{AtomicFile, WriteOptions};

use crate::error::{EngineError, Result};

/// Bytes that are handed to the writing thread at once.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that wait for the writing thread, before their producer waits.
const PIECES_MAX: usize = 8;

/// A file being written, a pipe or standard output.
///
/// A regular file is written by a thread of its own and appears under its name only after [`Output::commit`]; dropping the output leaves
/// what was there.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Stdout,
    Stream,
    File { commit: Sender<()>, thread: JoinHandle<Result<u64>> },
}

impl Output {
    /// Begins the output: `-` is standard output; what exists and is no regular file (a pipe, a device) is written to as it is.
    ///
    /// # Errors
    /// When it can't be created.
    pub fn create(path: &Path) -> Result<(Self, Box<dyn Write + Send>)> {
        let path = path.to_owned();
        if path == Path::new("-") {
            let out = io::BufWriter::with_capacity(PIECE_BYTES, io::stdout());
            return Ok((Self { path, target: Target::Stdout }, Box::new(out)));
        }
        if path.metadata().is_ok_and(|m| !m.is_file()) {
            let file = File::options().write(true).open(&path).map_err(EngineError::io(&path))?;
            return Ok((Self { path, target: Target::Stream }, Box::new(io::BufWriter::new(file))));
        }
        let (pieces, pieces_sent) = sync_channel(PIECES_MAX);
        let (commit, committed) = channel();
        let (ready, is_ready) = channel();
        let name = path.clone();
        let thread = std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || write_file(&name, &ready, &pieces_sent, &committed))
            .map_err(EngineError::io(&path))?;
        if is_ready.recv().is_err() {
            // It ended before it was ready: with an error.
            return Err(join(&path, thread).err().unwrap_or_else(|| lost(&path)));
        }
        let writer = Pieces { pieces, buffer: Vec::with_capacity(PIECE_BYTES) };
        Ok((Self { path, target: Target::File { commit, thread } }, Box::new(writer)))
    }

    /// Makes the file durable and gives it its name, once its writer is flushed and dropped.
    ///
    /// # Errors
    /// What any write answered; nothing is left behind then.
    pub fn commit(self) -> Result<()> {
        match self.target {
            Target::Stdout => io::stdout().flush().map_err(EngineError::io(self.path)),
            Target::Stream => Ok(()),
            Target::File { commit, thread } => {
                // A thread that is gone says why when it is joined.
                let _ = commit.send(());
                join(&self.path, thread).map(drop)
            }
        }
    }
    /// Gives the output up; why its thread failed, if it did.
    pub fn failure(self) -> Option<EngineError> {
        match self.target {
            Target::File { commit, thread } => {
                drop(commit);
                join(&self.path, thread).err()
            }
            Target::Stdout | Target::Stream => None,
        }
    }
}

fn lost(path: &Path) -> EngineError {
    EngineError::io(path)(io::Error::other(
        "the thread that writes it ended early; this is a bug, please report it",
    ))
}

fn join(path: &Path, thread: JoinHandle<Result<u64>>) -> Result<u64> {
    thread.join().unwrap_or_else(|_| Err(lost(path)))
}

fn write_file(
    path: &Path,
    ready: &Sender<()>,
    pieces: &Receiver<Vec<u8>>,
    committed: &Receiver<()>,
) -> Result<u64> {
    let mut file = AtomicFile::create(path, WriteOptions::default())?;
    // Whoever asked is waiting, or gone with the whole output.
    let _ = ready.send(());
    for piece in pieces {
        file.write_all(&piece).map_err(EngineError::io(path))?;
    }
    match committed.recv() {
        Ok(()) => Ok(file.finish()?),
        // Given up: dropping the file removes it.
        Err(_) => Ok(0),
    }
}

/// Hands bytes to the writing thread.
struct Pieces {
    pieces: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
        self.pieces.send(piece).map_err(|_| io::Error::other("writing the file failed"))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(PIECE_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..n]);
        if self.buffer.len() == PIECE_BYTES {
            self.send()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.send() }
    }
}
