//! Time: calls whose time is over, peers that are silent, frames that begin and do not end.

use std::time::Duration;

use super::{Connection, Phase};
use crate::error::{ErrorKind, RpcError};
use crate::frame::{Header, Kind};
use crate::limits::FRAME_RATE_MIN;
use crate::time::Time;

impl Connection {
    /// When [`Self::tick`] is to be called, at the latest.
    pub fn wake_at(&self) -> Option<Time> {
        match self.phase {
            Phase::Closed => None,
            Phase::Greeting => Some(self.first_deadline(self.greeted_by)),
            Phase::Open | Phase::Draining => {
                let alive = match (self.whole_by, self.pinged) {
                    (Some(whole_by), _) => whole_by,
                    (None, Some((_, at))) => at.max(self.heard_at).after(self.config.ping_timeout),
                    (None, None) => self.heard_at.after(self.config.ping_after),
                };
                Some(self.first_deadline(self.idle_at().map_or(alive, |idle| alive.min(idle))))
            }
        }
    }

    /// When the connection closes itself, unless there is a call before.
    fn idle_at(&self) -> Option<Time> {
        let open = self.phase == Phase::Open && self.streams.is_empty();
        self.config.idle_timeout.filter(|_| open).map(|timeout| self.used_at.after(timeout))
    }

    fn first_deadline(&self, or: Time) -> Time {
        self.deadlines.first().map_or(or, |(at, _)| or.min(*at))
    }

    /// Time has passed: calls whose time is over end, a silent peer is pinged or given up.
    pub fn tick(&mut self, now: Time) {
        if std::mem::take(&mut self.used) {
            self.used_at = now;
        }
        while let Some(&(at, stream)) = self.deadlines.first() {
            if at > now {
                break;
            }
            self.deadlines.pop_first();
            self.reset(
                stream,
                RpcError::new(ErrorKind::DeadlineExceeded, "the time allowed for the call is over"),
            );
        }
        match self.phase {
            Phase::Closed => {}
            Phase::Greeting if now < self.greeted_by => {}
            Phase::Greeting => {
                let waited = self.config.handshake_timeout;
                let error = RpcError::new(
                    ErrorKind::Unavailable,
                    format!("the peer did not finish the handshake within {waited:?}"),
                );
                self.fail(&error, true);
            }
            Phase::Open | Phase::Draining if self.idle_at().is_some_and(|at| at <= now) => self.close(),
            Phase::Open | Phase::Draining => self.keep_alive(now),
        }
    }

    /// How long a frame with a body of so many bytes may take to arrive: what a silent peer has, and what the slowest link needs.
    fn frame_time(&self, bytes: u64) -> Duration {
        self.config.ping_after
            + self.config.ping_timeout
            + Duration::from_micros(bytes.saturating_mul(1_000_000) / FRAME_RATE_MIN)
    }

    /// A body begins to arrive. While it does in time its sender is alive, and can answer no ping before its end.
    pub(super) fn await_body(&mut self, bytes: u64, now: Time) {
        self.whole_by = (bytes > 0).then(|| now.after(self.frame_time(bytes)));
    }

    fn keep_alive(&mut self, now: Time) {
        if let Some(whole_by) = self.whole_by {
            if now >= whole_by {
                let silent = now.since(self.heard_at);
                let what = format!(
                    "a frame of the peer has begun and did not arrive whole; the last one did {silent:?} ago"
                );
                self.fail(&RpcError::new(ErrorKind::Unavailable, what), true);
            }
            return;
        }
        match self.pinged {
            Some((_, at)) if now < at.max(self.heard_at).after(self.config.ping_timeout) => {}
            Some(_) => {
                let silent = now.since(self.heard_at);
                let error = RpcError::new(
                    ErrorKind::Unavailable,
                    format!("nothing was heard from the peer for {silent:?}, pings included"),
                );
                self.fail(&error, false);
            }
            None if now >= self.heard_at.after(self.config.ping_after) => self.ping(now),
            None => {}
        }
    }

    /// Asks the peer for a sign of life, and how long it takes.
    pub(super) fn ping(&mut self, now: Time) {
        self.pings += 1;
        self.pinged = Some((self.pings, now));
        self.allowance.explain();
        let mut header = Header::new(Kind::Ping, 0);
        header.credit = self.pings;
        self.control.push_back((header, Vec::new(), Vec::new()));
    }
}
