//! A TCP RPC with credit-based flow control. `docs/rpc.md` is its specification.
//!
//! From the bottom up:
//!
//! | module | job |
//! |---|---|
//! | [`limits`] | every size and limit |
//! | [`time`] | time, as drivers tell it |
//! | [`error`] | errors that survive the wire |
//! | [`frame`], [`hello`] | the bytes: frames, and the handshake |
//! | [`connection`] | the protocol as a state machine, without sockets, clocks or runtimes |
//! | [`drive`] | its bytes to and from sockets: glommio, tokio, TLS |
//! | [`auth`] | who may call |
//! | [`call`] | calls, as programs make and answer them |
//! | [`pool`] | calls to peers that come and go |
//! | [`trace`] | spans of calls |

pub mod auth;
pub mod call;
pub mod connection;
pub mod drive;
pub mod error;
pub mod frame;
pub mod hello;
pub mod limits;
pub mod pool;
#[cfg(test)]
mod sim;
pub mod time;
pub mod trace;

pub use error::{ErrorKind, Result, RpcError};
pub use time::{Clock, Time};
