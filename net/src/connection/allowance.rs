//! Frames that carry nothing: grants, resets, ends, pings. They need no credit, so something else has to bound them.
//!
//! Traffic explains them: an open, its end and its reset, a grant for what was sent. Each frame of a stream that was sent, each
//! stream that was opened and each ping explains a few; time explains some more. What a peer that keeps to the protocol sends
//! is always explained.

use crate::error::{ErrorKind, Result, RpcError};
use crate::limits::{IDLE_FRAMES_EXPLAINED, IDLE_FRAMES_MAX, IDLE_FRAMES_PER_SECOND};
use crate::time::Time;

/// How many frames that carry nothing a peer may still send.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    /// Up to when time was counted.
    counted_to: Time,
}

impl Allowance {
    pub(super) fn new(now: Time) -> Self {
        Self { left: IDLE_FRAMES_MAX, counted_to: now }
    }

    /// Something happened that lets the peer send a few.
    pub(super) fn explain(&mut self) {
        self.left = (self.left + IDLE_FRAMES_EXPLAINED).min(IDLE_FRAMES_MAX);
    }

    /// One was received.
    ///
    /// # Errors
    /// Where it is one too many.
    pub(super) fn take(&mut self, now: Time) -> Result<()> {
        if self.left == 0 {
            let passed =
                now.since(self.counted_to).as_micros() * u128::from(IDLE_FRAMES_PER_SECOND) / 1_000_000;
            self.left = u32::try_from(passed).unwrap_or(u32::MAX).min(IDLE_FRAMES_MAX);
            self.counted_to = now;
        }
        let left = self.left.checked_sub(1);
        self.left = left.ok_or_else(|| {
            RpcError::new(
                ErrorKind::Protocol,
                format!("the peer floods the connection: {IDLE_FRAMES_MAX} frames that carry nothing and answer nothing"),
            )
        })?;
        Ok(())
    }
}
