//! What is asked: method by method.

use std::rc::Rc;
use std::sync::Arc;

use deltalite_net::auth::{Action, Identity};
use deltalite_net::call::Call;
use deltalite_net::call::server::{Peer, Service};
use deltalite_net::connection::{Greeting, Opened};
use deltalite_net::hello::Hello;
use deltalite_net::{ErrorKind, Result, RpcError, trace};
use deltalite_remote::predicate::WirePredicate;
use deltalite_remote::protocol::{
    self, HEALTH, Health, LIST_SPLITS, ListSplits, READ_SPLIT, STAT, Splits, Stat, Target,
};
use deltalite_shard::device::IoClass;
use deltalite_shard::executor::Shard;
use futures::future::LocalBoxFuture;
use tracing::Instrument;

use crate::catalog::Source;
use crate::{Common, read};

/// Least and most bytes of a part that a client may ask for.
const SPLIT_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 40;

/// Answers for one shard.
#[derive(Clone)]
pub(crate) struct ScanService {
    pub(crate) common: Arc<Common>,
    pub(crate) index: u32,
    /// The shard that this runs on; without one, scans are given to all.
    pub(crate) shard: Option<Rc<Shard>>,
}

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) identity: Arc<Identity>,
    pub(crate) name: Arc<str>,
}

impl Service for ScanService {
    type Caller = Caller;
    type Answer = LocalBoxFuture<'static, ()>;

    fn admit(&self, hello: &Hello, peer: &Peer) -> Result<(Greeting, Caller)> {
        let identity = self.common.options.gate.identify(hello, peer).inspect_err(|error| {
            self.common.metrics.callers_refused.inc();
            tracing::warn!(peer = peer.address, %error, "a caller was refused");
        })?;
        tracing::debug!(peer = peer.address, caller = identity.name, shard = self.index, "connected");
        let caller = Caller { name: identity.name.as_str().into(), identity: Arc::new(identity) };
        Ok((Greeting { shard: self.index, shards: self.common.shards.len() as u32 }, caller))
    }

    fn serve(&self, mut call: Call, opened: Opened, caller: &Caller) -> Self::Answer {
        let (this, caller) = (self.clone(), caller.clone());
        Box::pin(async move {
            this.common.metrics.calls.inc();
            let (method, request, attempt) = (opened.method, opened.request, opened.attempt);
            let span =
                trace::server(protocol::method_name(method), request, attempt, &caller.name, this.index);
            let answered = this.answer(&mut call, opened, &caller).instrument(span).await;
            let caller = &*caller.name;
            match answered {
                Ok(()) => {
                    tracing::debug!(
                        method,
                        request = format!("{request:016x}"),
                        attempt,
                        caller,
                        shard = this.index,
                        "answered"
                    );
                }
                Err(error) => {
                    this.common.metrics.calls_failed.inc();
                    tracing::info!(
                        method, request = format!("{request:016x}"), attempt, caller, shard = this.index,
                        code = error.code(), %error, "a call failed"
                    );
                    call.fail(error);
                }
            }
        })
    }
}

impl ScanService {
    fn authorize(&self, caller: &Caller, method: u16, target: &Target) -> Result<()> {
        let Some(authorize) = &self.common.options.authorize else { return Ok(()) };
        let action = Action { method, resource: &target.path };
        authorize.authorize(&caller.identity, &action).inspect_err(|_| {
            self.common.metrics.callers_refused.inc();
        })
    }

    async fn answer(&self, call: &mut Call, opened: Opened, caller: &Caller) -> Result<()> {
        let request = match opened.method {
            HEALTH => Vec::new(),
            STAT | LIST_SPLITS | READ_SPLIT => protocol::request(opened.message.meta(), call).await?,
            other => {
                let what = format!("method {other} is not known; the server is {}", software());
                return Err(RpcError::new(ErrorKind::Unimplemented, what));
            }
        };
        let reply = match opened.method {
            STAT => {
                let target = protocol::decode(&request)?;
                self.authorize(caller, STAT, &target)?;
                self.stat(target).await?
            }
            LIST_SPLITS => {
                let list: ListSplits = protocol::decode(&request)?;
                self.authorize(caller, LIST_SPLITS, &list.target)?;
                self.list_splits(list).await?
            }
            READ_SPLIT => {
                let read: protocol::ReadSplit = protocol::decode(&request)?;
                self.authorize(caller, READ_SPLIT, &read.target)?;
                return self.read_split(call, read, caller).await;
            }
            _ => protocol::encode(&Health {
                ready: self.common.admission.is_open(),
                shards: self.common.shards.len() as u32,
                scans: self.common.admission.scans(),
                software: software(),
            })?,
        };
        // A caller that takes no answers has so many as there is memory for.
        let held = self.common.admission.hold(reply.len())?;
        call.room(reply.len() as u64).await?;
        let sent = call.send_last(Vec::new(), vec![reply.into()]).await;
        drop(held);
        sent
    }

    /// Does what blocks elsewhere: a shard never waits for a log or a footer.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Common) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let common = Arc::clone(&self.common);
        // Who waits for a place gives it up with its call. In the queue of the threads work would stay when nobody waits for it any more.
        let places = Arc::clone(&common.blocking_places);
        let place = places.acquire_owned().await;
        let done = self.common.blocking.spawn_blocking(move || {
            let _place = place;
            work(&common)
        });
        let done = done.await;
        done.unwrap_or_else(|e| {
            Err(RpcError::new(ErrorKind::Internal, "a thread of the server failed").caused_by(e))
        })
    }

    async fn stat(&self, target: Target) -> Result<Vec<u8>> {
        self.blocking(move |common| {
            let source = common.catalog.open(&target)?;
            protocol::encode(&Stat {
                version: source.version(),
                identity: source.identity(),
                schema: protocol::encode_schema(&source.schema)?,
                rows: source.rows()?,
                bytes: source.bytes(),
                ports: common.ports.clone(),
            })
        })
        .await
    }

    async fn list_splits(&self, list: ListSplits) -> Result<Vec<u8>> {
        self.blocking(move |common| {
            let source = common.catalog.open(&list.target)?;
            let predicate = list.predicate.as_ref().map(WirePredicate::decode).transpose()?;
            let bytes = list.target_bytes.clamp(*SPLIT_BYTES.start(), *SPLIT_BYTES.end());
            let splits = source.splits(predicate.as_ref(), bytes, common.shards.len())?;
            protocol::encode(&Splits { splits })
        })
        .await
    }

    async fn read_split(&self, call: &mut Call, request: protocol::ReadSplit, caller: &Caller) -> Result<()> {
        let common = &self.common;
        if !common.admission.is_open() {
            return Err(RpcError::new(ErrorKind::Unavailable, "the server is being stopped"));
        }
        let entered = common.admission.enter(&caller.name);
        let place = entered.inspect_err(|_| {
            common.metrics.scans_refused.inc();
        })?;
        if request.resume_at.is_some() {
            common.metrics.scans_resumed.inc();
        }
        common.metrics.scans.inc();
        let read = self.read(call, &request, caller).await;
        common.metrics.scans.dec();
        drop(place);
        read
    }

    async fn read(&self, call: &mut Call, request: &protocol::ReadSplit, caller: &Caller) -> Result<()> {
        let known = self.common.catalog.known(&request.target, request.identity);
        let source: Arc<Source> = match known {
            Some(source) => source,
            None => {
                let target = request.target.clone();
                self.blocking(move |common| common.catalog.open(&target)).await?
            }
        };
        if source.identity() != request.identity {
            return Err(RpcError::new(
                ErrorKind::NotFound,
                format!("{} was replaced since the scan began; begin it anew", request.target.path),
            ));
        }
        let file = request.split.file;
        let scan_file = match source.opened(file) {
            Some(file) => file,
            None => {
                let source = Arc::clone(&source);
                self.blocking(move |_| source.open(file)).await?
            }
        };
        let scan = read::plan(request, scan_file, &source.schema)?;
        let batches = match &self.shard {
            Some(shard) => scan.start_on(shard).map(read::Batches::Local),
            None => scan.start(&self.common.shards).map(|scan| read::Batches::Shards(scan.into_async())),
        };
        let batches = batches.map_err(|e| crate::error::of_shard(&e))?;
        read::send(call, batches, &source.schema, request, self, caller).await
    }

    /// Waits until a caller may be sent so many bytes more.
    pub(crate) async fn pace(&self, caller: &Caller, bytes: usize) {
        while let Some(wait) = self.common.admission.pause_before(&caller.name, bytes) {
            match &self.shard {
                Some(_) => glommio::timer::sleep(wait).await,
                None => tokio::time::sleep(wait).await,
            }
        }
    }
}

fn software() -> String {
    concat!("deltalite ", env!("CARGO_PKG_VERSION")).to_owned()
}

/// Which class a shard runs connections in.
pub(crate) const CONNECTIONS: IoClass = IoClass::Rpc;
