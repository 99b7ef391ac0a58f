//! Scans of what a server has.
//!
//! A scan asks for the parts of its target, and reads several at once, each from the shard that it belongs to. Parts are yielded
//! in order; those read ahead wait in their windows, so what a scan holds is bounded by credit. A part whose connection breaks
//! is asked for again from the row after the last batch received: nothing is lost, nothing comes twice.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use deltalite_format::predicate::Predicate;
use deltalite_net::call::Call;
use deltalite_net::pool::Failing;
use deltalite_net::{ErrorKind, Result, RpcError, trace};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use parking_lot::Mutex;
use tracing::{Instrument, Span};

use crate::address::Address;
use crate::batch;
use crate::client::{self, Client, ClientOptions};
use crate::predicate::WirePredicate;
use crate::protocol::{
    self, At, LIST_SPLITS, ListSplits, READ_SPLIT, ReadSplit, STAT, Split, Splits, Stat, Target,
};

/// Bytes that a part should have.
const SPLIT_BYTES: u64 = 32 << 20;
/// Parts read at once for each shard of the server.
const PARTS_PER_SHARD: usize = 2;

/// A table or file of a server, in one state.
#[derive(Debug, Clone)]
pub struct RemoteTable {
    client: Client,
    target: Target,
    stat: Arc<Stat>,
    schema: SchemaRef,
}

impl RemoteTable {
    /// Asks the server what it has there.
    ///
    /// # Errors
    /// Where the server can't be asked, or has nothing of this name.
    pub async fn open(address: &Address, options: ClientOptions) -> Result<Self> {
        let socket = address.resolve()?;
        Self::of(Client::new(socket, options), address.target.clone()).await
    }

    /// The same over a client that is there already.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn of(client: Client, mut target: Target) -> Result<Self> {
        let stat: Stat = protocol::decode(&client.ask(STAT, protocol::encode(&target)?).await?)?;
        if let Some(version) = stat.version {
            target.at = At::Version(version);
        }
        let schema = protocol::decode_schema(&stat.schema)?;
        Ok(Self { client, target, stat: Arc::new(stat), schema })
    }

    /// Its columns, as scans yield them.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Its version, of a table.
    pub fn version(&self) -> Option<u64> {
        self.stat.version
    }

    /// Its rows, where they are known without reading.
    pub fn rows(&self) -> Option<u64> {
        self.stat.rows
    }

    /// Its bytes on the server's disk.
    pub fn bytes(&self) -> u64 {
        self.stat.bytes
    }

    /// A scan of all rows and columns, to be narrowed.
    pub fn scan(&self) -> RemoteScan {
        RemoteScan { table: self.clone(), columns: None, predicate: None, limit: None, ordered: true }
    }
}

/// A scan to be started.
#[derive(Debug, Clone)]
pub struct RemoteScan {
    table: RemoteTable,
    columns: Option<Vec<String>>,
    predicate: Option<Predicate>,
    limit: Option<u64>,
    ordered: bool,
}

impl RemoteScan {
    /// Columns wanted, in this order; all without.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Rows wanted.
    #[must_use]
    pub fn filter(mut self, predicate: Predicate) -> Self {
        self.predicate = Some(predicate);
        self
    }

    /// At most so many rows.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Self {
        self.limit = Some(rows);
        self
    }

    /// Whether rows come in their order on the server. Default yes.
    #[must_use]
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// Starts the scan.
    ///
    /// # Errors
    /// For columns that are not there, or where the server can't be asked.
    pub async fn start(self) -> Result<RemoteStream> {
        Ok(self.start_shared().await?.stream())
    }

    /// Starts the scan for several readers, each of which takes parts as it gets to them.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_shared(self) -> Result<SharedScan> {
        let Self { table, columns, predicate, limit, ordered } = self;
        let schema = match &columns {
            None => Arc::clone(&table.schema),
            Some(names) => {
                let at = names.iter().map(|name| table.schema.index_of(name)).collect::<Result<Vec<_>, _>>();
                let projected = at.and_then(|at| table.schema.project(&at));
                Arc::new(projected.map_err(|e| RpcError::new(ErrorKind::InvalidArgument, e.to_string()))?)
            }
        };
        let predicate = predicate.as_ref().map(WirePredicate::encode).transpose()?;
        let list = ListSplits {
            target: table.target.clone(),
            predicate: predicate.clone(),
            target_bytes: SPLIT_BYTES,
        };
        let splits: Splits =
            protocol::decode(&table.client.ask(LIST_SPLITS, protocol::encode(&list)?).await?)?;
        let at_once = PARTS_PER_SHARD * table.stat.ports.len().max(1);
        let request = table.client.new_request();
        let span = trace::client(protocol::method_name(READ_SPLIT), request);
        let wanted =
            Arc::new(Wanted { table, columns, predicate, limit, schema: Arc::clone(&schema), request, span });
        let waiting = Arc::new(Mutex::new(splits.splits.into()));
        Ok(SharedScan { wanted, waiting, at_once, ordered })
    }
}

/// A scan that several streams share the parts of: each row comes in one of them.
#[derive(Debug, Clone)]
pub struct SharedScan {
    wanted: Arc<Wanted>,
    waiting: Arc<Mutex<VecDeque<Split>>>,
    at_once: usize,
    ordered: bool,
}

impl SharedScan {
    /// The batches' columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.wanted.schema
    }

    /// A stream of parts that no other has taken. A limit holds for each stream.
    pub fn stream(&self) -> RemoteStream {
        RemoteStream {
            wanted: Arc::clone(&self.wanted),
            waiting: Arc::clone(&self.waiting),
            open: VecDeque::new(),
            at_once: self.at_once,
            ordered: self.ordered,
            left: self.wanted.limit,
            resumed: 0,
            done: false,
        }
    }
}

/// What every part of a scan asks for.
#[derive(Debug)]
struct Wanted {
    table: RemoteTable,
    columns: Option<Vec<String>>,
    predicate: Option<WirePredicate>,
    limit: Option<u64>,
    schema: SchemaRef,
    request: u64,
    /// Lasts as long as the scan.
    span: Span,
}

type Next = (Box<Part>, Option<Result<RecordBatch>>);

/// A part being read.
struct Part {
    wanted: Arc<Wanted>,
    split: Split,
    shard: SocketAddr,
    call: Option<Call>,
    position: Option<u64>,
    rows: u64,
    failing: Failing,
    /// Whether rows came since it was last asked for.
    progressed: bool,
    attempt: u32,
    resumed: u64,
    span: Span,
}

impl Part {
    fn new(wanted: &Arc<Wanted>, split: Split) -> Box<Self> {
        let port = wanted.table.stat.ports.get(split.shard as usize).copied();
        Box::new(Self {
            span: tracing::info_span!(parent: &wanted.span, "part", file = split.file, shard = split.shard),
            wanted: Arc::clone(wanted),
            shard: wanted.table.client.address(port),
            split,
            call: None,
            position: None,
            rows: 0,
            failing: Failing::default(),
            progressed: false,
            attempt: 0,
            resumed: 0,
        })
    }

    async fn open(&mut self) -> Result<()> {
        let wanted = &self.wanted;
        let client = &wanted.table.client;
        let request = ReadSplit {
            target: wanted.table.target.clone(),
            identity: wanted.table.stat.identity,
            split: self.split.clone(),
            columns: wanted.columns.clone(),
            predicate: wanted.predicate.clone(),
            limit: wanted.limit.map(|limit| limit - self.rows.min(limit)),
            resume_at: self.position,
        };
        let channel = client.channel(self.shard).await?;
        let spec = client.spec(wanted.request, self.attempt);
        self.call = Some(client::begin(&channel, READ_SPLIT, protocol::encode(&request)?, spec).await?);
        Ok(())
    }

    async fn receive(&mut self) -> Result<Option<RecordBatch>> {
        if self.call.is_none() {
            self.open().await?;
        }
        let Some(call) = &mut self.call else { return Ok(None) };
        let message = call.receive_whole().await;
        self.wanted.table.client.report(self.shard, message.as_ref().err());
        let Some(message) = message? else { return Ok(None) };
        let (batch, position) = batch::decode(&message.meta, message.payload, &self.wanted.schema)?;
        self.position = Some(position);
        self.rows += batch.num_rows() as u64;
        self.progressed = true;
        Ok(Some(batch))
    }

    fn next(self: Box<Self>) -> BoxFuture<'static, Next> {
        let span = self.span.clone();
        self.next_batch().instrument(span).boxed()
    }

    async fn next_batch(mut self: Box<Self>) -> Next {
        loop {
            let error = match self.receive().await {
                Ok(batch) => return (self, batch.map(Ok)),
                Err(error) => error.at_peer(self.shard),
            };
            tracing::debug!(
                request = format!("{:016x}", self.wanted.request), shard = %self.shard, attempt = self.attempt,
                row = self.position, %error, "a part of a scan broke off"
            );
            self.call = None;
            self.attempt += 1;
            self.resumed += 1;
            // What came does not come again: going on from there is no repetition, and not counted as one.
            if std::mem::take(&mut self.progressed) && error.retryable() == Some(Duration::ZERO) {
                self.failing.progressed();
                continue;
            }
            let client = self.wanted.table.client.clone();
            if let Err(error) = client.pause(&mut self.failing, error).await {
                return (self, Some(Err(error)));
            }
        }
    }
}

/// The batches of a scan. Dropping it cancels the scan.
pub struct RemoteStream {
    wanted: Arc<Wanted>,
    waiting: Arc<Mutex<VecDeque<Split>>>,
    open: VecDeque<Reading>,
    at_once: usize,
    ordered: bool,
    left: Option<u64>,
    resumed: u64,
    done: bool,
}

/// What a part is doing: being waited for, or holding a batch (`None`: at its end) until its turn.
enum Reading {
    Waiting(BoxFuture<'static, Next>),
    Ready(Box<Part>, Option<Result<RecordBatch>>),
}

impl RemoteStream {
    /// The batches' columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.wanted.schema
    }

    /// How often a part was asked for again.
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    fn next_split(&self) -> Option<Split> {
        self.waiting.lock().pop_front()
    }

    fn open_parts(&mut self) {
        while self.open.len() < self.at_once
            && let Some(split) = self.next_split()
        {
            let part = Part::new(&self.wanted, split);
            self.open.push_back(Reading::Waiting(part.next()));
        }
    }

    /// Polls every part; then takes a batch of the first (or of any, where order does not matter).
    fn poll_parts(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        loop {
            self.open_parts();
            if self.open.is_empty() {
                return Poll::Ready(None);
            }
            for reading in &mut self.open {
                if let Reading::Waiting(future) = reading
                    && let Poll::Ready((part, next)) = future.poll_unpin(cx)
                {
                    *reading = Reading::Ready(part, next);
                }
            }
            let candidates = if self.ordered { 1 } else { self.open.len() };
            let Some(at) = (0..candidates).find(|&at| matches!(self.open[at], Reading::Ready(..))) else {
                return Poll::Pending;
            };
            let Some(Reading::Ready(mut part, next)) = self.open.remove(at) else { return Poll::Pending };
            self.resumed += std::mem::take(&mut part.resumed);
            match next {
                None => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(batch)) => {
                    // Asked for at once, so that it comes while this batch is used.
                    self.open.insert(at, Reading::Waiting(part.next()));
                    return Poll::Ready(Some(Ok(batch)));
                }
            }
        }
    }
}

impl Stream for RemoteStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.done || this.left == Some(0) {
            this.open.clear();
            return Poll::Ready(None);
        }
        let mut next = std::task::ready!(this.poll_parts(cx));
        match &mut next {
            None | Some(Err(_)) => {
                this.done = true;
                this.open.clear();
            }
            Some(Ok(batch)) => {
                if let Some(left) = &mut this.left {
                    let rows = (batch.num_rows() as u64).min(*left);
                    *left -= rows;
                    *batch = batch.slice(0, rows as usize);
                }
            }
        }
        Poll::Ready(next)
    }
}

/// A scan on plain threads: an iterator with a runtime of its own.
pub struct BlockingScan {
    runtime: tokio::runtime::Runtime,
    table: RemoteTable,
    stream: Option<RemoteStream>,
}

impl BlockingScan {
    /// Asks the server what it has there.
    ///
    /// # Errors
    /// As [`RemoteTable::open`].
    pub fn open(address: &Address, options: ClientOptions) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("remote")
            .enable_all()
            .build()
            .map_err(|e| RpcError::new(ErrorKind::Internal, "no thread for connections").caused_by(e))?;
        let table = runtime.block_on(RemoteTable::open(address, options))?;
        Ok(Self { runtime, table, stream: None })
    }

    /// What is scanned.
    pub fn table(&self) -> &RemoteTable {
        &self.table
    }

    /// Starts a scan of it; the one before is cancelled.
    ///
    /// # Errors
    /// As [`RemoteScan::start`].
    pub fn start(&mut self, scan: RemoteScan) -> Result<SchemaRef> {
        let stream = self.runtime.block_on(scan.start())?;
        let schema = Arc::clone(stream.schema());
        self.stream = Some(stream);
        Ok(schema)
    }

    /// How often a part was asked for again.
    pub fn resumed(&self) -> u64 {
        self.stream.as_ref().map_or(0, RemoteStream::resumed)
    }
}

impl Iterator for BlockingScan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let stream = self.stream.as_mut()?;
        self.runtime.block_on(stream.next())
    }
}
