//! Requests and replies of the scan server, version 1.
//!
//! | method | request | reply |
//! |---|---|---|
//! | [`STAT`] | [`Target`] | [`Stat`] |
//! | [`LIST_SPLITS`] | [`ListSplits`] | [`Splits`] |
//! | [`READ_SPLIT`] | [`ReadSplit`] | a stream of batches, see [`batch`](crate::batch) |
//! | [`HEALTH`] | nothing | [`Health`] |
//!
//! All are rkyv, validated on arrival. A request that does not fit a frame is the stream's first message instead.

use arrow_schema::SchemaRef;
use deltalite_format::SplitSpec;
use deltalite_net::call::{Call, Whole};
use deltalite_net::{ErrorKind, Result, RpcError};
use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::rancor::Error;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::predicate::WirePredicate;

/// What a name is: its columns, rows, version.
pub const STAT: u16 = 1;
/// The parts of it that can hold wanted rows, and who reads each.
pub const LIST_SPLITS: u16 = 2;
/// The rows of a part.
pub const READ_SPLIT: u16 = 3;
/// How the server is.
pub const HEALTH: u16 = 4;

/// What a method is called, in logs and traces.
pub fn method_name(method: u16) -> &'static str {
    match method {
        STAT => "stat",
        LIST_SPLITS => "list splits",
        READ_SPLIT => "read split",
        HEALTH => "health",
        _ => "unknown",
    }
}

/// Largest request in a stream's first frame, in bytes; a larger one is its first message.
pub const REQUEST_BYTES_INLINE: usize = 48 << 10;
/// Largest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 16 << 20;

/// Which state of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub enum At {
    /// The newest.
    Latest,
    /// A version.
    Version(u64),
    /// What was the newest at this time, in milliseconds since 1970.
    Timestamp(i64),
}

/// A table or file of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Target {
    /// Its path below the server's folder.
    pub path: String,
    /// Which state.
    pub at: At,
}

/// What a target is.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Stat {
    /// The version, of a table: later requests name it, so that all see the same rows.
    pub version: Option<u64>,
    /// Which state of a file this is.
    pub identity: u64,
    /// Columns, as an Arrow IPC stream without batches.
    pub schema: Vec<u8>,
    /// Rows, where they are known without reading.
    pub rows: Option<u64>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Ports of the server's shards, by shard.
    pub ports: Vec<u16>,
}

/// Which parts are to be read.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct ListSplits {
    /// Of what.
    pub target: Target,
    /// Rows wanted; all without.
    pub predicate: Option<WirePredicate>,
    /// Bytes that a part should have, about.
    pub target_bytes: u64,
}

/// The parts of a target.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct Splits {
    /// In the order of their rows.
    pub splits: Vec<Split>,
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Split {
    /// The file, by its place in the target.
    pub file: u32,
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// The file's rows wanted of the blocks in it; all without.
    pub rows: Option<(u64, u64)>,
    /// The shard that reads it.
    pub shard: u32,
}

impl Split {
    /// As the format knows it.
    pub fn spec(&self, name: &str) -> SplitSpec {
        SplitSpec {
            file: name.to_owned(),
            start: self.start,
            end: self.end,
            rows: self.rows.map(|(start, end)| start..end),
        }
    }
}

/// A part to be read.
#[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
pub struct ReadSplit {
    /// Of what; the version is one that [`Stat`] told.
    pub target: Target,
    /// Which state of a file, as [`Stat`] told.
    pub identity: u64,
    /// The part.
    pub split: Split,
    /// Columns, in this order; all without.
    pub columns: Option<Vec<String>>,
    /// Rows wanted; all without.
    pub predicate: Option<WirePredicate>,
    /// At most so many rows.
    pub limit: Option<u64>,
    /// The file's row to go on with: the position of the last batch received.
    pub resume_at: Option<u64>,
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Health {
    /// Whether it takes new scans.
    pub ready: bool,
    /// Shards.
    pub shards: u32,
    /// Scans under way.
    pub scans: u64,
    /// Its version, for people.
    pub software: String,
}

/// As it travels.
///
/// # Errors
/// Where memory is short.
pub fn encode(
    value: &impl for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>>,
) -> Result<Vec<u8>> {
    rkyv::to_bytes::<Error>(value)
        .map(|bytes| bytes.to_vec())
        .map_err(|e| RpcError::new(ErrorKind::Internal, "a message can't be encoded").caused_by(e))
}

/// From the wire, validated.
///
/// # Errors
/// Where it is no such message.
pub fn decode<T>(bytes: &[u8]) -> Result<T>
where
    T: Archive,
    T::Archived: for<'a> rkyv::bytecheck::CheckBytes<HighValidator<'a, Error>>
        + Deserialize<T, HighDeserializer<Error>>,
{
    rkyv::from_bytes::<T, Error>(bytes)
        .map_err(|e| RpcError::new(ErrorKind::Protocol, "a message that can't be read").caused_by(e))
}

/// The request of a call: in the frame that opened it, or its first message.
///
/// # Errors
/// Where there is none, or a larger one than [`REQUEST_BYTES_MAX`].
pub async fn request(meta: &[u8], call: &mut Call) -> Result<Vec<u8>> {
    if !meta.is_empty() {
        return Ok(meta.to_vec());
    }
    match call.receive_within(REQUEST_BYTES_MAX).await? {
        Some(Whole { payload: Some(payload), .. }) => Ok(payload.to_vec()),
        _ => Err(RpcError::new(ErrorKind::InvalidArgument, "a call without a request")),
    }
}

/// A schema as it travels: an Arrow IPC stream without batches.
///
/// # Errors
/// For types that Arrow IPC does not have.
pub fn encode_schema(schema: &SchemaRef) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    arrow_ipc::writer::StreamWriter::try_new(&mut bytes, schema)
        .and_then(|mut writer| writer.finish())
        .map_err(|e| RpcError::new(ErrorKind::Internal, "the columns can't be told").caused_by(e))?;
    Ok(bytes)
}

/// A schema from the wire.
///
/// # Errors
/// Where it is none.
pub fn decode_schema(bytes: &[u8]) -> Result<SchemaRef> {
    crate::ipc::schema(bytes)
        .map_err(|e| RpcError::new(ErrorKind::Protocol, "columns that can't be read").caused_by(e))
}
