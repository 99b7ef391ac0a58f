//! Traces of client and server, at a collector.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::serve::{serve, trips};
use super::*;

struct Collector(Sender<Vec<Span>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let spans = resources.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect();
        // Who waits for spans may have seen enough.
        let _ = self.0.send(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector's address, and the spans that come there.
fn collect() -> (String, Receiver<Vec<Span>>) {
    let (spans, received) = channel();
    let (ready, address) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            ready.send(incoming.local_addr().unwrap()).unwrap();
            let service = TraceServiceServer::new(Collector(spans));
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
    });
    (format!("http://{}", address.recv().unwrap()), received)
}

fn attribute(span: &Span, key: &str) -> String {
    let value = span.attributes.iter().find(|a| a.key == key).and_then(|a| a.value.as_ref());
    format!("{:?}", value.and_then(|v| v.value.clone()))
}

#[test]
fn a_scan_is_one_trace_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    trips(folder.path());
    let (collector, received) = collect();
    let server = serve(folder.path(), &["--otlp", &collector]);
    let address = server.address("trips.dlb");
    assert_eq!(ok(folder.path(), &["scan", &address, "--count", "--otlp", &collector]), "3\n");
    // Ends with what it has not sent yet being sent.
    server.stop();
    let mut spans: Vec<Span> = Vec::new();
    while let Ok(more) = received.recv_timeout(Duration::from_millis(500)) {
        spans.extend(more);
    }
    let of = |name: &str, call: &str| {
        let found = spans.iter().filter(|s| s.name == name && attribute(s, "call").contains(call));
        found.cloned().collect::<Vec<_>>()
    };
    for call in ["stat", "list splits", "read split"] {
        let (requests, answers) = (of("request", call), of("answer", call));
        assert_eq!((requests.len(), answers.len()), (1, 1), "{call}: {spans:#?}");
        let (request, answer) = (&requests[0], &answers[0]);
        assert!(request.parent_span_id.is_empty(), "{request:?}");
        assert_eq!(
            (&request.trace_id, &request.span_id),
            (&answer.trace_id, &answer.parent_span_id),
            "{call}"
        );
        assert_eq!(attribute(request, "request"), attribute(answer, "request"));
    }
    let parts: Vec<&Span> = spans.iter().filter(|s| s.name == "part").collect();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].parent_span_id, of("request", "read split")[0].span_id);
}

#[test]
fn a_collector_that_is_not_there_costs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    trips(folder.path());
    let server = serve(folder.path(), &[]);
    let address = server.address("trips.dlb");
    let scan = ["scan", &address, "--count", "--otlp", "http://127.0.0.1:1"];
    assert_eq!(ok(folder.path(), &scan), "3\n");
    let said = fails(folder.path(), 2, &["scan", &address, "--otlp", "https://127.0.0.1:1"]);
    assert!(said.contains("log.otlp") && said.contains("http://127.0.0.1:4317"), "{said}");
    let said =
        fails(folder.path(), 2, &["scan", &address, "--otlp", "http://127.0.0.1:1", "--otlp-ratio", "2"]);
    assert!(said.contains("log.otlp_ratio"), "{said}");
}
