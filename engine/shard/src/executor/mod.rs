//! Shards: one pinned thread a core, each with its executor, its device, its arena and its place in a page cache.
//!
//! | module | job |
//! |---|---|
//! | here | [`ShardSet`]: starting, giving tasks to shards from any thread, stopping; what a machine lacks |
//! | `options` | [`ShardOptions`], and which kind of I/O to use |
//! | `shard` | [`Shard`]: what a task finds on its shard |
//! | `task` | [`TaskHandle`], panics and cancellation |
//! | `ring_runtime` | the executor of ring shards: the one file that knows glommio |
//! | `plain_runtime` | the executor of all other shards: plain threads, no io_uring anywhere |
//! | `doorbell` | wake-ups from other threads, collected for a ring shard's pump |
//! | `signal` | a wake-up within one thread |

mod doorbell;
mod options;
mod plain_runtime;
mod ring_runtime;
mod shard;
mod signal;
mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use deltalite_alloc::{BufferPool, NodeId, Placement, PoolOptions, ShardPlace, pin_current_thread};
use futures::channel::mpsc;
use parking_lot::Mutex;

pub(crate) use options::io_mode;
pub use options::{DeviceFactory, IoMode, ShardOptions};
pub use shard::Shard;
pub use task::TaskHandle;
pub(crate) use task::block_on;

use crate::cache::{CacheStats, PageCache};
use crate::degraded::Degraded;
use crate::device::{DeviceKind, DeviceStats, DeviceTokens, IoClass};
use crate::error::ShardError;
use task::Job;

/// Tasks that may wait for a shard to take them up.
const MAILBOX_MAX: usize = 1024;
/// After which a caller with a full mailbox may try again.
const MAILBOX_RETRY: Duration = Duration::from_millis(1);

/// What a shard looks like from outside.
#[derive(Clone, Debug)]
pub struct ShardStats {
    /// Where it runs.
    pub place: ShardPlace,
    /// Its device's counters.
    pub device: DeviceStats,
    /// Tasks on it now.
    pub tasks: usize,
    /// Bytes of its arena in use.
    pub arena_in_use: usize,
    /// Bytes of its arena.
    pub arena_bytes: usize,
    /// Buffers that came from the global pool because the arena was full.
    pub arena_overflows: u64,
}

/// What all shards of a set and their starter share.
struct Common {
    options: ShardOptions,
    tokens: DeviceTokens,
    degraded: Mutex<Vec<Degraded>>,
}

impl Common {
    fn note(&self, degraded: Degraded) {
        let mut all = self.degraded.lock();
        if !all.contains(&degraded) {
            tracing::warn!(%degraded, "running degraded");
            all.push(degraded);
        }
    }
}

/// What a shard's thread is born with.
struct Birth {
    place: ShardPlace,
    common: Arc<Common>,
    mailbox: mpsc::Receiver<Job>,
    arena_made: Sender<(usize, Result<BufferPool, ShardError>)>,
    cache_given: Receiver<Arc<PageCache>>,
    ready: Sender<(usize, Result<(), ShardError>)>,
}

/// What a shard's thread runs on: the parts that exist before its device.
struct Ground {
    place: ShardPlace,
    common: Arc<Common>,
    arena: BufferPool,
    cache: Arc<PageCache>,
}

impl Birth {
    /// Pins the calling thread, makes the arena on it and waits for the node's cache.
    fn settle(&self) -> Option<Ground> {
        let (place, common) = (self.place, Arc::clone(&self.common));
        let index = place.shard as usize;
        if let Err(error) = pin_current_thread(place.pu) {
            common.note(Degraded::NotPinned { shard: place.shard, pu: place.pu, reason: error.to_string() });
        }
        let options = &common.options;
        let made = BufferPool::new(PoolOptions {
            node: Some(place.node),
            huge_pages: options.huge_pages,
            ..PoolOptions::arena(format!("shard {}", place.shard), options.arena_bytes)
        });
        let arena = match made {
            Ok(arena) => arena,
            Err(error) => {
                // A starter that is gone needs no answer, here and below.
                let _ = self.arena_made.send((index, Err(error.into())));
                return None;
            }
        };
        for what in arena.stats().degraded {
            common.note(Degraded::Memory(what));
        }
        let _ = self.arena_made.send((index, Ok(arena.clone())));
        let cache = self.cache_given.recv().ok()?;
        Some(Ground { place, common, arena, cache })
    }

    fn tell(&self, result: Result<(), ShardError>) {
        let _ = self.ready.send((self.place.shard as usize, result));
    }
}

struct Member {
    place: ShardPlace,
    mailbox: Mutex<mpsc::Sender<Job>>,
    cache: Arc<PageCache>,
    thread: Option<JoinHandle<()>>,
}

/// The running shards of a process.
///
/// Dropping the set cancels all tasks and waits for the shards to end; [`shutdown`](Self::shutdown) lets tasks finish.
///
/// ```
/// use deltalite_shard::device::IoClass;
/// use deltalite_shard::executor::{ShardOptions, ShardSet};
///
/// let options = ShardOptions { arena_bytes: 4 << 20, ..ShardOptions::with_shards(2)? };
/// let shards = ShardSet::start(options)?;
/// let task = shards.spawn_on(1, IoClass::Scan, |shard| async move { shard.index() * 10 })?;
/// assert_eq!(task.join()?, 10);
/// # Ok::<(), deltalite_shard::ShardError>(())
/// ```
pub struct ShardSet {
    members: Vec<Member>,
    common: Arc<Common>,
    kind: DeviceKind,
}

impl ShardSet {
    /// Starts a shard at each place of the options' placement and waits until all are ready.
    ///
    /// Where io_uring is refused and the mode is [`IoMode::Auto`], all shards are plain threads instead, which
    /// [`degraded`](Self::degraded) tells.
    pub fn start(options: ShardOptions) -> Result<Self, ShardError> {
        options.check()?;
        let (mode, refusal) = options.resolve_io()?;
        let fallback = match (&options.io, &mode) {
            (IoMode::Auto, IoMode::Ring) => Some(options.clone()),
            _ => None,
        };
        match Self::start_as(options, &mode, refusal) {
            Err(error) if fallback.is_some() => {
                let Some(options) = fallback else { return Err(error) };
                Self::start_as(options, &IoMode::Threads, Some(error.to_string()))
            }
            other => other,
        }
    }

    fn start_as(options: ShardOptions, mode: &IoMode, refusal: Option<String>) -> Result<Self, ShardError> {
        let places = options.placement.shards.clone();
        let common = Arc::new(Common {
            tokens: DeviceTokens::new(options.tokens),
            options,
            degraded: Mutex::new(Vec::new()),
        });
        if let Some(reason) = refusal {
            common.note(Degraded::NoRing { reason });
        }
        if common.options.placement.is_oversubscribed() {
            common.note(Degraded::Oversubscribed { shards: places.len() });
        }
        let (arena_made, arenas_made) = bounded(places.len());
        let (ready, all_ready) = bounded(places.len());
        let mut starting = Vec::new();
        for &place in &places {
            let (mailbox, inbox) = mpsc::channel(MAILBOX_MAX);
            let (give_cache, cache_given) = bounded(1);
            let birth = Birth {
                place,
                common: Arc::clone(&common),
                mailbox: inbox,
                arena_made: arena_made.clone(),
                cache_given,
                ready: ready.clone(),
            };
            let thread = match mode {
                IoMode::Ring | IoMode::Auto => ring_runtime::start(birth),
                IoMode::Threads => plain_runtime::start(birth, None),
                IoMode::Custom(factory) => plain_runtime::start(birth, Some(factory.clone())),
            }?;
            starting.push((place, mailbox, give_cache, thread));
        }
        drop((arena_made, ready));

        // A thread that fails drops its ends of the channels; one that fails early never answers at all.
        let arenas = gather(&arenas_made, &places)?;
        let caches = caches_by_node(&common.options, &places, &arenas);
        let mut members = Vec::new();
        for (place, mailbox, give_cache, thread) in starting {
            let cache = Arc::clone(&caches[&place.node]);
            let _ = give_cache.send(Arc::clone(&cache));
            members.push(Member { place, mailbox: Mutex::new(mailbox), cache, thread: Some(thread) });
        }
        let kind = match mode {
            IoMode::Ring | IoMode::Auto => DeviceKind::Ring,
            IoMode::Threads => DeviceKind::Threads,
            IoMode::Custom(_) => DeviceKind::Sim,
        };
        let set = Self { members, common, kind };
        gather(&all_ready, &places)?;
        Ok(set)
    }

    /// Number of shards.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Never true: a set has at least one shard.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Where the shards run.
    pub fn placement(&self) -> &Placement {
        &self.common.options.placement
    }

    /// What the set was started with.
    pub fn options(&self) -> &ShardOptions {
        &self.common.options
    }

    /// What the shards read with; `Sim` stands for any custom device.
    pub fn device_kind(&self) -> DeviceKind {
        self.kind
    }

    /// The tokens that the devices of all shards share.
    pub fn tokens(&self) -> &DeviceTokens {
        &self.common.tokens
    }

    /// The page cache that shard `shard` uses, shared with the other shards of its node.
    pub fn cache_of(&self, shard: usize) -> Option<&Arc<PageCache>> {
        self.members.get(shard).map(|member| &member.cache)
    }

    /// Counters of each node's cache.
    pub fn cache_stats(&self) -> Vec<(NodeId, CacheStats)> {
        let by_node: BTreeMap<NodeId, &Arc<PageCache>> =
            self.members.iter().map(|member| (member.place.node, &member.cache)).collect();
        by_node.into_iter().map(|(node, cache)| (node, cache.stats())).collect()
    }

    /// What works worse than it could, so far.
    pub fn degraded(&self) -> Vec<Degraded> {
        self.common.degraded.lock().clone()
    }

    /// Gives a task to shard `shard` (counted from 0, modulo the number of shards). Callable from any thread, other
    /// shards included.
    ///
    /// `make` runs on the shard and yields the task's future, which never leaves it. Dropping the handle cancels the
    /// task; a panic in it is the handle's error.
    ///
    /// # Errors
    ///
    /// [`ShardError::Busy`] where too many tasks wait to be taken up, [`ShardError::Stopped`] after the end.
    pub fn spawn_on<T, F, Fut>(
        &self,
        shard: usize,
        class: IoClass,
        make: F,
    ) -> Result<TaskHandle<T>, ShardError>
    where
        T: Send + 'static,
        F: FnOnce(Rc<Shard>) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        let member = &self.members[shard % self.members.len()];
        let (job, handle) = task::job(member.place.shard, class, make);
        let sent = member.mailbox.lock().try_send(job);
        match sent {
            Ok(()) => Ok(handle),
            Err(error) if error.is_full() => {
                Err(ShardError::Busy { stage: "the shard's mailbox", retry_after: MAILBOX_RETRY })
            }
            Err(_) => Err(ShardError::Stopped { shard: member.place.shard }),
        }
    }

    /// Counters of all shards. Blocks until each shard has answered: not to be called on a shard.
    pub fn stats(&self) -> Result<Vec<ShardStats>, ShardError> {
        let asked: Vec<TaskHandle<ShardStats>> = (0..self.len())
            .map(|shard| self.spawn_on(shard, IoClass::Rpc, |shard| async move { shard.stats() }))
            .collect::<Result<_, _>>()?;
        asked.into_iter().map(TaskHandle::join).collect()
    }

    /// Takes no more tasks, lets those that run finish, and ends the shards. Not to be called on a shard.
    pub fn shutdown(mut self) {
        self.stop(&Job::Finish);
    }

    fn stop(&mut self, how: &Job) {
        for member in &self.members {
            let mut mailbox = member.mailbox.lock();
            let stop = if matches!(how, Job::Finish) { Job::Finish } else { Job::Cancel };
            // A clone has a place of its own in the mailbox, so a full one still takes this; one whose shard has
            // ended needs no word.
            let _ = mailbox.clone().try_send(stop);
            mailbox.close_channel();
        }
        for member in &mut self.members {
            // The last owner may be a task on a shard, which ends once this returns.
            if let Some(thread) = member.thread.take()
                && thread.thread().id() != std::thread::current().id()
                && thread.join().is_err()
            {
                tracing::error!(shard = member.place.shard, "a shard's thread panicked");
            }
        }
    }
}

impl Drop for ShardSet {
    fn drop(&mut self) {
        self.stop(&Job::Cancel);
    }
}

impl std::fmt::Debug for ShardSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardSet")
            .field("shards", &self.len())
            .field("device", &self.kind)
            .finish_non_exhaustive()
    }
}

/// One answer of each shard, in the order of the shards.
fn gather<T>(
    answers: &Receiver<(usize, Result<T, ShardError>)>,
    places: &[ShardPlace],
) -> Result<Vec<T>, ShardError> {
    let mut all: BTreeMap<usize, T> = BTreeMap::new();
    while all.len() < places.len() {
        let Ok((index, answer)) = answers.recv() else {
            let missing = places.iter().find(|place| !all.contains_key(&(place.shard as usize)));
            let shard = missing.map_or(0, |place| place.shard);
            let reason = "its thread ended before it was ready; the log says why".to_owned();
            return Err(ShardError::Start { shard, reason });
        };
        all.insert(index, answer?);
    }
    Ok(all.into_values().collect())
}

fn caches_by_node(
    options: &ShardOptions,
    places: &[ShardPlace],
    arenas: &[BufferPool],
) -> BTreeMap<NodeId, Arc<PageCache>> {
    let mut by_node: BTreeMap<NodeId, Vec<BufferPool>> = BTreeMap::new();
    for (place, arena) in places.iter().zip(arenas) {
        by_node.entry(place.node).or_default().push(arena.clone());
    }
    by_node
        .into_iter()
        .map(|(node, arenas)| (node, PageCache::new(options.cache_bytes * arenas.len() as u64, arenas)))
        .collect()
}
