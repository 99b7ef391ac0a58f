//! The same batches by Arrow Flight: encoded, sent, decoded, by both.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightClient, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use deltalite_net::call::client::Channel;
use deltalite_net::connection::{CallSpec, Config};
use deltalite_net::{Result as RpcResult, RpcError};
use deltalite_remote::batch;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::wire::{self, BATCHES};
use super::{row, system};
use crate::cpu::process_time;
use crate::error::{BenchError, Result};
use crate::measure::median;
use crate::report::Row;

/// Rows of a batch of two columns: a mebibyte.
const ROWS: usize = 64 << 10;
/// Batches of a stream.
const COUNT: u64 = 1024;
/// Windows and frames of HTTP/2: far beyond what loopback needs, and the largest frame that there can be.
const WINDOW: u32 = 64 << 20;
const FRAME: u32 = (1 << 24) - 1;

/// What is sent again and again: numbers, so that neither side has text to look at.
pub(super) fn sample() -> RecordBatch {
    let fields =
        vec![Field::new("id", DataType::Int64, false), Field::new("value", DataType::Float64, false)];
    let ids = Int64Array::from_iter_values(0..ROWS as i64);
    let values = Float64Array::from_iter_values((0..ROWS).map(|i| i as f64 / 7.0));
    // Two columns of as many values make a batch.
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(ids), Arc::new(values)])
        .unwrap_or_else(|_| RecordBatch::new_empty(Arc::new(Schema::empty())))
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// Sends batches, and nothing else.
struct Flight;

fn no<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("only do_get"))
}

#[tonic::async_trait]
impl FlightService for Flight {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let batch = sample();
        let batches = futures::stream::iter((0..COUNT).map(move |_| Ok(batch.clone())));
        // A batch in one message: cut, it would be copied once more.
        let encoded = FlightDataEncoderBuilder::new().with_max_flight_data_size(8 << 20).build(batches);
        Ok(Response::new(encoded.map_err(Status::from).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        no()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        no()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        no()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        no()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        no()
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        no()
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        no()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        no()
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        no()
    }
}

fn failed<E: std::fmt::Display>(doing: &'static str) -> impl Fn(E) -> BenchError {
    move |error| BenchError::Format {
        format: "arrow_flight".into(),
        doing: doing.into(),
        message: error.to_string(),
    }
}

/// A Flight server on a thread of its own.
fn serve_flight() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(system("listening"))?;
    let address = listener.local_addr().map_err(system("listening"))?;
    listener.set_nonblocking(true).map_err(system("listening"))?;
    std::thread::spawn(move || {
        let Ok(runtime) = wire::runtime() else { return };
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            let incoming = futures::stream::unfold(listener, |listener| async move {
                let accepted = listener.accept().await.and_then(|(socket, _)| {
                    socket.set_nodelay(true)?;
                    Ok(socket)
                });
                Some((accepted, listener))
            });
            let service = FlightServiceServer::new(Flight).max_encoding_message_size(usize::MAX);
            let server = Server::builder()
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .max_frame_size(FRAME)
                .add_service(service)
                .serve_with_incoming(incoming);
            // Ends with the process.
            let _ = server.await;
        });
    });
    Ok(address)
}

async fn flight_client(address: SocketAddr) -> Result<FlightClient> {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .map_err(failed("connecting"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .connect()
        .await
        .map_err(failed("connecting"))?;
    let inner = arrow_flight::flight_service_client::FlightServiceClient::new(channel)
        .max_decoding_message_size(usize::MAX);
    Ok(FlightClient::new_from_inner(inner))
}

/// Seconds, and the processor's, of a stream that yields so many rows.
async fn timed(
    schema: &SchemaRef,
    mut batches: Pin<Box<impl futures::Stream<Item = Result<RecordBatch>>>>,
) -> Result<(f64, f64)> {
    let (began, cpu) = (Instant::now(), process_time());
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        if batch.num_columns() != schema.fields().len() {
            return Err(BenchError::Usage("a batch has lost a column".to_owned()));
        }
        rows += batch.num_rows() as u64;
    }
    if rows != COUNT * ROWS as u64 {
        return Err(BenchError::Usage(format!("{rows} rows of {}", COUNT * ROWS as u64)));
    }
    Ok((began.elapsed().as_secs_f64(), process_time().saturating_sub(cpu).as_secs_f64()))
}

async fn ours(channel: &Channel, schema: &SchemaRef) -> Result<(f64, f64)> {
    let spec = CallSpec { window: 4 << 20, ..CallSpec::default() };
    let call = channel
        .call(BATCHES, COUNT.to_le_bytes().to_vec(), Vec::new(), &spec)
        .map_err(super::failed("calling"))?;
    let batches = futures::stream::try_unfold(call, |mut call| async move {
        let next: RpcResult<_> = call.receive_whole().await;
        let Some(message) = next.map_err(super::failed("a stream"))? else { return Ok(None) };
        let decoded: Result<_, RpcError> = batch::decode(&message.meta, message.payload, schema);
        Ok(Some((decoded.map_err(super::failed("a batch"))?.0, call)))
    });
    timed(schema, Box::pin(batches)).await
}

async fn theirs(client: &mut FlightClient, schema: &SchemaRef) -> Result<(f64, f64)> {
    let ticket = Ticket { ticket: Vec::new().into() };
    let batches = client.do_get(ticket).await.map_err(failed("calling"))?;
    timed(schema, Box::pin(batches.map_err(failed("a stream")))).await
}

/// Batches from one thread to another, decoded and checked there.
pub(super) fn batches(rounds: usize) -> Result<Vec<Row>> {
    let schema = sample().schema();
    let runtime = wire::runtime().map_err(system("starting a runtime"))?;
    let channel = wire::channel(&runtime, &Config::default())?;
    let address = serve_flight()?;
    let mut client = runtime.block_on(flight_client(address))?;
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let samples =
            (runtime.block_on(ours(&channel, &schema))?, runtime.block_on(theirs(&mut client, &schema))?);
        if round > 0 {
            one.push(samples.0);
            two.push(samples.1);
        }
    }
    let of = |samples: &[(f64, f64)], cpu: bool| {
        median(&samples.iter().map(|s| if cpu { s.1 } else { s.0 }).collect::<Vec<_>>())
    };
    let gigabytes = (COUNT * ROWS as u64 * 16) as f64 / 1e9;
    let rates = (gigabytes / of(&one, false), gigabytes / of(&two, false));
    let cpu = (of(&one, true) / gigabytes, of(&two, true) / gigabytes);
    let data = format!("{COUNT} batches of {ROWS} rows, two columns of numbers");
    Ok(vec![
        row("stream", &data, "GB/s", rates.0, "arrow_flight", rates.1, rates.0 / rates.1),
        row("stream_cpu", &data, "s/GB", cpu.0, "arrow_flight", cpu.1, cpu.1 / cpu.0),
    ])
}
