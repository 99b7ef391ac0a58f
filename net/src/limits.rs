//! Every size and limit of the protocol.

use std::time::Duration;

/// The version spoken here; the handshake agrees on the highest that both sides know.
pub const VERSION: u16 = 1;
/// The oldest version still understood.
pub const VERSION_MIN: u16 = 1;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 64;
/// What payloads are aligned to within a frame, in bytes: what Arrow recommends for buffers.
pub const ALIGN_BYTES: usize = 64;
/// Largest body (metadata, padding, payload) of a frame that any peer may ask for, in bytes.
pub const FRAME_BYTES_MAX: u32 = 4 << 20;
/// Smallest limit of a body that a peer may set, in bytes.
pub const FRAME_BYTES_MIN: u32 = 16 << 10;
/// Largest metadata of a frame, in bytes.
pub const META_BYTES_MAX: u32 = 64 << 10;
/// Largest body of a frame that opens a stream, in bytes. It needs no credit.
pub const OPEN_BYTES_MAX: u32 = 64 << 10;
/// Largest body of any frame before the handshake is done, in bytes: all that an unauthenticated peer can make us keep.
pub const GREETING_BYTES_MAX: u32 = 8 << 10;
/// Longest token that authenticates, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4 << 10;
/// Largest error on the wire, in bytes: no more than what is taken before the handshake is done, for it may end in one.
pub const ERROR_BYTES_MAX: u32 = GREETING_BYTES_MAX;
/// Longest text of an error on the wire, in bytes; longer ones are cut. The rest is for what is around it.
pub const ERROR_TEXT_BYTES_MAX: usize = 7 << 10;
/// Most causes of an error on the wire.
pub const ERROR_CAUSES_MAX: usize = 8;
/// Most streams of a connection at once that a peer may allow.
pub const STREAMS_MAX: u32 = 1 << 16;
/// Errors of calls that may wait to be sent when another call is opened. A peer that makes more, and does not read, is flooding.
pub const REFUSALS_MAX: usize = 2048;
/// Bytes of such errors.
pub const REFUSALS_BYTES_MAX: usize = 4 << 20;
/// Frames that carry nothing (grants, resets, ends, pings) that a peer may send beyond those that its traffic explains: each has to be
/// looked at, and none needs credit.
pub const IDLE_FRAMES_MAX: u32 = 10_000;
/// How many of them each opened stream, each sent frame of a stream and each ping explain. An honest peer answers with two at most: a grant
/// of the stream and one of the connection.
pub const IDLE_FRAMES_EXPLAINED: u32 = 4;
/// How many of them time explains: pings, of which an honest peer sends five a second.
pub const IDLE_FRAMES_PER_SECOND: u32 = 100;
/// The slowest that a body may arrive, in bytes a second: one that began and takes longer ends the connection, so that nobody keeps a frame's
/// memory with a byte now and then.
pub const FRAME_RATE_MIN: u64 = 64 << 10;
/// Bytes encoded ahead of what the socket has taken; the frame that passes it is encoded whole.
pub const ENCODED_AHEAD_BYTES: usize = 256 << 10;
/// Bodies from this length on are received where they stay; shorter ones are copied out of the receive buffer.
pub const LANDING_BYTES_MIN: usize = 4 << 10;
/// Longest time between two samples of the round trip while data flows.
pub const ROUND_TRIP_EVERY: Duration = Duration::from_millis(200);
/// Largest window of a stream, in bytes.
pub const STREAM_WINDOW_BYTES_MAX: u64 = 16 << 20;
/// Largest message put together from frames, in bytes, metadata and headers included.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
