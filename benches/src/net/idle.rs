//! Connections that do nothing: their servers' end in a process of its own, their clients' in this one.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use deltalite_net::connection::Config;
use deltalite_net::drive::tokio::connect;

use super::wire::{self, options};
use super::{failed, row, system};
use crate::error::{BenchError, Result};
use crate::report::Row;

/// Serves until standard input ends; says where.
pub(super) fn serve_until_the_end() -> Result<()> {
    let address = wire::serve(&Config::default())?;
    println!("{address}");
    let ended = std::io::stdin().lock().read_line(&mut String::new());
    ended.map(drop).map_err(system("waiting"))
}

/// The other process; it ends with its standard input.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Nothing is lost where it can't be waited for.
        let _ = self.0.wait();
    }
}

impl Server {
    fn start() -> Result<(Self, SocketAddr)> {
        let program = std::env::current_exe().map_err(system("finding this program"))?;
        let mut child = Command::new(program)
            .args(["net", "--serve-idle"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(system("starting a server"))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(system("starting a server"))?;
        }
        let server = Self(child);
        let address = line.trim().parse();
        Ok((server, address.map_err(|_| BenchError::Usage("the server did not start".to_owned()))?))
    }
}

/// Memory of a process that is in use.
fn resident(process: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).map_err(system("reading statm"))?;
    let pages: f64 = text.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    Ok(pages * 4096.0)
}

/// Memory of each of so many connections, at both ends.
pub(super) fn idle(connections: usize) -> Result<Vec<Row>> {
    let runtime = wire::runtime().map_err(system("starting a runtime"))?;
    let (server, address) = Server::start()?;
    let both = || Ok::<_, BenchError>((resident(server.0.id())?, resident(std::process::id())?));
    let options = options(&Config::default());
    let mut channels = Vec::with_capacity(connections);
    let mut before = (0.0, 0.0);
    let warm = connections / 10;
    for i in 0..connections + warm {
        if i == warm {
            std::thread::sleep(Duration::from_millis(200));
            before = both()?;
        }
        channels.push(runtime.block_on(connect(address, &options)).map_err(failed("connecting"))?);
    }
    runtime.block_on(async { tokio::time::sleep(Duration::from_millis(500)).await });
    let after = both()?;
    let each = |after: f64, before: f64| (after - before) / connections as f64 / 1024.0;
    let alive = channels.iter().filter(|channel| channel.takes_calls()).count();
    assert_eq!(alive, channels.len(), "connections were lost");
    let line = |end: &str, each: f64| {
        let data = format!("{connections} connections, {end}");
        row("idle_connections", &data, "KiB", each, "aim", 16.0, 16.0 / each.max(1e-9))
    };
    Ok(vec![
        line("the server's end", each(after.0, before.0)),
        line("the client's end", each(after.1, before.1)),
    ])
}
