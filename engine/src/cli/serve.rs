//! `deltalite serve`

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use deltalite::alloc::MemoryBudget;
use deltalite::credentials::certificates;
use deltalite::net::auth::{Gate, Grants};
use deltalite::server::{Server, ServerOptions};
use deltalite::{EngineError, Result};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::config::values::Size;
use super::config::{Layers, settings};
use super::report::Outcome;
use super::telemetry::{self, Telemetry};

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
    #[command(flatten)]
    pub(super) serve: settings::Serve,
    #[command(flatten)]
    pub(super) log: settings::Log,
}

impl Arguments {
    pub(super) fn run(self, layers: &Layers) -> Result<Outcome> {
        let settings = layers.section(&self.serve)?;
        let _telemetry = Telemetry::begin(&layers.section(&self.log)?, telemetry::SERVER)?;
        let drain = Duration::from_secs(settings.drain.unwrap_or_default());
        let server = Server::start(settings.options()?)?;
        let ports: Vec<String> = server.addresses().iter().map(|a| a.port().to_string()).collect();
        tracing::info!(
            data = settings.data.as_deref().map(|p| p.display().to_string()),
            address = server.addresses().first().map(|a| a.ip().to_string()),
            ports = ports.join(","),
            tls = settings.tls_cert.is_some(),
            "serving"
        );
        if let Some(file) = layers.file() {
            tracing::info!(file = %file.display(), "settings are also from a file");
        }
        if let Some(http) = server.http() {
            tracing::info!("metrics at http://{http}/metrics");
        }
        wait_for_the_end()?;
        tracing::info!(scans = server.scans(), "stopping; scans under way may finish");
        if !server.drain(drain) {
            tracing::warn!("some scans had not finished after {} s", drain.as_secs());
        }
        Ok(Outcome::Done)
    }
}

fn wrong(what: &str, detail: impl std::fmt::Display) -> EngineError {
    EngineError::usage(what, detail.to_string())
}

impl settings::Serve {
    fn options(&self) -> Result<ServerOptions> {
        let data = self.data.as_deref().ok_or_else(|| {
            wrong(
                "serve.data",
                "which folder is served? Say --data FOLDER, or set it in the configuration file",
            )
        })?;
        let shards = deltalite::tuning::shard_options(self.threads.unwrap_or_default())?;
        let mut options = ServerOptions::new(data).shard_options(shards).gate(self.gate()?);
        if let Some(address) = self.listen {
            options = options.listen(address);
        }
        if let Some(scans) = self.scans {
            options = options.scans_max(scans);
        }
        if let Some(Size(bytes)) = self.memory {
            options =
                options.memory(MemoryBudget::root("serve", usize::try_from(bytes).unwrap_or(usize::MAX)));
        }
        if let Some(Size(rate)) = self.caller_rate {
            options = options.caller_rate(rate);
        }
        if !self.grant.is_empty() {
            let grants =
                self.grant.iter().fold(Grants::default(), |all, one| all.allow(&one.name, &one.path));
            options = options.authorize(Arc::new(grants));
        }
        if let Some(http) = self.http {
            options = options.http(http, self.http_anywhere.unwrap_or_default());
        }
        match (&self.tls_cert, &self.tls_key, &self.tls_client_ca) {
            (Some(cert), Some(key), _) => options = options.tls(self.tls(cert, key)?),
            (Some(_), None, _) => {
                return Err(wrong("serve.tls_cert", "it needs serve.tls_key as well; set that too"));
            }
            (None, Some(_), _) => {
                return Err(wrong("serve.tls_key", "it needs serve.tls_cert as well; set that too"));
            }
            (None, None, Some(_)) => {
                return Err(wrong("serve.tls_client_ca", "it needs serve.tls_cert as well; set that too"));
            }
            (None, None, None) => {}
        }
        Ok(options)
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
                        let detail = format!("line {} of {} is not NAME=TOKEN", number + 1, path.display());
                        return Err(wrong("serve.token_file", detail));
                    }
                }
            }
            if !gate.protects() {
                return Err(wrong("serve.token_file", format!("{} has no token", path.display())));
            }
        }
        Ok(if self.tls_client_ca.is_some() { gate.certificates() } else { gate })
    }

    fn tls(&self, cert: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>> {
        let chain = certificates("serve.tls_cert", cert)?;
        let secret = PrivateKeyDer::from_pem_file(key)
            .map_err(|e| wrong("serve.tls_key", format!("{}: {e}", key.display())))?;
        let builder = rustls::ServerConfig::builder();
        let builder = match &self.tls_client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let refused = |e: &dyn std::error::Error| wrong("serve.tls_client_ca", e);
                let mut roots = rustls::RootCertStore::empty();
                for certificate in certificates("serve.tls_client_ca", path)? {
                    roots.add(certificate).map_err(|e| refused(&e))?;
                }
                let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| refused(&e))?)
            }
        };
        builder.with_single_cert(chain, secret).map(Arc::new).map_err(|e| wrong("serve.tls_cert", e))
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
