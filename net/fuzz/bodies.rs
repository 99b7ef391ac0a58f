//! What each fuzz target does with its input. No input may make it panic, loop, keep more than windows and limits allow, or send
//! without credit; what is against the protocol ends the connection with an error that the peer is told.
//!
//! The fuzz targets run these under libFuzzer (`net/fuzz/fuzz_targets/`); the tests of the crate run them over the committed corpus
//! and over seeded mutations of it. Each returns how the connection ended, so that the tests know the corpus is still valid.

use deltalite_alloc::{BufferPool, PoolBuffer};
use deltalite_net::connection::{Accept, Receiver};
use deltalite_net::frame::{BodyCrc, Header};
use deltalite_net::limits::{ERROR_BYTES_MAX, HEADER_BYTES, OPEN_BYTES_MAX};
use deltalite_net::{ErrorKind, Result, RpcError};

use crate::end::{End, Side};
use crate::script::Script;

/// A target: its name (also its corpus folder) and what it does.
pub(crate) type Target = (&'static str, fn(&[u8]) -> Result<()>);

/// All targets.
pub(crate) const TARGETS: [Target; 7] = [
    ("frames", frames),
    ("hello", hello),
    ("server", server),
    ("client", client),
    ("server_script", server_script),
    ("client_script", client_script),
    ("error", error),
];

/// Takes every frame with a body of up to 64 KiB.
#[derive(Default)]
struct Cut {
    frames: Vec<(Header, Option<Vec<u8>>)>,
    error: Option<RpcError>,
}

impl Accept for Cut {
    fn check(&mut self, header: &Header) -> Result<BufferPool> {
        if header.body_bytes() > u64::from(OPEN_BYTES_MAX) {
            return Err(RpcError::new(ErrorKind::TooLarge, "a large frame"));
        }
        Ok(BufferPool::global().clone())
    }

    fn accept(&mut self, header: Header, body: Option<PoolBuffer>) {
        self.frames.push((header, body.map(|body| body.as_slice().to_vec())));
    }

    fn reject(&mut self, error: RpcError) {
        assert!(self.error.is_none(), "something came after the end");
        self.error = Some(error);
    }

    fn is_closed(&self) -> bool {
        self.error.is_some()
    }
}

/// Frames cut out of bytes: `u8` how they arrive, then the bytes. However they arrive, the frames are the same.
pub(crate) fn frames(bytes: &[u8]) -> Result<()> {
    let Some((&how, bytes)) = bytes.split_first() else { return Ok(()) };
    let (mut whole, mut pieces) = (Cut::default(), Cut::default());
    Receiver::default().receive(bytes, &mut whole);
    let mut receiver = Receiver::default();
    let mut left = bytes;
    let mut seed = u32::from(how);
    while !left.is_empty() && !pieces.is_closed() {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let n = [1, 7, 64, 5000][(seed >> 30) as usize].min(left.len());
        if let Some(landing) = receiver.landing() {
            let n = landing.len().min(left.len());
            landing[..n].copy_from_slice(&left[..n]);
            receiver.landed(n, &mut pieces);
            left = &left[n..];
            continue;
        }
        receiver.receive(&left[..n], &mut pieces);
        left = &left[n..];
    }
    assert_eq!(whole.frames, pieces.frames, "frames depend on how they arrive");
    assert_eq!(whole.error, pieces.error, "errors depend on how bytes arrive");
    let mut bytes_taken = 0;
    for (header, body) in &whole.frames {
        let body = body.as_deref().unwrap_or_default();
        assert_eq!(body.len() as u64, header.body_bytes());
        assert!(!header.is_checked() || header.check_body(BodyCrc::of(std::iter::once(body))).is_ok());
        bytes_taken += HEADER_BYTES + body.len();
    }
    assert!(bytes_taken <= bytes.len());
    whole.error.map_or(Ok(()), Err)
}

/// The handshake: `u8` whether of a client (to a server) or of a server, `u64` credit, then what is said.
pub(crate) fn hello(bytes: &[u8]) -> Result<()> {
    let Some((head, said)) = bytes.split_first_chunk::<9>() else { return Ok(()) };
    let side = if head[0] % 2 == 0 { Side::Server } else { Side::Client };
    let credit = u64::from_le_bytes(head[1..].try_into().unwrap_or_default());
    let mut end = End::new(side, head[0]);
    end.hear(said, credit);
    if let Some(peer) = end.connection.peer() {
        assert!(peer.version_min <= peer.version && peer.frame_bytes_max >= 16 << 10);
        assert!(credit > u64::from(peer.frame_bytes_max));
    } else {
        assert!(end.connection.is_closed(), "neither heard nor refused");
    }
    end.finish()
}

fn session(side: Side, bytes: &[u8]) -> Result<()> {
    let Some((&how, bytes)) = bytes.split_first() else { return Ok(()) };
    let run = |bytes: &[u8]| {
        let mut end = End::new(side, how);
        // What a client says is answered; what a server says is to somebody who calls.
        end.call_all();
        let piece = [61, 1024, 9000, usize::MAX][usize::from(how >> 4) % 4];
        for (i, piece) in bytes.chunks(piece).enumerate() {
            end.receive(piece);
            end.serve();
            // A peer that reads, one that does now and then, and one that never does.
            match how >> 6 {
                0 | 1 => end.read(),
                2 if i % 5 == 0 => end.read(),
                _ => {}
            }
        }
        end.finish()
    };
    run(bytes).or_else(|_| {
        let mut bytes = bytes.to_vec();
        crate::reseal::reseal(&mut bytes);
        run(&bytes)
    })
}

/// All that a server receives: `u8` how, then the bytes. Checksums as they are and, if those refuse it, corrected.
pub(crate) fn server(bytes: &[u8]) -> Result<()> {
    session(Side::Server, bytes)
}

/// All that a client receives.
pub(crate) fn client(bytes: &[u8]) -> Result<()> {
    session(Side::Client, bytes)
}

/// A server among frames, times and acts of its program that the input chooses.
pub(crate) fn server_script(bytes: &[u8]) -> Result<()> {
    Script::new(bytes).run(Side::Server).map(|_| ())
}

/// A client, likewise.
pub(crate) fn client_script(bytes: &[u8]) -> Result<()> {
    Script::new(bytes).run(Side::Client).map(|_| ())
}

/// An error as it travels.
pub(crate) fn error(bytes: &[u8]) -> Result<()> {
    let error = RpcError::decode(bytes);
    let again = error.encode();
    assert!(again.len() <= ERROR_BYTES_MAX as usize, "an error of {} bytes", again.len());
    let there = RpcError::decode(&again);
    assert_eq!((there.kind(), there.retryable()), (error.kind(), error.retryable()));
    assert!(error.message().starts_with(there.message()));
    drop(error.to_string());
    // One that could not be read became an error that says so.
    if error.message() == "the peer sent an error that can't be read" { Err(error) } else { Ok(()) }
}
