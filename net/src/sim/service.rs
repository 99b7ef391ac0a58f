//! What simulations and suites call.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::call::Call;
use crate::call::server::{Peer, Service};
use crate::connection::{Greeting, Opened};
use crate::error::{ErrorKind, Result, RpcError};
use crate::hello::Hello;

pub(crate) const ECHO: u16 = 1;
pub(crate) const COUNT: u16 = 2;
pub(crate) const SUM: u16 = 3;
pub(crate) const MIRROR: u16 = 4;
pub(crate) const HANG: u16 = 5;

/// Waits, by whichever clock.
pub(crate) type Sleep = Rc<dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A request for messages: how many, how large, how long between them, and after how many to fail.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order {
    pub messages: u32,
    pub bytes: u32,
    pub pause_us: u32,
    pub fail_after: u32,
}

impl Order {
    pub(crate) fn encode(self) -> Vec<u8> {
        [self.messages, self.bytes, self.pause_us, self.fail_after]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let n =
            |i: usize| bytes.get(i * 4..i * 4 + 4).map_or(0, |b| u32::from_le_bytes(b.try_into().unwrap()));
        Self { messages: n(0), bytes: n(1), pause_us: n(2), fail_after: n(3) }
    }
}

/// The payload of message `n` of `bytes` bytes, in two pieces.
pub(crate) fn payload(n: u32, bytes: u32) -> Vec<Bytes> {
    let all: Vec<u8> = (0..bytes).map(|i| (i ^ (n * 31)) as u8).collect();
    let mut all = Bytes::from(all);
    let first = all.split_to(all.len() / 3);
    vec![first, all]
}

#[derive(Clone)]
pub(crate) struct TestService {
    pub sleep: Sleep,
    /// Answers being given.
    pub live: Rc<Cell<usize>>,
    /// What a client has to show.
    pub token: Option<String>,
}

struct Live(Rc<Cell<usize>>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Service for TestService {
    type Caller = ();
    type Answer = Pin<Box<dyn Future<Output = ()>>>;

    fn admit(&self, hello: &Hello, _: &Peer) -> Result<(Greeting, ())> {
        if hello.token != self.token {
            return Err(RpcError::new(ErrorKind::Unauthenticated, "this token is not known"));
        }
        Ok((Greeting { shard: 1, shards: 2 }, ()))
    }

    fn serve(&self, mut call: Call, opened: Opened, (): &()) -> Self::Answer {
        self.live.set(self.live.get() + 1);
        let live = Live(Rc::clone(&self.live));
        let sleep = Rc::clone(&self.sleep);
        Box::pin(async move {
            let _live = live;
            if let Err(error) = answer(&mut call, &opened, &sleep).await {
                call.fail(error);
            }
        })
    }
}

async fn answer(call: &mut Call, opened: &Opened, sleep: &Sleep) -> Result<()> {
    match opened.method {
        ECHO => {
            let payload = opened.message.payload().map(|p| Bytes::copy_from_slice(&p));
            call.send_last(opened.message.meta().to_vec(), payload.into_iter().collect()).await
        }
        COUNT => {
            let order = Order::decode(opened.message.meta());
            for n in 0..order.messages {
                if order.fail_after != 0 && n >= order.fail_after {
                    return Err(RpcError::new(ErrorKind::DataLoss, "row group 7 is damaged")
                        .with_code("DL-0202")
                        .caused_by("checksum"));
                }
                if order.pause_us > 0 {
                    sleep(Duration::from_micros(u64::from(order.pause_us))).await;
                }
                call.room(u64::from(order.bytes)).await?;
                call.send(n.to_le_bytes().to_vec(), payload(n, order.bytes)).await?;
            }
            call.end();
            Ok(())
        }
        SUM => {
            let (mut messages, mut bytes) = (0u32, 0u32);
            while let Some(whole) = call.receive_whole().await? {
                let n = u32::from_le_bytes(whole.meta[..4].try_into().unwrap());
                if n != messages {
                    return Err(RpcError::new(ErrorKind::Internal, format!("message {n} after {messages}")));
                }
                messages += 1;
                bytes += whole.payload.map_or(0, |p| p.len() as u32);
            }
            call.send_last(Order { messages, bytes, ..Order::default() }.encode(), Vec::new()).await
        }
        MIRROR => {
            while let Some(whole) = call.receive_whole().await? {
                let payload = whole.payload.map(|p| Bytes::copy_from_slice(&p));
                call.send(whole.meta, payload.into_iter().collect()).await?;
            }
            call.end();
            Ok(())
        }
        HANG => std::future::pending().await,
        other => Err(RpcError::new(ErrorKind::Unimplemented, format!("no method {other}"))),
    }
}
