//! A tree of memory budgets: process, then shard or query, then operator.
//!
//! - here: [`MemoryBudget`] and [`Reservation`], which hold on to the tree
//! - `tree`: what is used and who waits, without locks
//! - `wait`: waiting, as a future or on a thread
//!
//! One lock covers a whole tree: reserve memory by the batch or the chunk, not by the row.

mod tree;
mod wait;

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::AllocError;
use tree::{Refusal, Tree};
pub use wait::Reserve;

/// A limit in bytes on what is reserved from it and from the budgets below it. Cloning makes another handle
/// to the same budget.
///
/// ```
/// use deltalite_alloc::{AllocError, MemoryBudget};
///
/// let process = MemoryBudget::root("process", 1000);
/// let query = process.child("query 7", 800);
/// let sort = query.child("sort", usize::MAX); // as much as the query has
///
/// let rows = sort.try_reserve(700)?;
/// assert_eq!(process.usage(), 700);
/// let refused = query.try_reserve(200).unwrap_err();
/// assert!(matches!(refused, AllocError::BudgetExceeded { used: 700, limit: 800, .. }));
/// drop(rows);
/// assert_eq!((process.usage(), process.peak()), (0, 700));
/// # Ok::<(), AllocError>(())
/// ```
///
/// Who can't get memory at once may wait, first come first served among those who need the same room:
///
/// ```
/// use std::time::Duration;
/// use deltalite_alloc::MemoryBudget;
///
/// let budget = MemoryBudget::root("process", 100);
/// let held = budget.try_reserve(100)?;
/// let waiting = std::thread::spawn({
///     let budget = budget.clone();
///     move || budget.reserve_blocking(60, Duration::from_secs(60))
/// });
/// drop(held);
/// let granted = waiting.join().map_err(|_| "the thread panicked")??;
/// assert_eq!(granted.bytes(), 60);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryBudget {
    node: Arc<Node>,
}

/// Keeps a budget in its tree, and those above it.
struct Node {
    shared: Arc<Shared>,
    slot: usize,
    parent: Option<Arc<Node>>,
}

/// What all budgets of a tree share.
struct Shared {
    tree: Mutex<Tree>,
    /// Who holds bytes that it could do without, with the budgets that the bytes are reserved from. They keep
    /// their budget in the tree.
    reclaimers: Mutex<Vec<(Weak<dyn Reclaim>, usize)>>,
}

/// Holds on to reserved bytes that it could do without.
pub(crate) trait Reclaim: Send + Sync {
    /// Gives back what it can. Called without any lock held.
    fn reclaim(&self);
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.tree.lock().remove(self.slot);
    }
}

impl MemoryBudget {
    /// A budget of `limit_bytes` that is part of no other.
    pub fn root(name: impl Into<String>, limit_bytes: usize) -> MemoryBudget {
        let mut tree = Tree::new();
        let slot = tree.add(name.into(), None, limit_bytes);
        let shared = Arc::new(Shared { tree: Mutex::new(tree), reclaimers: Mutex::default() });
        MemoryBudget { node: Arc::new(Node { shared, slot, parent: None }) }
    }

    /// A budget of at most `limit_bytes` within this one. Limits below may add up to more than the limit
    /// above: what counts is what is reserved.
    pub fn child(&self, name: impl Into<String>, limit_bytes: usize) -> MemoryBudget {
        let slot = self.tree().add(name.into(), Some(self.node.slot), limit_bytes);
        let (shared, parent) = (Arc::clone(&self.node.shared), Some(Arc::clone(&self.node)));
        MemoryBudget { node: Arc::new(Node { shared, slot, parent }) }
    }

    /// The budget that this is part of.
    pub fn parent(&self) -> Option<MemoryBudget> {
        self.node.parent.clone().map(|node| MemoryBudget { node })
    }

    /// Reserves `bytes` now. Refused where a limit leaves no room, and where others already wait for that
    /// room.
    pub fn try_reserve(&self, bytes: usize) -> Result<Reservation, AllocError> {
        self.charge(bytes)?;
        Ok(Reservation::granted(self.clone(), bytes))
    }

    /// Reserves `bytes`, waiting its turn if need be. The future needs no runtime, and may be dropped at any
    /// time. It fails only when a limit can never hold as much.
    pub fn reserve(&self, bytes: usize) -> Reserve {
        Reserve::new(self.clone(), bytes)
    }

    /// Reserves `bytes`, keeping this thread waiting for up to `timeout`.
    pub fn reserve_blocking(&self, bytes: usize, timeout: Duration) -> Result<Reservation, AllocError> {
        let started = Instant::now();
        // A timeout beyond what the clock can hold is none.
        self.reserve(bytes).wait(started.checked_add(timeout)).unwrap_or_else(|| {
            let tree = self.tree();
            let slot = tree.slot(self.node.slot);
            Err(AllocError::BudgetTimeout {
                budget: tree.path_name(self.node.slot),
                asked: bytes,
                used: slot.used,
                limit: slot.limit,
                waited: timeout,
            })
        })
    }

    /// Its name, after those of the budgets above it: `process/query 7/sort`.
    pub fn name(&self) -> String {
        self.tree().path_name(self.node.slot)
    }

    /// Bytes reserved from it and from the budgets below it.
    pub fn usage(&self) -> usize {
        self.tree().slot(self.node.slot).used
    }

    /// The most that `usage` has been.
    pub fn peak(&self) -> usize {
        self.tree().slot(self.node.slot).peak
    }

    /// Its own limit in bytes; those above may be lower.
    pub fn limit(&self) -> usize {
        self.tree().slot(self.node.slot).limit
    }

    /// Bytes that a reservation could get now: the least that is left on the way to the root.
    pub fn available(&self) -> usize {
        let tree = self.tree();
        let mut least = usize::MAX;
        let mut next = Some(self.node.slot);
        while let Some(slot) = next {
            let slot = tree.slot(slot);
            least = least.min(slot.limit - slot.used);
            next = slot.parent;
        }
        least
    }

    /// This budget and all below it, as they are at one moment.
    pub fn snapshot(&self) -> BudgetSnapshot {
        BudgetSnapshot::of(&self.tree(), self.node.slot)
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.node.shared.tree.lock()
    }

    fn slot(&self) -> usize {
        self.node.slot
    }

    /// As [`try_reserve`](Self::try_reserve), without asking pools to give memory back: for pools, under
    /// their locks.
    pub(crate) fn try_reserve_unassisted(&self, bytes: usize) -> Result<Reservation, AllocError> {
        let done = self.tree().try_reserve(self.node.slot, bytes);
        done.map_err(|refusal| self.error(bytes, refusal))?;
        Ok(Reservation::granted(self.clone(), bytes))
    }

    /// Has `reclaimer`, which keeps a handle to this budget, give bytes back when they are needed elsewhere.
    pub(crate) fn add_reclaimer(&self, reclaimer: Weak<dyn Reclaim>) {
        let mut reclaimers = self.node.shared.reclaimers.lock();
        reclaimers.retain(|(known, _)| known.strong_count() > 0);
        reclaimers.push((reclaimer, self.node.slot));
    }

    /// Whether somebody waits for bytes that are reserved from this budget.
    pub(crate) fn is_awaited(&self) -> bool {
        self.tree().is_blocked(self.node.slot)
    }

    fn charge(&self, bytes: usize) -> Result<(), AllocError> {
        let mut done = self.tree().try_reserve(self.node.slot, bytes);
        if let Err(Refusal::Full(full)) = done {
            self.reclaim(|tree, slot| tree.is_within(slot, full));
            done = self.tree().try_reserve(self.node.slot, bytes);
        }
        done.map_err(|refusal| self.error(bytes, refusal))
    }

    /// Asks for the bytes that waiters need.
    fn reclaim_for_waiters(&self) {
        self.reclaim(Tree::is_blocked);
    }

    /// Has those give back what they can whose budgets are `wanted`.
    fn reclaim(&self, wanted: impl Fn(&Tree, usize) -> bool) {
        // Collected first: whoever drops its last handle here, or gives back, must find no lock held.
        let holders: Vec<(Arc<dyn Reclaim>, usize)> = {
            let reclaimers = self.node.shared.reclaimers.lock();
            reclaimers.iter().filter_map(|(holder, slot)| Some((holder.upgrade()?, *slot))).collect()
        };
        for (holder, slot) in holders {
            let is_wanted = wanted(&self.tree(), slot);
            if is_wanted {
                holder.reclaim();
            }
        }
    }

    fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.update(|tree| tree.release(self.node.slot, bytes));
        }
    }

    /// Changes the tree, then wakes who was granted something, without any lock held.
    fn update(&self, change: impl FnOnce(&mut Tree) -> Vec<Waker>) {
        let (wakers, reclaims) = {
            let mut tree = self.tree();
            (change(&mut tree), tree.take_newly_blocked())
        };
        wakers.into_iter().for_each(Waker::wake);
        // A waiter that found its own budget full finds one above full now.
        if reclaims {
            self.reclaim_for_waiters();
        }
    }

    fn error(&self, asked: usize, refusal: Refusal) -> AllocError {
        let tree = self.tree();
        match refusal {
            Refusal::Full(slot) => AllocError::BudgetExceeded {
                budget: tree.path_name(slot),
                asked,
                used: tree.slot(slot).used,
                limit: tree.slot(slot).limit,
            },
            Refusal::TooSmall(slot) => AllocError::BudgetTooSmall {
                budget: tree.path_name(slot),
                asked,
                limit: tree.slot(slot).limit,
            },
        }
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryBudget").field(&self.name()).finish()
    }
}

/// Bytes reserved from a budget, given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    bytes: usize,
}

impl Reservation {
    /// Takes over bytes that the tree has charged.
    fn granted(budget: MemoryBudget, bytes: usize) -> Self {
        Self { budget, bytes }
    }

    /// How much it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it is reserved from.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Reserves `more` bytes now, or changes nothing.
    pub fn grow(&mut self, more: usize) -> Result<(), AllocError> {
        self.budget.charge(more)?;
        self.bytes += more;
        Ok(())
    }

    /// Gives `less` bytes back.
    ///
    /// # Panics
    ///
    /// When it doesn't hold as much.
    pub fn shrink(&mut self, less: usize) {
        assert!(less <= self.bytes, "giving back {less} bytes of a reservation of {}", self.bytes);
        self.bytes -= less;
        self.budget.release(less);
    }

    /// Grows or shrinks to `bytes`.
    pub fn resize(&mut self, bytes: usize) -> Result<(), AllocError> {
        if bytes > self.bytes {
            self.grow(bytes - self.bytes)
        } else {
            self.shrink(self.bytes - bytes);
            Ok(())
        }
    }

    /// Parts with `bytes` of it, which the new reservation holds from now on.
    ///
    /// # Panics
    ///
    /// When it doesn't hold as much.
    pub fn split(&mut self, bytes: usize) -> Reservation {
        assert!(bytes <= self.bytes, "splitting {bytes} bytes off a reservation of {}", self.bytes);
        self.bytes -= bytes;
        Reservation::granted(self.budget.clone(), bytes)
    }

    /// Takes over what `other` holds; gives it back unchanged when it is of another budget.
    pub fn absorb(&mut self, mut other: Reservation) -> Result<(), Reservation> {
        if !Arc::ptr_eq(&self.budget.node, &other.budget.node) {
            return Err(other);
        }
        self.bytes += std::mem::take(&mut other.bytes);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

/// A budget and those below it at one moment.
///
/// ```
/// use deltalite_alloc::MemoryBudget;
///
/// let process = MemoryBudget::root("process", 1 << 30);
/// let scan = process.child("scan", 64 << 20);
/// let _held = scan.try_reserve(16 << 20)?;
/// assert_eq!(
///     process.snapshot().to_string(),
///     "process: 16.0 MiB of 1.0 GiB, peak 16.0 MiB\n  scan: 16.0 MiB of 64.0 MiB, peak 16.0 MiB\n"
/// );
/// # Ok::<(), deltalite_alloc::AllocError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetSnapshot {
    /// Its own name.
    pub name: String,
    /// Its limit in bytes.
    pub limit: usize,
    /// Bytes reserved from it and from those below it.
    pub used: usize,
    /// The most that `used` has been.
    pub peak: usize,
    /// Requests for it that wait.
    pub waiting: usize,
    /// Requests for it that were refused so far.
    pub refused: u64,
    /// The budgets below it.
    pub children: Vec<BudgetSnapshot>,
}

impl BudgetSnapshot {
    fn of(tree: &Tree, slot: usize) -> Self {
        let children = tree.children(slot).into_iter().map(|child| Self::of(tree, child)).collect();
        let slot = tree.slot(slot);
        Self {
            name: slot.name.clone(),
            limit: slot.limit,
            used: slot.used,
            peak: slot.peak,
            waiting: slot.waiting,
            refused: slot.refused,
            children,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{:1$}{2}: {3}", "", depth * 2, self.name, human_bytes(self.used))?;
        if self.limit < usize::MAX {
            write!(f, " of {}", human_bytes(self.limit))?;
        }
        write!(f, ", peak {}", human_bytes(self.peak))?;
        if self.waiting > 0 {
            write!(f, ", {} waiting", self.waiting)?;
        }
        if self.refused > 0 {
            write!(f, ", {} refused", self.refused)?;
        }
        writeln!(f)?;
        self.children.iter().try_for_each(|child| child.write(f, depth + 1))
    }
}

impl fmt::Display for BudgetSnapshot {
    /// A line for each budget, indented by its depth.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

fn human_bytes(bytes: usize) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(UNITS.len() as u32);
    format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * power)) as f64, UNITS[power as usize - 1])
}
