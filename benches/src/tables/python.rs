//! A process of the interpreter that runs peers that are Python packages: a request a line, an answer a line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::error::{BenchError, Result};
use crate::measure::Residue;

/// What runs in it.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/peers.py");

/// The process; it ends with this.
pub(super) struct Python {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Python {
    /// Starts it.
    pub(super) fn start(interpreter: &Path) -> Result<Self> {
        let mut child = Command::new(interpreter)
            .arg(SCRIPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(BenchError::io("starting", interpreter))?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().ok_or_else(|| failed("it has no output"))?;
        Ok(Self { child, requests, answers: BufReader::new(answers) })
    }

    /// Has something done; the answer.
    pub(super) fn call(&mut self, request: &Value) -> Result<Value> {
        let io = BenchError::io("asking", Path::new(SCRIPT));
        let Some(requests) = &mut self.requests else { return Err(failed("it has ended")) };
        writeln!(requests, "{request}").and_then(|()| requests.flush()).map_err(io)?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(BenchError::io("hearing", Path::new(SCRIPT)))?;
        let answer: Value = serde_json::from_str(&line)
            .map_err(|e| failed(&format!("{request} was answered by {line:?}: {e}")))?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(failed(&format!("{request}: {error}"))),
            None => Ok(answer),
        }
    }

    /// Has something done that says how long it took.
    pub(super) fn timed(&mut self, request: &Value) -> Result<Residue> {
        let answer = self.call(request)?;
        let of = |name: &str| answer.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
        Ok(Residue::Timed { seconds: of("seconds"), cpu_seconds: of("cpu_seconds") })
    }
}

fn failed(message: &str) -> BenchError {
    BenchError::Format {
        format: "python".to_owned(),
        doing: "running a peer".to_owned(),
        message: message.to_owned(),
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // Without requests it ends by itself.
        self.requests = None;
        let _ = self.child.wait();
    }
}
