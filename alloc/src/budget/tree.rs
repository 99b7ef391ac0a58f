//! The state of one tree of budgets, without locks: what is used where, and who waits for what.
//!
//! A request fits when it fits into its budget and into every budget above it. Those that don't fit wait in
//! the order of their arrival. A waiter *blocks* the budgets it doesn't fit into: no later request gets room
//! there before it does, while requests that don't touch those budgets pass. So a large request isn't starved
//! by small ones, and a query that waits for its own memory holds up no other query.

use std::collections::BTreeMap;
use std::task::Waker;

/// The first budget of a tree, above all others.
const ROOT: usize = 0;

/// The pass in which nothing was blocked: before the first.
const NEVER: u64 = 0;

/// One budget.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) parent: Option<usize>,
    pub(super) limit: usize,
    pub(super) used: usize,
    pub(super) peak: usize,
    pub(super) refused: u64,
    /// Requests for this budget itself that wait.
    pub(super) waiting: usize,
    /// The pass in which a waiter last blocked this budget.
    blocked_in: u64,
}

struct Waiter {
    slot: usize,
    bytes: usize,
    waker: Waker,
}

/// Why a request can't be granted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It may be later: this budget is full, or others wait for it.
    Full(usize),
    /// It never can: this budget's limit is less.
    TooSmall(usize),
}

/// How a waiting request stands.
pub(super) enum Standing {
    Granted,
    Waiting,
}

/// All budgets below one root.
pub(super) struct Tree {
    slots: Vec<Option<Slot>>,
    /// Waiting requests by ticket, the oldest first.
    queue: BTreeMap<u64, Waiter>,
    /// Tickets whose bytes are reserved and that were not fetched yet, with their budgets and bytes.
    granted: BTreeMap<u64, (usize, usize)>,
    next_ticket: u64,
    pass: u64,
    /// Whether a waiter blocks a budget that it, or another, didn't block in the pass before.
    newly_blocked: bool,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            queue: BTreeMap::new(),
            granted: BTreeMap::new(),
            next_ticket: 0,
            pass: NEVER + 1,
            newly_blocked: false,
        }
    }

    pub(super) fn add(&mut self, name: String, parent: Option<usize>, limit: usize) -> usize {
        let slot = Slot { name, parent, limit, used: 0, peak: 0, refused: 0, waiting: 0, blocked_in: NEVER };
        if let Some(free) = self.slots.iter().position(Option::is_none) {
            self.slots[free] = Some(slot);
            free
        } else {
            self.slots.push(Some(slot));
            self.slots.len() - 1
        }
    }

    pub(super) fn remove(&mut self, slot: usize) {
        debug_assert_eq!(self.slot(slot).used, 0);
        self.slots[slot] = None;
    }

    pub(super) fn slot(&self, slot: usize) -> &Slot {
        match &self.slots[slot] {
            Some(slot) => slot,
            None => unreachable!("a handle keeps its budget and those above it in the tree"),
        }
    }

    fn slot_mut(&mut self, slot: usize) -> &mut Slot {
        match &mut self.slots[slot] {
            Some(slot) => slot,
            None => unreachable!("a handle keeps its budget and those above it in the tree"),
        }
    }

    /// The budgets directly below one.
    pub(super) fn children(&self, of: usize) -> Vec<usize> {
        (0..self.slots.len())
            .filter(|slot| self.slots[*slot].as_ref().is_some_and(|s| s.parent == Some(of)))
            .collect()
    }

    /// Names from the root down, joined by `/`.
    pub(super) fn path_name(&self, slot: usize) -> String {
        let mut names: Vec<&str> = self.path(slot).map(|slot| self.slot(slot).name.as_str()).collect();
        names.reverse();
        names.join("/")
    }

    /// Reserves at once, or not at all.
    pub(super) fn try_reserve(&mut self, slot: usize, bytes: usize) -> Result<(), Refusal> {
        let refusal = self.refusal(slot, bytes);
        match refusal {
            None => {
                self.charge(slot, bytes);
                Ok(())
            }
            Some(refusal) => {
                self.slot_mut(slot).refused += 1;
                Err(refusal)
            }
        }
    }

    /// Reserves at once, or joins the queue and returns the ticket.
    pub(super) fn reserve_or_wait(
        &mut self,
        slot: usize,
        bytes: usize,
        waker: Waker,
    ) -> Result<Option<u64>, Refusal> {
        match self.refusal(slot, bytes) {
            None => {
                self.charge(slot, bytes);
                Ok(None)
            }
            Some(Refusal::Full(_)) => {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.slot_mut(slot).waiting += 1;
                if !self.is_blocked(slot) {
                    self.block(slot, bytes, self.pass);
                }
                self.queue.insert(ticket, Waiter { slot, bytes, waker });
                Ok(Some(ticket))
            }
            Some(refusal) => {
                self.slot_mut(slot).refused += 1;
                Err(refusal)
            }
        }
    }

    /// Fetches what a ticket was granted, or has `waker` woken when it is. The waker that is of no more use
    /// is for the caller to drop, outside of any lock: dropping it may run anybody's code.
    pub(super) fn fetch(&mut self, ticket: u64, waker: Waker) -> (Standing, Option<Waker>) {
        if self.granted.remove(&ticket).is_some() {
            return (Standing::Granted, Some(waker));
        }
        let old = self.queue.get_mut(&ticket).map(|waiter| std::mem::replace(&mut waiter.waker, waker));
        (Standing::Waiting, old)
    }

    /// Gives a ticket up, whether it waits or was granted. The wakers are for the caller to wake, outside of
    /// any lock; its own among them does no harm.
    pub(super) fn cancel(&mut self, ticket: u64) -> Vec<Waker> {
        let mut wakers = Vec::new();
        if let Some(waiter) = self.queue.remove(&ticket) {
            self.slot_mut(waiter.slot).waiting -= 1;
            wakers = self.grant();
            wakers.push(waiter.waker);
        } else if let Some((slot, bytes)) = self.granted.remove(&ticket) {
            wakers = self.release(slot, bytes);
        }
        wakers
    }

    /// Gives bytes back. The wakers of those who got them are for the caller to wake, outside of any lock.
    pub(super) fn release(&mut self, slot: usize, bytes: usize) -> Vec<Waker> {
        let mut next = Some(slot);
        while let Some(slot) = next {
            let slot = self.slot_mut(slot);
            debug_assert!(slot.used >= bytes);
            slot.used -= bytes;
            next = slot.parent;
        }
        if self.queue.is_empty() { Vec::new() } else { self.grant() }
    }

    /// Grants what fits, the oldest first; whoever stays blocks the budgets that are too full for it.
    fn grant(&mut self) -> Vec<Waker> {
        self.pass += 1;
        let mut wakers = Vec::new();
        let mut from = 0;
        // Every request needs room in the root: once that is blocked, all the younger ones stay.
        while self.slot(ROOT).blocked_in != self.pass {
            let Some((&ticket, waiter)) = self.queue.range(from..).next() else { break };
            let (slot, bytes) = (waiter.slot, waiter.bytes);
            from = ticket + 1;
            if self.refusal(slot, bytes).is_none() {
                self.charge(slot, bytes);
                self.slot_mut(slot).waiting -= 1;
                self.granted.insert(ticket, (slot, bytes));
                wakers.extend(self.queue.remove(&ticket).map(|waiter| waiter.waker));
            } else if !self.is_blocked(slot) {
                self.block(slot, bytes, self.pass - 1);
            }
        }
        wakers
    }

    /// Why a request that arrives now can't be granted, if so.
    fn refusal(&self, slot: usize, bytes: usize) -> Option<Refusal> {
        if bytes == 0 {
            return None;
        }
        let mut full = None;
        for slot in self.path(slot) {
            let state = self.slot(slot);
            if bytes > state.limit {
                return Some(Refusal::TooSmall(slot));
            }
            if full.is_none() && (bytes > state.limit - state.used || state.blocked_in == self.pass) {
                full = Some(Refusal::Full(slot));
            }
        }
        full
    }

    /// Whether budgets have come to be blocked since this was last asked: then who holds bytes of them that
    /// it could do without should give them back.
    pub(super) fn take_newly_blocked(&mut self) -> bool {
        std::mem::take(&mut self.newly_blocked)
    }

    /// Whether `slot` is `above` or below it.
    pub(super) fn is_within(&self, slot: usize, above: usize) -> bool {
        self.path(slot).any(|slot| slot == above)
    }

    /// Whether a waiter blocks this budget or one above it.
    pub(super) fn is_blocked(&self, slot: usize) -> bool {
        self.path(slot).any(|slot| self.slot(slot).blocked_in == self.pass)
    }

    /// Blocks the budgets that are too full for a request. Those that were blocked in the pass `before` are
    /// not newly so.
    fn block(&mut self, slot: usize, bytes: usize, before: u64) {
        let pass = self.pass;
        let mut next = Some(slot);
        while let Some(slot) = next {
            let slot = self.slot_mut(slot);
            next = slot.parent;
            if bytes > slot.limit - slot.used {
                let last = std::mem::replace(&mut slot.blocked_in, pass);
                self.newly_blocked |= last != pass && last != before;
            }
        }
    }

    fn charge(&mut self, slot: usize, bytes: usize) {
        let mut next = Some(slot);
        while let Some(slot) = next {
            let slot = self.slot_mut(slot);
            slot.used += bytes;
            debug_assert!(slot.used <= slot.limit);
            slot.peak = slot.peak.max(slot.used);
            next = slot.parent;
        }
    }

    /// A budget and those above it.
    fn path(&self, slot: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(Some(slot), |slot| self.slot(*slot).parent)
    }
}
