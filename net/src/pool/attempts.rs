//! One call, as many attempts as it takes.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};

use super::{Connect, Failing, Pool};
use crate::call::client::Channel;
use crate::connection::CallSpec;
use crate::error::{ErrorKind, Result, RpcError};
use crate::time::Time;

/// First window of an answer, in bytes: most answers are small, and there may be many.
const ANSWER_WINDOW: u64 = 64 << 10;

/// How a call may be repeated.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// Time for all attempts together; without, as long as attempts last.
    pub timeout: Option<Duration>,
    /// Whether the call may be made again after a peer may have answered it already. Without, only calls that never left, or that
    /// the peer refused as one too many, are tried again.
    pub idempotent: bool,
    /// Asks a second time, the next peer where there are several, where there is no answer after so long; the first answer
    /// counts. Of idempotent calls only, and within the budget of retries.
    pub hedge_after: Option<Duration>,
    /// Which request this is for.
    pub request: u64,
}

/// An attempt of a call.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// To whom.
    pub peer: SocketAddr,
    /// How it is to be made: with what is left of the time, and its number.
    pub spec: CallSpec,
}

/// An attempt that failed.
struct Failed {
    error: RpcError,
    /// Whether the peer may have done what was asked for.
    sent: bool,
}

impl<C: Connect> Pool<C> {
    /// Makes a call, to one of these peers, and makes it again where that can help. `attempt` makes it once.
    ///
    /// ```no_run
    /// # async fn example() -> deltalite_net::Result<()> {
    /// use deltalite_net::drive::tokio::{ConnectOptions, TokioConnect};
    /// use deltalite_net::pool::{CallOptions, Pool, PoolOptions};
    ///
    /// let pool = Pool::new(TokioConnect::new(ConnectOptions::default()), PoolOptions::default());
    /// let options = CallOptions { idempotent: true, ..CallOptions::default() };
    /// let answer = pool
    ///     .call(&["127.0.0.1:7433".parse().unwrap()], &options, |channel, attempt| async move {
    ///         channel.unary(1, b"how are you".to_vec(), &attempt.spec).await
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The last attempt's; or that the time is over.
    pub async fn call<T, F, A>(&self, peers: &[SocketAddr], options: &CallOptions, attempt: F) -> Result<T>
    where
        F: Fn(Channel, Attempt) -> A,
        A: Future<Output = Result<T>>,
    {
        if peers.is_empty() {
            return Err(RpcError::new(ErrorKind::InvalidArgument, "a call to no peer"));
        }
        let deadline = options.timeout.map(|timeout| self.now().after(timeout));
        let (mut made, mut failing) = (0, Failing::default());
        loop {
            match self.hedged(peers, options, deadline, &mut made, &attempt).await {
                Ok(answer) => return Ok(answer),
                Err(Failed { error, sent }) => {
                    if sent && !options.idempotent && error.kind() != ErrorKind::Overloaded {
                        return Err(error.no_retry());
                    }
                    self.pause(&mut failing, error, deadline).await?;
                }
            }
        }
    }

    /// One attempt, and a second beside it where the first takes long.
    async fn hedged<T, F, A>(
        &self,
        peers: &[SocketAddr],
        options: &CallOptions,
        deadline: Option<Time>,
        made: &mut u16,
        attempt: &F,
    ) -> Result<T, Failed>
    where
        F: Fn(Channel, Attempt) -> A,
        A: Future<Output = Result<T>>,
    {
        let mut one = || {
            let number = *made;
            *made = made.saturating_add(1);
            self.one(peers[usize::from(number) % peers.len()], number, options.request, deadline, attempt)
        };
        let first = pin!(one());
        let Some(after) = options.hedge_after.filter(|_| options.idempotent) else { return first.await };
        let first = match select(first, pin!(self.inner.connect.sleep(after))).await {
            Either::Left((done, _)) => return done,
            Either::Right(((), first)) => first,
        };
        if !self.inner.budget.spend() {
            return first.await;
        }
        match select(first, pin!(one())).await {
            Either::Left((Ok(answer), _)) | Either::Right((Ok(answer), _)) => Ok(answer),
            // The other may do better.
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
        }
    }

    async fn one<T, F, A>(
        &self,
        peer: SocketAddr,
        number: u16,
        request: u64,
        deadline: Option<Time>,
        attempt: &F,
    ) -> Result<T, Failed>
    where
        F: Fn(Channel, Attempt) -> A,
        A: Future<Output = Result<T>>,
    {
        let timeout = deadline.map(|deadline| deadline.since(self.now()));
        let connecting = pin!(self.channel(peer));
        let channel = match timeout {
            None => connecting.await,
            Some(timeout) => match select(connecting, pin!(self.inner.connect.sleep(timeout))).await {
                Either::Left((channel, _)) => channel,
                Either::Right(_) => {
                    let silent = RpcError::new(ErrorKind::Unavailable, "no connection");
                    self.report(peer, Some(&silent));
                    Err(too_late(peer))
                }
            },
        };
        let channel = channel.map_err(|error| Failed { error, sent: false })?;
        let began = self.now();
        let timeout = deadline.map(|deadline| deadline.since(began));
        if timeout == Some(Duration::ZERO) {
            return Err(Failed { error: too_late(peer), sent: false });
        }
        let spec =
            CallSpec { timeout, request, attempt: number, window: ANSWER_WINDOW, ..CallSpec::default() };
        let answer = attempt(channel.clone(), Attempt { peer, spec }).await;
        let error = match answer {
            Ok(answer) => {
                self.report(peer, None);
                return Ok(answer);
            }
            Err(error) => error.at_peer(peer),
        };
        if error.kind() == ErrorKind::DeadlineExceeded && channel.heard_at() <= began {
            // Not slow: silent.
            let silent = RpcError::new(ErrorKind::Unavailable, "nothing was heard");
            self.report(peer, Some(&silent));
        } else {
            self.report(peer, Some(&error));
        }
        Err(Failed { error, sent: true })
    }
}

fn too_late(peer: SocketAddr) -> RpcError {
    RpcError::new(ErrorKind::DeadlineExceeded, "the time allowed was over before a connection was there")
        .at_peer(peer)
}
