//! Timing: contestants take turns within each round, so that whatever the machine does meets all of them alike.

use std::any::Any;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cpu::process_time;
use crate::error::Result;

/// What a timed call leaves behind.
pub enum Residue {
    /// Nothing.
    Nothing,
    /// Something to be dropped after the clock stopped.
    Kept(Box<dyn Any>),
    /// Its own timing, which replaces the clock's: of a call that has to prepare something it shouldn't be charged for.
    Timed {
        /// Elapsed seconds.
        seconds: f64,
        /// Processor seconds.
        cpu_seconds: f64,
    },
}

/// One of those that take turns.
pub struct Contestant<'a> {
    /// Name in the details of the report.
    pub name: String,
    /// Done before each call, outside the clock: cold caches, a removed file.
    pub prepare: Box<dyn FnMut() -> Result<()> + 'a>,
    /// What is timed.
    pub run: Box<dyn FnMut() -> Result<Residue> + 'a>,
}

impl<'a> Contestant<'a> {
    /// A contestant with nothing to prepare.
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Result<Residue> + 'a) -> Self {
        Self { name: name.into(), prepare: Box::new(|| Ok(())), run: Box::new(run) }
    }

    /// With something to do before each call.
    #[must_use]
    pub fn prepared(mut self, prepare: impl FnMut() -> Result<()> + 'a) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    fn once(&mut self) -> Result<Sample> {
        (self.prepare)()?;
        let cpu = process_time();
        let start = Instant::now();
        let residue = (self.run)()?;
        let seconds = start.elapsed().as_secs_f64();
        let cpu_seconds = process_time().saturating_sub(cpu).as_secs_f64();
        Ok(match residue {
            Residue::Timed { seconds, cpu_seconds } => Sample { seconds, cpu_seconds },
            Residue::Nothing | Residue::Kept(_) => Sample { seconds, cpu_seconds },
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: f64,
    cpu_seconds: f64,
}

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Budget {
    /// Time each contestant may take, all rounds together, in seconds.
    pub seconds: f64,
    /// Rounds even for the slow, except for what takes longer than twice `seconds`.
    pub rounds_min: usize,
    /// Rounds even for the fastest.
    pub rounds_max: usize,
}

impl Budget {
    /// For figures to publish.
    pub const FULL: Self = Self { seconds: 2.0, rounds_min: 5, rounds_max: 100 };
    /// For a first impression.
    pub const QUICK: Self = Self { seconds: 0.6, rounds_min: 3, rounds_max: 40 };

    fn rounds(self, once: Duration) -> usize {
        let rounds = (self.seconds / once.as_secs_f64().max(1e-9)) as usize;
        // What takes longer than twice the budget (NDJSON does) isn't worth waiting for again and again.
        if once.as_secs_f64() > 2.0 * self.seconds {
            1
        } else {
            rounds.clamp(self.rounds_min, self.rounds_max)
        }
    }
}

/// All timings of one contestant, in the order taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Samples {
    /// Name of the contestant.
    pub name: String,
    /// Elapsed seconds of each call.
    pub seconds: Vec<f64>,
    /// Processor seconds of each call, all threads together.
    pub cpu_seconds: Vec<f64>,
}

impl Samples {
    /// Middle of the elapsed seconds.
    pub fn median(&self) -> f64 {
        median(&self.seconds)
    }

    /// Shortest of the elapsed seconds.
    pub fn minimum(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Middle of the processor seconds.
    pub fn cpu_median(&self) -> f64 {
        median(&self.cpu_seconds)
    }
}

/// Middle value; the mean of the middle two when their number is even, NaN when there are none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Name under which the first contestant's second part in a comparison is reported.
pub const SAME_AGAIN: &str = "same_again";

/// Lets contestants take turns: in each round every one whose share of rounds isn't used up runs once, and who begins
/// changes from round to round. The first call of each is a warm-up and decides its number of rounds.
///
/// The first contestant takes part twice, as the first two of the results: what separates it from itself is noise.
pub fn interleave(contestants: &mut [Contestant<'_>], budget: Budget) -> Result<Vec<Samples>> {
    let mut turns: Vec<usize> = (0..contestants.len()).collect();
    turns.insert(turns.len().min(1), 0);
    let mut shares = Vec::with_capacity(contestants.len());
    for contestant in contestants.iter_mut() {
        let warm_up = contestant.once()?;
        shares.push(budget.rounds(Duration::from_secs_f64(warm_up.seconds)));
    }
    let rounds = shares.iter().copied().max().unwrap_or(0);
    let mut results: Vec<Samples> = turns
        .iter()
        .enumerate()
        .map(|(turn, which)| Samples {
            name: if turn == 1 { SAME_AGAIN.to_owned() } else { contestants[*which].name.clone() },
            seconds: Vec::new(),
            cpu_seconds: Vec::new(),
        })
        .collect();
    for round in 0..rounds {
        for turn in 0..turns.len() {
            let turn = (turn + round) % turns.len();
            let which = turns[turn];
            // Spreads a contestant's turns evenly over all rounds.
            if (round + 1) * shares[which] / rounds == round * shares[which] / rounds {
                continue;
            }
            let sample = contestants[which].once()?;
            results[turn].seconds.push(sample.seconds);
            results[turn].cpu_seconds.push(sample.cpu_seconds);
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_string(), "2");
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).to_string(), "2.5");
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn contestants_take_turns_and_each_gets_its_share() {
        let order = RefCell::new(Vec::new());
        let mut contestants: Vec<Contestant<'_>> = ["a", "b"]
            .into_iter()
            .map(|name| {
                let order = &order;
                Contestant::new(name, move || {
                    order.borrow_mut().push(name);
                    Ok(Residue::Nothing)
                })
            })
            .collect();
        let budget = Budget { seconds: 1000.0, rounds_min: 1, rounds_max: 3 };
        let samples = interleave(&mut contestants, budget).unwrap();
        assert_eq!(samples.iter().map(|s| s.seconds.len()).collect::<Vec<_>>(), [3, 3, 3]);
        assert_eq!(samples.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a", SAME_AGAIN, "b"]);
        drop(contestants);
        assert_eq!(order.into_inner(), ["a", "b", "a", "a", "b", "a", "b", "a", "b", "a", "a"]);
    }
}
