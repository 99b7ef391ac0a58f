//! `deltalite serve`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use deltalite::alloc::MemoryBudget;
use deltalite::credentials::certificates;
use deltalite::net::auth::{Gate, Grants};
use deltalite::server::{Server, ServerOptions};
use deltalite::{EngineError, Result};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tracing_subscriber::EnvFilter;

use super::args::size;
use super::report::Outcome;

/// Serve the files and tables in a folder to `deltalite scan`, SQL and programs on other machines.
///
/// Each shard listens on a port of its own: the first on the given one, the others on those after it. SIGTERM and Ctrl-C let scans
/// finish.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite serve --data /srv/tables
  deltalite scan deltalite://127.0.0.1:7433/trips --where 'fare > 100' --limit 20
  deltalite serve --data /srv/tables --listen 0.0.0.0:7433 --token-file tokens --tls-cert cert.pem --tls-key key.pem
  deltalite serve --data . --http 127.0.0.1:9433 & curl http://127.0.0.1:9433/metrics")]
pub(super) struct Arguments {
    /// Folder whose files and tables are served.
    #[arg(long, value_name = "FOLDER", env = "DELTALITE_DATA")]
    data: PathBuf,
    /// Address of the first shard. Beyond loopback only with a token or certificates.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7433", env = "DELTALITE_LISTEN")]
    listen: SocketAddr,
    /// Tell metrics (/metrics, as Prometheus reads them) and health (/health) there.
    #[arg(long, value_name = "ADDRESS:PORT", env = "DELTALITE_HTTP")]
    http: Option<SocketAddr>,
    /// Let metrics be asked for from other machines; they ask for no token.
    #[arg(long)]
    http_anywhere: bool,
    /// File of the tokens that callers may show: a line each, NAME=TOKEN.
    #[arg(long, value_name = "FILE", env = "DELTALITE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Certificate chain (PEM); callers then have to speak TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "DELTALITE_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "DELTALITE_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// Certificates (PEM) that callers' own have to be signed by: mutual TLS.
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "DELTALITE_TLS_CLIENT_CA")]
    tls_client_ca: Option<PathBuf>,
    /// Shards. Without: one a core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: u32,
    /// Scans at once; more are told to come back later.
    #[arg(long, value_name = "N", default_value_t = 256)]
    scans: u64,
    /// Memory for connections and scans, such as 512MiB; without room, callers are told to come back later.
    #[arg(long, value_name = "BYTES", value_parser = size, default_value = "1GiB", env = "DELTALITE_SERVE_MEMORY")]
    memory: u64,
    /// Bytes a second that a caller is sent, over all its connections, such as 100MiB. Without: as many as there are.
    #[arg(long, value_name = "BYTES", value_parser = size, env = "DELTALITE_CALLER_RATE")]
    caller_rate: Option<u64>,
    /// What a caller may read: its name (* is everybody) and a path, with all that is below it. Can be given again. Without: everything.
    #[arg(long, value_name = "NAME=PATH", value_parser = grant)]
    grant: Vec<(String, String)>,
    /// Seconds that scans have to finish when the server is stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain: u64,
    /// How to write the log to standard error; DELTALITE_LOG says how much (info, debug, deltalite_server=debug).
    #[arg(long, value_enum, default_value = "text")]
    log: Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Log {
    Text,
    Json,
}

impl Arguments {
    pub(super) fn run(self) -> Result<Outcome> {
        self.log.begin();
        let shards = deltalite::tuning::shard_options(self.threads)?;
        let mut options = ServerOptions::new(&self.data)
            .listen(self.listen)
            .shard_options(shards)
            .scans_max(self.scans)
            .memory(MemoryBudget::root("serve", usize::try_from(self.memory).unwrap_or(usize::MAX)))
            .gate(self.gate()?);
        if let Some(rate) = self.caller_rate {
            options = options.caller_rate(rate);
        }
        if !self.grant.is_empty() {
            let grants = Grants::default();
            let grants = self.grant.iter().fold(grants, |grants, (name, path)| grants.allow(name, path));
            options = options.authorize(Arc::new(grants));
        }
        if let Some(http) = self.http {
            options = options.http(http, self.http_anywhere);
        }
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            options = options.tls(self.tls(cert, key)?);
        }
        let server = Server::start(options)?;
        let ports: Vec<String> = server.addresses().iter().map(|a| a.port().to_string()).collect();
        tracing::info!(
            data = %self.data.display(),
            address = %self.listen.ip(),
            ports = ports.join(","),
            tls = self.tls_cert.is_some(),
            "serving"
        );
        if let Some(http) = server.http() {
            tracing::info!("metrics at http://{http}/metrics");
        }
        wait_for_the_end()?;
        tracing::info!(scans = server.scans(), "stopping; scans under way may finish");
        if !server.drain(Duration::from_secs(self.drain)) {
            tracing::warn!("some scans had not finished after {} s", self.drain);
        }
        Ok(Outcome::Done)
    }

    fn gate(&self) -> Result<Gate> {
        let mut gate = Gate::open();
        if let Some(path) = &self.token_file {
            let text = std::fs::read_to_string(path).map_err(EngineError::io(path))?;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                match line.split_once('=').map(|(name, token)| (name.trim(), token.trim())) {
                    Some((name, token)) if !name.is_empty() && !token.is_empty() => {
                        gate = gate.token(name, token);
                    }
                    _ => {
                        return Err(EngineError::usage(
                            "--token-file",
                            format!("line {} of {} is not NAME=TOKEN", number + 1, path.display()),
                        ));
                    }
                }
            }
            if !gate.protects() {
                return Err(EngineError::usage("--token-file", format!("{} has no token", path.display())));
            }
        }
        Ok(if self.tls_client_ca.is_some() { gate.certificates() } else { gate })
    }

    fn tls(&self, cert: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>> {
        let chain = certificates("--tls-cert", cert)?;
        let secret = PrivateKeyDer::from_pem_file(key)
            .map_err(|e| EngineError::usage("--tls-key", format!("{}: {e}", key.display())))?;
        let failed = |what: &str| {
            let what = what.to_owned();
            move |e: String| EngineError::usage(what, e)
        };
        let builder = rustls::ServerConfig::builder();
        let builder = match &self.tls_client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in certificates("--tls-client-ca", path)? {
                    roots.add(certificate).map_err(|e| failed("--tls-client-ca")(e.to_string()))?;
                }
                let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|e| failed("--tls-client-ca")(e.to_string()))?,
                )
            }
        };
        builder.with_single_cert(chain, secret).map(Arc::new).map_err(|e| failed("--tls-cert")(e.to_string()))
    }
}

/// What a caller may read: `NAME=PATH`.
fn grant(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.to_owned())),
        _ => Err("write it as NAME=PATH, as in reports=sales/2026".to_owned()),
    }
}

impl Log {
    fn begin(self) {
        let filter = EnvFilter::try_from_env("DELTALITE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        // One that was set already stays.
        let _ = match self {
            Self::Text => log.try_init(),
            Self::Json => log.json().flatten_event(true).try_init(),
        };
    }
}

/// Until SIGTERM or Ctrl-C.
fn wait_for_the_end() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EngineError::io("a thread for signals"))?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(EngineError::io("SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(EngineError::io("SIGINT"))?;
        let (terminate, interrupt) = (std::pin::pin!(terminate.recv()), std::pin::pin!(interrupt.recv()));
        futures::future::select(terminate, interrupt).await;
        Ok(())
    })
}
