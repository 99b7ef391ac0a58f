//! Listens to a connection and checks what the protocol promises of credit. It shares nothing with the code under test but the
//! layout of headers.

use std::collections::BTreeMap;

use super::world::World;
use crate::frame::{Header, Kind};
use crate::limits::HEADER_BYTES;

/// Cuts bytes into headers.
#[derive(Default)]
struct Ear {
    have: Vec<u8>,
    skip: u64,
}

impl Ear {
    fn hear(&mut self, mut bytes: &[u8]) -> Vec<Header> {
        let mut headers = Vec::new();
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len() as u64);
                self.skip -= n;
                bytes = &bytes[n as usize..];
                continue;
            }
            let n = (HEADER_BYTES - self.have.len()).min(bytes.len());
            self.have.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if let Ok(whole) = <&[u8; HEADER_BYTES]>::try_from(&self.have[..]) {
                if let Ok(header) = Header::parse(whole) {
                    self.skip = header.body_bytes();
                    headers.push(header);
                }
                self.have.clear();
            }
        }
        headers
    }
}

/// What one side has sent and may send.
#[derive(Default)]
struct Side {
    /// Bytes sent in messages and the total that was told to it, by stream; 0 is the connection.
    sent: BTreeMap<u32, u64>,
    credit: BTreeMap<u32, u64>,
    ended: BTreeMap<u32, Kind>,
}

pub(super) struct Tap {
    world: World,
    written: [Ear; 2],
    read: [Ear; 2],
    sides: [Side; 2],
}

impl Tap {
    pub(super) fn new(world: World) -> Self {
        Self { world, written: Default::default(), read: Default::default(), sides: Default::default() }
    }

    /// Side `side` sent these bytes.
    pub(super) fn written(&mut self, side: usize, bytes: &[u8]) {
        for header in self.written[side].hear(bytes) {
            let Ok(kind) = header.kind() else {
                self.world.violated("a frame of unknown kind was sent".to_owned());
                return;
            };
            let stream = header.stream;
            let state = &mut self.sides[side];
            if matches!(kind, Kind::Data | Kind::End)
                && let Some(ended) = state.ended.get(&stream)
            {
                self.world.violated(format!("{kind:?} on stream {stream} after {ended:?}"));
            }
            if kind == Kind::Data {
                for id in [0, stream] {
                    let sent = state.sent.entry(id).or_default();
                    *sent += header.cost();
                    let credit = state.credit.get(&id).copied().unwrap_or(0);
                    if *sent > credit {
                        self.world.violated(format!(
                            "side {side} has {sent} bytes of stream {id} sent, where it knows of credit for {credit}"
                        ));
                    }
                }
            }
            let last = matches!(kind, Kind::Data | Kind::Open) && header.flags & crate::frame::FLAG_LAST != 0;
            if last || matches!(kind, Kind::End | Kind::Reset) {
                if kind == Kind::Reset && state.ended.get(&stream) == Some(&Kind::Reset) {
                    self.world.violated(format!("stream {stream} was reset twice by side {side}"));
                }
                state.ended.insert(stream, kind);
            }
        }
    }

    /// What side `from` sent has arrived.
    pub(super) fn read(&mut self, from: usize, bytes: &[u8]) {
        for header in self.read[from].hear(bytes) {
            let told = match header.kind() {
                Ok(Kind::Hello) => 0,
                Ok(Kind::Open | Kind::Credit) => header.stream,
                _ => continue,
            };
            let credit = self.sides[1 - from].credit.entry(told).or_default();
            *credit = header.credit.max(*credit);
        }
    }
}
