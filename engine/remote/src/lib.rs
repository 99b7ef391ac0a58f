//! Scanning what a DeltaLite server has.
//!
//! | module | job |
//! |---|---|
//! | [`protocol`] | requests and replies, as they travel |
//! | [`predicate`] | conditions, as they travel |
//! | [`batch`] | record batches, as they travel: buffers from where they lie to where they stay |
//! | `ipc` | columns and literals as Arrow writes them, of peers that are not to be trusted |
//! | [`address`] | `deltalite://host:port/name` |
//! | [`client`] | connections to a server's shards |
//! | [`scan`] | a scan over them: in order, resumed where a connection breaks |

pub mod address;
pub mod batch;
pub mod client;
mod ipc;
pub mod predicate;
pub mod protocol;
pub mod scan;

pub use address::Address;
pub use client::{Client, ClientOptions};
pub use deltalite_net::{ErrorKind, Result, RpcError};
pub use scan::{RemoteScan, RemoteStream, RemoteTable, SharedScan};
