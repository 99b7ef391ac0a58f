//! What can be set, by section: the same types are the flags of commands, the tables of the configuration file, and the reference.
//!
//! All fields are optional: a layer sets what it sets. A field's name is its key in the file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use deltalite::remote::address::PORT;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::values::{Grant, Size};

/// A table of the configuration file, and the flags of the commands that it is for.
pub(in crate::cli) trait Section:
    Args + Serialize + DeserializeOwned + JsonSchema + Default
{
    /// The table's name.
    const NAME: &'static str;

    /// What holds where nothing is set.
    fn defaults() -> Self;
}

/// Serving files and tables: `deltalite serve`.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::cli) struct Serve {
    /// Folder whose files and tables are served.
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) data: Option<PathBuf>,
    /// Address of the first shard; the others listen on the ports after it. Beyond loopback only with a token or certificates.
    #[arg(long, value_name = "ADDRESS:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) listen: Option<SocketAddr>,
    /// Tell metrics (/metrics, as Prometheus reads them) and health (/health) there.
    #[arg(long, value_name = "ADDRESS:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) http: Option<SocketAddr>,
    /// Let metrics be asked for from other machines; they ask for no token.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) http_anywhere: Option<bool>,
    /// File of the tokens that callers may show: a line each, NAME=TOKEN.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) token_file: Option<PathBuf>,
    /// Certificate chain (PEM); callers then have to speak TLS.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) tls_key: Option<PathBuf>,
    /// Certificates (PEM) that callers' own have to be signed by: mutual TLS.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) tls_client_ca: Option<PathBuf>,
    /// Shards; 0 is one a core.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) threads: Option<u32>,
    /// Scans at once; more are told to come back later.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) scans: Option<u64>,
    /// Memory for connections and scans, such as 512MiB; without room, callers are told to come back later.
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) memory: Option<Size>,
    /// Bytes a second that a caller is sent, over all its connections, such as 100MiB. Without: as many as there are.
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) caller_rate: Option<Size>,
    /// What a caller may read: its name (* is everybody) and a path, with all that is below it. Can be given again. Without: everything.
    #[arg(long, value_name = "NAME=PATH")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::cli) grant: Vec<Grant>,
    /// Seconds that scans have to finish when the server is stopped.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) drain: Option<u64>,
}

impl Section for Serve {
    const NAME: &'static str = "serve";

    fn defaults() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))),
            http_anywhere: Some(false),
            threads: Some(0),
            scans: Some(256),
            memory: Some(Size(1 << 30)),
            drain: Some(30),
            ..Self::default()
        }
    }
}

/// Talking to servers: `deltalite scan`, `query` and `shell`.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Servers")]
pub(in crate::cli) struct Client {
    /// Token to show to servers. In the environment it is not seen by others, as it is on the command line.
    #[arg(long, value_name = "TOKEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) token: Option<String>,
    /// Certificates (PEM) that a server's has to be signed by; connections are then TLS.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) tls_ca: Option<PathBuf>,
    /// Own certificate (PEM), for servers that ask for one.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) tls_client_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) tls_client_key: Option<PathBuf>,
}

impl Section for Client {
    const NAME: &'static str = "client";

    fn defaults() -> Self {
        Self::default()
    }
}

/// Sessions of SQL: `deltalite query` and `shell`.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::cli) struct Session {
    /// The folder whose folders are tables.
    #[arg(long, short, value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) catalog: Option<PathBuf>,
    /// Most rows that a table shows; 0 shows all.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) max_rows: Option<u64>,
    /// Memory that the process may use, such as 4GiB: what operators have beyond their share of it is spilled. Without: no limit.
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) memory: Option<Size>,
    /// Where operators spill to. Without: the system's folder for temporary files.
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) temp_dir: Option<PathBuf>,
    /// Shards that read, and parts of a query that run at once; 0 is one a core.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) threads: Option<u32>,
    /// Seconds that a statement may take. Without: no limit.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) timeout: Option<u64>,
}

impl Section for Session {
    const NAME: &'static str = "session";

    fn defaults() -> Self {
        Self { catalog: Some(PathBuf::from(".")), max_rows: Some(100), threads: Some(0), ..Self::default() }
    }
}

/// What is told of the work: logs and traces of `deltalite serve`, and of `scan`, `query` and `shell` where it is asked for.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Logs and traces")]
pub(in crate::cli) struct Log {
    /// How the log is written to standard error.
    #[arg(long = "log", id = "log_format", value_name = "FORMAT", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) format: Option<LogFormat>,
    /// How much is logged: error, warn, info, debug, trace, off; of parts, as in warn,deltalite_server=debug. Default: info of a server, else off.
    #[arg(long = "log-filter", id = "log_filter", value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) filter: Option<String>,
    /// Send traces to an OpenTelemetry collector there (OTLP over gRPC), such as http://127.0.0.1:4317. Without: nowhere.
    #[arg(long = "otlp", id = "log_otlp", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) otlp: Option<String>,
    /// Which part of the traces is sent, from 0 to 1. Client and server keep and drop the same ones.
    #[arg(long = "otlp-ratio", id = "log_otlp_ratio", value_name = "RATIO")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) otlp_ratio: Option<f64>,
}

impl Section for Log {
    const NAME: &'static str = "log";

    fn defaults() -> Self {
        Self { format: Some(LogFormat::Text), otlp_ratio: Some(1.0), ..Self::default() }
    }
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(in crate::cli) enum LogFormat {
    /// A line for people.
    Text,
    /// A line of JSON.
    Json,
}
