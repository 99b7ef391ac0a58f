//! One contiguous transfer as a pure state machine: what to do next after each answer of the medium.
//!
//! Every device drives the same machine, so what the simulation proves about retries, partial transfers and early
//! ends holds for the ring and the threads.

use super::error::Errno;

/// Attempts without a single byte of progress after which a transfer is given up.
pub(crate) const RETRIES_MAX: u32 = 1000;

/// A stretch of a file on its way from or to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// First byte in the file.
    pub(crate) offset: u64,
    /// Bytes asked for; for reads a whole number of alignment units, possibly reaching past the end of the file.
    pub(crate) len: u32,
    /// Bytes that must arrive for the transfer to be whole: less than `len` only at the end of the file.
    pub(crate) expect: u32,
    /// Bytes that have arrived.
    done: u32,
    /// A continuation must start at a multiple of this.
    alignment: u32,
    stalled: u32,
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Issue [`Transfer::remaining`] again.
    Again,
    /// All expected bytes are there.
    Finished,
    /// The file ended after this many bytes of those expected.
    EndedEarly { got: u32 },
    /// The medium refused.
    Failed(Errno),
    /// Too many fruitless attempts; the last answer.
    NoProgress { retries: u32, errno: Errno },
}

impl Transfer {
    pub(crate) fn new(offset: u64, len: u32, expect: u32, alignment: u32) -> Self {
        debug_assert!(expect <= len && alignment.is_power_of_two());
        Self { offset, len, expect, done: 0, alignment, stalled: 0 }
    }

    /// What is still to be issued: offset within the transfer and length, in bytes.
    pub(crate) fn remaining(&self) -> (u32, u32) {
        (self.done, self.len - self.done)
    }

    /// Takes the medium's answer to the last issue of [`Self::remaining`]: bytes moved, or an error number.
    pub(crate) fn answer(&mut self, answer: Result<u32, Errno>) -> Step {
        match answer {
            Ok(0) if self.expect == 0 => Step::Finished,
            Ok(0) => Step::EndedEarly { got: self.done },
            Ok(moved) => {
                let reached = self.done.saturating_add(moved).min(self.len);
                if reached >= self.expect {
                    self.done = reached;
                    return Step::Finished;
                }
                // A continuation has to be aligned: the bytes behind the last boundary are moved twice.
                let boundary = reached & !(self.alignment - 1);
                if boundary > self.done {
                    self.done = boundary;
                    self.stalled = 0;
                    Step::Again
                } else {
                    self.stall(Errno(libc::EAGAIN))
                }
            }
            Err(errno) if errno.is_retry() => self.stall(errno),
            Err(errno) => Step::Failed(errno),
        }
    }

    fn stall(&mut self, errno: Errno) -> Step {
        self.stalled += 1;
        if self.stalled > RETRIES_MAX {
            Step::NoProgress { retries: RETRIES_MAX, errno }
        } else {
            Step::Again
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_answers_continue_at_a_boundary() {
        let mut transfer = Transfer::new(0, 16384, 16384, 4096);
        assert_eq!(transfer.answer(Ok(5000)), Step::Again);
        assert_eq!(transfer.remaining(), (4096, 12288));
        assert_eq!(transfer.answer(Err(Errno(libc::EINTR))), Step::Again);
        assert_eq!(transfer.answer(Ok(12288)), Step::Finished);
    }

    #[test]
    fn end_of_file_is_whole_when_expected_and_early_otherwise() {
        let mut tail = Transfer::new(8192, 8192, 100, 4096);
        assert_eq!(tail.answer(Ok(100)), Step::Finished);
        let mut cut = Transfer::new(8192, 8192, 5000, 4096);
        assert_eq!(cut.answer(Ok(4500)), Step::Again);
        assert_eq!(cut.answer(Ok(0)), Step::EndedEarly { got: 4096 });
    }

    #[test]
    fn endless_retries_end() {
        let mut transfer = Transfer::new(0, 4096, 4096, 4096);
        let mut steps = 0;
        while transfer.answer(Err(Errno(libc::EAGAIN))) == Step::Again {
            steps += 1;
        }
        assert_eq!(steps, RETRIES_MAX);
        let mut transfer = Transfer::new(0, 8192, 8192, 4096);
        while transfer.answer(Ok(10)) == Step::Again {}
    }

    #[test]
    fn any_split_of_answers_moves_every_byte() {
        let mut rng = crate::device::rng::Rng::new(11);
        for _ in 0..2000 {
            let len = (1 + rng.below(64)) as u32 * 4096;
            let expect = len - rng.below(4096) as u32;
            let mut transfer = Transfer::new(0, len, expect, 4096);
            let mut covered = vec![false; len as usize / 512];
            loop {
                let (at, left) = transfer.remaining();
                assert_eq!(at % 4096, 0);
                let available = expect.saturating_sub(at).min(left);
                let moved =
                    if rng.below(3) == 0 { available } else { rng.below(u64::from(available) + 1) as u32 };
                if moved == 0 {
                    assert_eq!(transfer.answer(Err(Errno(libc::EAGAIN))), Step::Again);
                    continue;
                }
                for sector in at / 512..(at + moved).div_ceil(512) {
                    covered[sector as usize] = true;
                }
                match transfer.answer(Ok(moved)) {
                    Step::Again => {}
                    Step::Finished => break,
                    other => panic!("{other:?}"),
                }
            }
            assert!(covered[..(expect as usize).div_ceil(512)].iter().all(|c| *c));
        }
    }
}
