//! Logs and traces.
//!
//! A trace is made for each request, from its number, which client and shards both know: they need not tell each other of
//! traces, and keep or drop the same ones. Spans are sent from threads of their own; a collector that is slow or not there
//! costs spans, which are dropped, and a line in the log, nothing else.

use std::cell::Cell;
use std::fmt;

use deltalite::net::trace::{self, Side};
use deltalite::{EngineError, Result};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt as log};

use super::config::settings::{Log, LogFormat};

/// What servers log unless they are told otherwise.
pub(super) const SERVER: &str = "info";
/// What other commands log: errors they report themselves.
pub(super) const QUIET: &str = "off";
/// The name under which spans are found.
const SERVICE: &str = "deltalite";
/// Spans of what is ours are sent, not those of libraries.
const TARGET: &str = "deltalite";

/// What is told, and to whom. Dropping it sends what was not sent yet.
pub(super) struct Telemetry {
    provider: Option<SdkTracerProvider>,
    /// What it sends with.
    threads: Option<tokio::runtime::Runtime>,
}

impl Telemetry {
    /// Begins to log and trace as is set; `quiet` is what is logged where nothing says how much.
    ///
    /// # Errors
    /// Where the filter can't be read, or the collector's address.
    pub(super) fn begin(settings: &Log, quiet: &str) -> Result<Self> {
        let filter = settings.filter.as_deref().unwrap_or(quiet);
        let filter = EnvFilter::try_new(filter).map_err(|e| {
            EngineError::usage(
                "log.filter",
                format!("{filter:?}: {e}; write it as info or warn,deltalite_server=debug"),
            )
        })?;
        let log = log::layer().with_writer(std::io::stderr);
        let log = match settings.format {
            Some(LogFormat::Json) => log.json().flatten_event(true).with_filter(filter).boxed(),
            Some(LogFormat::Text) | None => log.with_filter(filter).boxed(),
        };
        let mut this = Self { provider: None, threads: None };
        let spans = match &settings.otlp {
            None => None,
            Some(url) => {
                let provider = this.collect(url, settings.otlp_ratio.unwrap_or(1.0))?;
                let tracer = provider.tracer(SERVICE);
                let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_context_activation(false);
                Some(layer.with_filter(Targets::new().with_target(TARGET, tracing::Level::INFO)))
            }
        };
        // One that was set already stays.
        let _ = tracing_subscriber::registry().with(log).with(spans).try_init();
        Ok(this)
    }

    fn collect(&mut self, url: &str, ratio: f64) -> Result<&SdkTracerProvider> {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(EngineError::usage("log.otlp_ratio", format!("{ratio} is not from 0 to 1")));
        }
        let wrong = |e: &dyn fmt::Display| {
            EngineError::usage(
                "log.otlp",
                format!("{url:?}: {e}; give a collector's URL, as in http://127.0.0.1:4317"),
            )
        };
        if !url.starts_with("http://") {
            return Err(wrong(&"only http:// is spoken to collectors"));
        }
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traces")
            .enable_all()
            .build()
            .map_err(EngineError::io("a thread for traces"))?;
        let exporter = {
            let _within = threads.enter();
            SpanExporter::builder().with_tonic().with_endpoint(url).build().map_err(|e| wrong(&e))?
        };
        let resource = Resource::builder()
            .with_service_name(SERVICE)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::TraceIdRatioBased(ratio))
            .with_id_generator(FromRequests::default())
            .with_resource(resource)
            .build();
        trace::set_hook(join);
        self.threads = Some(threads);
        Ok(self.provider.insert(provider))
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

thread_local! {
    /// The request whose first span is being made on this thread.
    static REQUEST: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Numbers of traces and spans: those of a request's first span follow from it.
#[derive(Debug, Default)]
struct FromRequests(RandomIdGenerator);

impl IdGenerator for FromRequests {
    fn new_trace_id(&self) -> TraceId {
        REQUEST.get().map_or_else(|| self.0.new_trace_id(), trace_id)
    }

    fn new_span_id(&self) -> SpanId {
        REQUEST.get().map_or_else(|| self.0.new_span_id(), span_id)
    }
}

/// Spreads a number's bits (the finalizer of SplitMix64), so that samplers see evenly spread ones.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn trace_id(request: u64) -> TraceId {
    TraceId::from((u128::from(request) << 64) | u128::from(mixed(request)))
}

fn span_id(request: u64) -> SpanId {
    SpanId::from(mixed(!request).max(1))
}

/// Makes a span the first of its request's trace, or a child of that one.
fn join(span: &Span, side: Side, request: u64) {
    if request == 0 {
        return;
    }
    match side {
        Side::Client => {
            let alone = span.set_parent(Context::new());
            REQUEST.set(Some(request));
            // Its numbers are given now.
            let _ = span.context();
            REQUEST.set(None);
            alone
        }
        Side::Server => {
            let (trace, first) = (trace_id(request), span_id(request));
            let client = SpanContext::new(trace, first, TraceFlags::SAMPLED, true, TraceState::NONE);
            span.set_parent(Context::new().with_remote_span_context(client))
        }
    }
    .unwrap_or_else(|error| tracing::debug!(%error, "a span is in no trace"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_from_requests() {
        let generator = FromRequests::default();
        REQUEST.set(Some(7));
        let (trace, span) = (generator.new_trace_id(), generator.new_span_id());
        REQUEST.set(None);
        assert_eq!((trace, span), (trace_id(7), span_id(7)));
        assert!(generator.new_trace_id() != trace && generator.new_span_id() != span);
        assert!(trace_id(8) != trace && span_id(8) != span && trace_id(1) != TraceId::INVALID);
    }
}
