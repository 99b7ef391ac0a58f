//! What is counted.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Counters of a server, for all its shards.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) callers_refused: Counter,
    pub(crate) calls: Counter,
    pub(crate) calls_failed: Counter,
    pub(crate) scans: Gauge,
    pub(crate) scans_refused: Counter,
    pub(crate) scans_resumed: Counter,
    pub(crate) rows_sent: Counter,
    pub(crate) bytes_sent: Counter<u64, AtomicU64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("deltalite");
        let this = Self {
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            callers_refused: Counter::default(),
            calls: Counter::default(),
            calls_failed: Counter::default(),
            scans: Gauge::default(),
            scans_refused: Counter::default(),
            scans_resumed: Counter::default(),
            rows_sent: Counter::default(),
            bytes_sent: Counter::default(),
            registry: Registry::default(),
        };
        registry.register("connections", "Connections now", this.connections.clone());
        registry.register(
            "connections_refused",
            "Connections beyond the limit",
            this.connections_refused.clone(),
        );
        registry.register(
            "callers_refused",
            "Callers that did not prove who they are",
            this.callers_refused.clone(),
        );
        registry.register("calls", "Calls begun", this.calls.clone());
        registry.register("calls_failed", "Calls that ended with an error", this.calls_failed.clone());
        registry.register("scans", "Scans of parts now", this.scans.clone());
        registry.register("scans_refused", "Scans told to come back later", this.scans_refused.clone());
        registry.register(
            "scans_resumed",
            "Scans that went on where a connection broke",
            this.scans_resumed.clone(),
        );
        registry.register("rows_sent", "Rows sent", this.rows_sent.clone());
        registry.register_with_unit("sent", "Bytes of batches sent", Unit::Bytes, this.bytes_sent.clone());
        Self { registry, ..this }
    }

    /// In Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
