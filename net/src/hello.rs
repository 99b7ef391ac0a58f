//! The handshake: what each side says first.

use rkyv::{Archive, Deserialize, Serialize};

use crate::error::{ErrorKind, Result, RpcError};
use crate::limits;

/// The sender needs no checksums of messages' bodies, for the way to its peer keeps bytes as they are.
pub const FEATURE_BARE: u64 = 1;

/// What a side says of itself in its first frame.
///
/// The client speaks first. The server answers with its own, or with a goaway that says why not.
#[derive(Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest version understood.
    pub version_min: u16,
    /// Newest version understood; of a server's answer: the one agreed on.
    pub version: u16,
    /// Bits of optional features: [`FEATURE_BARE`]. Unknown ones are passed over.
    pub features: u64,
    /// The sender's name among nodes; 0 for none.
    pub node: u64,
    /// Largest body of a frame that the sender takes, in bytes.
    pub frame_bytes_max: u32,
    /// Most streams at once that the sender lets the other side open.
    pub streams_max: u32,
    /// Of a server: which shard this is.
    pub shard: u32,
    /// Of a server: how many shards it has.
    pub shards: u32,
    /// Of a client: what proves who it is.
    pub token: Option<String>,
    /// Name and version of the software, for people.
    pub software: String,
}

impl Hello {
    /// As it travels.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Writing to memory fails only where memory does.
        rkyv::to_bytes::<rkyv::rancor::Error>(self).map(|bytes| bytes.to_vec()).unwrap_or_default()
    }

    /// From the wire, checked.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let hello = rkyv::from_bytes::<Self, rkyv::rancor::Error>(bytes).map_err(|e| {
            RpcError::new(ErrorKind::Protocol, "the peer's greeting can't be read").caused_by(e)
        })?;
        let fault = |what: String| Err(RpcError::new(ErrorKind::Protocol, what));
        if hello.version_min > hello.version {
            return fault(format!(
                "the peer greets with versions {} to {}",
                hello.version_min, hello.version
            ));
        }
        if hello.version_min > limits::VERSION || hello.version < limits::VERSION_MIN {
            return Err(RpcError::new(
                ErrorKind::Incompatible,
                format!(
                    "the peer ({}) speaks versions {} to {} of the protocol, this side {} to {}; upgrade the older one",
                    hello.software,
                    hello.version_min,
                    hello.version,
                    limits::VERSION_MIN,
                    limits::VERSION
                ),
            ));
        }
        if !(limits::FRAME_BYTES_MIN..=limits::FRAME_BYTES_MAX).contains(&hello.frame_bytes_max)
            || hello.streams_max > limits::STREAMS_MAX
        {
            return fault(format!(
                "the peer greets with frames of {} bytes and {} streams, which is out of bounds",
                hello.frame_bytes_max, hello.streams_max
            ));
        }
        if hello.token.as_ref().is_some_and(|token| token.len() > limits::TOKEN_BYTES_MAX) {
            return fault(format!("the peer's token is longer than {} bytes", limits::TOKEN_BYTES_MAX));
        }
        Ok(hello)
    }
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("versions", &(self.version_min..=self.version))
            .field("node", &self.node)
            .field("frame_bytes_max", &self.frame_bytes_max)
            .field("streams_max", &self.streams_max)
            .field("shard", &self.shard)
            .field("shards", &self.shards)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("software", &self.software)
            .finish_non_exhaustive()
    }
}
