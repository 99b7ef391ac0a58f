//! Frames whose fields the input chooses, in any order, with right checksums, among acts of the program and of time.

use std::time::Duration;

use deltalite_net::connection::CallSpec;
use deltalite_net::frame::{FLAG_BARE, FLAG_LAST, FLAG_MORE, Header, Kind};
use deltalite_net::{ErrorKind, Result, RpcError};

use crate::end::{End, Side, frame};

/// Steps of one script, at most.
const STEPS_MAX: usize = 2000;

/// The input, read byte by byte; zeros after its end.
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn one_of<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[usize::from(self.byte()) % N]
    }

    /// A stream: one of the first, the next one, one far away, or the connection.
    fn stream(&mut self, next: u32) -> u32 {
        match self.byte() {
            n @ 0..=239 => u32::from(n % 20),
            240..=253 => next,
            254 => u32::MAX,
            255 => next.saturating_add(1000),
        }
    }

    fn credit(&mut self) -> u64 {
        let some = u64::from(self.byte());
        self.one_of([0, some, 63, 64, 16 << 10, 17_000 + some, 1 << 20, 1 << 40, u64::MAX - some, u64::MAX])
    }

    fn length(&mut self) -> usize {
        let some = usize::from(self.byte());
        self.one_of([
            0,
            0,
            0,
            1,
            some,
            some,
            64,
            some * 64,
            (16 << 10) - 64,
            16 << 10,
            (64 << 10) - some,
            70_000,
        ])
    }

    /// A frame of the peer's.
    fn frame(&mut self, next: &mut u32) -> Vec<u8> {
        use Kind::{Credit, Data, End, Goaway, Hello, Open, Ping, Pong, Reset};
        let kind = self.one_of([
            Open, Open, Open, Data, Data, Data, Data, Credit, Credit, Credit, End, Reset, Reset, Ping, Pong,
            Goaway, Hello,
        ]);
        let of_connection = matches!(kind, Hello | Ping | Pong | Goaway) && self.byte() != 1;
        let usual = kind != Open || self.byte() % 8 == 1;
        let stream = match (of_connection, usual) {
            (true, _) => 0,
            (false, true) => self.stream(*next),
            (false, false) => *next,
        };
        *next = (*next).max(stream.saturating_add(1));
        let mut header = Header::new(kind, stream);
        header.flags = self.one_of([0, FLAG_LAST, FLAG_LAST, FLAG_MORE, FLAG_MORE | FLAG_LAST, FLAG_BARE]);
        header.credit = self.credit();
        header.method = u16::from(self.byte());
        header.deadline_ms = self.one_of([0, 0, 0, 1, 500, u32::MAX]);
        header.epoch = self.one_of([0, 0, 1, u64::MAX]);
        let fill = self.byte();
        let (mut meta, mut payload) = match kind {
            Open | Data => (self.length(), self.length()),
            Reset | Goaway | Hello => (self.length(), 0),
            _ if self.byte() == 1 => (self.length(), self.length()),
            _ => (0, 0),
        };
        if meta + payload > 80_000 {
            (meta, payload) = (meta / 2, payload / 2);
        }
        if matches!(kind, Reset | Goaway) && meta > 0 && !fill.is_multiple_of(4) {
            let error = RpcError::new(ErrorKind::Internal, "x".repeat(meta.min(5000))).encode();
            return frame(header, &error, &[]);
        }
        frame(header, &vec![fill; meta], &vec![fill; payload])
    }

    /// Runs it; true where the connection was still there at its end.
    pub(crate) fn run(mut self, side: Side) -> Result<bool> {
        let how = self.byte();
        let mut end = End::new(side, how);
        if how < 250 {
            let greeting = end.greeting_of_peer();
            end.receive(&greeting);
            end.serve();
        }
        let mut next = if side == Side::Client { 20 } else { 1 };
        for _ in 0..STEPS_MAX {
            if self.0.is_empty() || end.connection.is_closed() {
                break;
            }
            match self.byte() % 32 {
                0..=15 => {
                    let frame = self.frame(&mut next);
                    end.receive(&frame);
                }
                16 => {
                    // In the midst of a frame.
                    let frame = self.frame(&mut next);
                    let at = usize::from(self.byte()) % frame.len().max(1);
                    end.receive(&frame[..at]);
                    end.pass(self.one_of([
                        Duration::ZERO,
                        Duration::from_millis(1),
                        Duration::from_secs(15),
                    ]));
                    end.receive(&frame[at..]);
                }
                // The same frame, many times: a flood.
                17 => {
                    let frame = self.frame(&mut next);
                    for _ in 0..usize::from(self.byte()) {
                        end.receive(&frame);
                    }
                }
                18..=20 => end.serve(),
                21 | 22 => end.read(),
                23 => end.pass(self.one_of([
                    Duration::ZERO,
                    Duration::from_millis(1),
                    Duration::from_secs(1),
                    Duration::from_secs(11),
                    Duration::from_secs(100),
                ])),
                24 => {
                    let stream = self.stream(next);
                    end.take(stream);
                }
                25 | 26 => {
                    let (stream, bytes, last) =
                        (self.stream(next), self.length(), self.byte().is_multiple_of(4));
                    end.send(stream, bytes as u64, last);
                }
                27 => {
                    let stream = self.stream(next);
                    end.connection.end(stream);
                }
                28 => {
                    let stream = self.stream(next);
                    end.connection.reset(stream, RpcError::new(ErrorKind::NotFound, "not there"));
                }
                29 => {
                    let stream = self.stream(next);
                    end.connection.forget(stream);
                    end.streams.remove(&stream);
                }
                30 if side == Side::Client => {
                    let spec = CallSpec {
                        timeout: self.one_of([None, None, Some(Duration::from_secs(2))]),
                        streaming: self.byte().is_multiple_of(2),
                        window: self.credit(),
                        ..CallSpec::default()
                    };
                    end.call(&spec);
                }
                30 => end.connection.refuse(&RpcError::new(ErrorKind::Unauthenticated, "no")),
                _ => end.connection.close(),
            }
        }
        let alive = !end.connection.is_closed();
        end.finish().map(|()| alive)
    }
}
