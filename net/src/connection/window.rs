//! The receiver's side of a stream's credit: how far ahead the sender may go, and when to tell it.

use std::time::Duration;

use deltalite_alloc::Reservation;

use crate::time::Time;

/// Bytes that a stream's sender may have on the way, and what backs them.
///
/// What is granted is a total that only grows (as QUIC's MAX_DATA), so that a repeated grant is harmless:
///
/// ```text
///       taken              received                granted
///  ───────┼───────────────────┼───────────────────────┼────────►  bytes of the stream
///         └── in the inbox ───┴─ on the way, at most ──┘
///         └────────────────── size, at most ───────────┘
/// ```
#[derive(Debug)]
pub(super) struct Window {
    /// What the stream's largest frame takes, in bytes: what an idle stream always has room for.
    pub floor: u64,
    /// Bytes granted beyond what was taken.
    pub size: u64,
    /// The total granted, told or about to be told.
    pub granted: u64,
    /// Bytes received so far.
    pub received: u64,
    /// Bytes that the application took so far.
    pub taken: u64,
    /// Since when, and how much was taken since: how quickly the window is used up.
    measured_from: Time,
    measured: u64,
    reserved: Option<Reservation>,
}

impl Window {
    pub(super) fn new(size: u64, floor: u64, reserved: Option<Reservation>, now: Time) -> Self {
        Self { floor, size, granted: size, received: 0, taken: 0, measured_from: now, measured: 0, reserved }
    }

    /// No window: nothing is to be received.
    pub(super) fn closed() -> Self {
        Self::new(0, 0, None, Time::default())
    }

    /// Bytes received that nobody took yet.
    pub(super) fn waiting(&self) -> u64 {
        self.received - self.taken
    }

    /// The application took `bytes`. True where the sender is to be told a new total.
    ///
    /// A window of which half is used up within two round trips limits its sender, so it doubles as far as `room` (bytes that the
    /// connection's window has left) and the budget go. One whose budget has become tight shrinks. `resized` is told by how much.
    pub(super) fn take(&mut self, bytes: u64, now: Time, round_trip: Duration, room: u64) -> bool {
        self.taken += bytes;
        self.measured += bytes;
        if self.measured >= self.size / 2 {
            if now.since(self.measured_from) < round_trip * 2 {
                self.widen(room);
            } else if self.is_tight() {
                self.narrow();
            }
            (self.measured_from, self.measured) = (now, 0);
        }
        let target = self.taken + self.size;
        let ahead = self.granted - self.received;
        if target <= self.granted || (target - self.granted < self.size / 2 && ahead >= self.floor) {
            return false;
        }
        self.granted = target;
        true
    }

    fn widen(&mut self, room: u64) {
        let more = self.size.min(room).min(super::STREAM_WINDOW_BYTES_MAX.saturating_sub(self.size));
        if more > 0 && self.reserved.as_mut().is_none_or(|reserved| reserved.grow(more as usize).is_ok()) {
            self.size += more;
        }
    }

    fn narrow(&mut self) {
        let less = (self.size / 2).min(self.size.saturating_sub(self.floor));
        self.size -= less;
        if let Some(reserved) = &mut self.reserved {
            reserved.shrink(less as usize);
        }
    }

    /// Whether the budget that backs the window has less left than the window has.
    fn is_tight(&self) -> bool {
        self.reserved.as_ref().is_some_and(|reserved| (reserved.budget().available() as u64) < self.size)
    }
}
