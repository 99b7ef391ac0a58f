//! Spans of calls, for whoever follows a request from its client to the shards.
//!
//! Both ends of a call know its request's number, so nothing more has to travel: what exports traces derives a trace from it. It
//! is told of each span by a hook, which keeps exporters out of this crate.

use std::sync::OnceLock;

use tracing::{Level, Span, span};

/// Which end of a call a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that calls: the first span of its request.
    Client,
    /// The one that answers.
    Server,
}

/// Is told of a span, its side, and the number of its request, before the span is entered.
pub type Hook = fn(&Span, Side, u64);

static HOOK: OnceLock<Hook> = OnceLock::new();

/// Sets what is told of spans. The first hook of a process stays.
pub fn set_hook(hook: Hook) {
    // One that was set already stays.
    let _ = HOOK.set(hook);
}

fn told(span: Span, side: Side, request: u64) -> Span {
    if let Some(hook) = HOOK.get().filter(|_| !span.is_disabled()) {
        hook(&span, side, request);
    }
    span
}

/// A span for all that a client does for a request; `call` says what for.
pub fn client(call: &'static str, request: u64) -> Span {
    let span = span!(Level::INFO, "request", call, request = format_args!("{request:016x}"));
    told(span, Side::Client, request)
}

/// A span for the answer to an attempt of a request.
pub fn server(call: &'static str, request: u64, attempt: u16, caller: &str, shard: u32) -> Span {
    let request_shown = format_args!("{request:016x}");
    let span = span!(Level::INFO, "answer", call, request = request_shown, attempt, caller, shard);
    told(span, Side::Server, request)
}
