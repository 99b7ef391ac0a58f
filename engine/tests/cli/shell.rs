//! `deltalite shell` on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::command;

/// How long anything may take that a person waits for here.
const PATIENCE: Duration = Duration::from_mins(1);

/// A shell on a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(folder: &std::path::Path) -> Self {
        let (mut ours, mut theirs) = (0, 0);
        let size = libc::winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: both descriptors are written to before the call returns 0, and the other pointers are null or valid.
        let made = unsafe {
            libc::openpty(
                &raw mut ours,
                &raw mut theirs,
                std::ptr::null_mut(),
                std::ptr::null(),
                &raw const size,
            )
        };
        assert_eq!(made, 0, "a terminal");
        // SAFETY: both are open and owned by nobody else.
        let (ours, theirs) = unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) };
        let mut shell = command(folder);
        shell.arg("shell").env("TERM", "xterm").env("XDG_STATE_HOME", folder);
        shell
            .stdin(theirs.try_clone().unwrap())
            .stdout(theirs.try_clone().unwrap())
            .stderr(Stdio::from(theirs));
        let terminal = ours.as_raw_fd();
        // SAFETY: only calls that are allowed after a fork; the terminal becomes the one that Ctrl-C comes from.
        unsafe {
            shell.pre_exec(move || {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                libc::close(terminal);
                Ok(())
            });
        }
        let child = shell.spawn().unwrap();
        drop(shell);
        let mut reader = ours.try_clone().unwrap();
        let mut answers = ours.try_clone().unwrap();
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                // A terminal answers where its cursor is.
                for _ in 0..bytes[..n].windows(4).filter(|w| w == b"\x1b[6n").count() {
                    let _ = answers.write_all(b"\x1b[1;1R");
                }
                if sender.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys: ours, shown, seen: String::new() }
    }

    fn type_in(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the shell takes keys: it has asked where the cursor is, and shown its name. What is typed earlier may be lost.
    fn prompt(&mut self) {
        self.wait("\x1b[6n");
        self.wait("deltalite");
    }

    /// Waits until a text is shown after what was waited for before.
    fn wait(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let more = self.shown.recv_timeout(PATIENCE.saturating_sub(start.elapsed()));
            assert!(more.is_ok(), "{text:?} was not shown, but {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&more.unwrap()));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn statements_are_typed_cancelled_completed_and_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(folder.path());
    terminal.prompt();
    terminal.type_in("CREATE TABLE trips (fare BIGINT);\r");
    terminal.wait("row in");
    terminal.prompt();
    terminal.type_in("INSERT INTO trips VALUES (40),\r");
    terminal.wait("...>");
    terminal.type_in("(2);\r");
    terminal.wait("row in");
    terminal.prompt();
    terminal.type_in("SELECT sum(fare) AS total FROM tri\t;\r");
    terminal.wait("| 42");
    terminal.wait("row in");
    terminal.prompt();
    // A statement that would take far longer than anybody waits.
    let forever = "SELECT count(*) FROM generate_series(1, 2000000) a JOIN generate_series(1, 2000000) b ON a.value % 2 = b.value % 2;\r";
    terminal.type_in(forever);
    // Rows read are shown after a second.
    terminal.wait("read");
    terminal.type_in("\x03");
    terminal.wait("cancelled");
    terminal.prompt();
    terminal.type_in("SELECT fair FROM trips;\r");
    terminal.wait("DL-0702");
    terminal.prompt();
    terminal.type_in("SELECT 1");
    terminal.wait("SELECT");
    terminal.type_in("\x03");
    terminal.prompt();
    terminal.type_in("SELECT 6 * 7 AS answer;\r");
    terminal.wait("| 42");
    terminal.prompt();
    terminal.type_in(".quit\r");
    assert!(terminal.child.wait().unwrap().success());
    let history = std::fs::read_to_string(folder.path().join("deltalite/history")).unwrap();
    assert!(history.contains("SELECT 6 * 7 AS answer;"), "{history}");
}
