//! Metrics and health over HTTP: `/metrics` in Prometheus' text format, `/health`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use deltalite_net::{ErrorKind, Result, RpcError};
use tokio::sync::watch;

use crate::Common;

pub(crate) async fn serve(
    common: Arc<Common>,
    address: SocketAddr,
    mut draining: watch::Receiver<bool>,
) -> Result<SocketAddr> {
    let failed = |e: std::io::Error| {
        RpcError::new(ErrorKind::Unavailable, format!("can't listen on {address} for metrics"))
            .caused_by(e)
            .no_retry()
    };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let router =
        Router::new().route("/metrics", get(metrics)).route("/health", get(health)).with_state(common);
    tokio::spawn(async move {
        let end = async move {
            // A sender that is gone means the same as its word.
            let _ = draining.wait_for(|draining| *draining).await;
        };
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(end).await {
            tracing::error!(%error, "metrics are not told any more");
        }
    });
    Ok(address)
}

async fn metrics(State(common): State<Arc<Common>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], common.metrics.text()).into_response()
}

async fn health(State(common): State<Arc<Common>>) -> Response {
    let (status, text) = if common.admission.is_open() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "being stopped\n")
    };
    (status, text).into_response()
}
