//! Every limit and default of the log.

/// Most bytes of one line. A schema of a hundred thousand columns fits.
pub const LINE_BYTES_MAX: usize = 64 << 20;
/// Most bytes of a commit file or checkpoint that a reader takes into memory.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
/// Deepest nesting of objects and arrays in a line; the deepest that is defined has five levels, statistics one more a nested field.
pub const DEPTH_MAX: usize = 64;
/// Most versions committed together as one group, and most in one file.
pub const GROUP_VERSIONS_MAX: usize = 1024;
/// Bytes of a commit file after which the next commit begins another. Who follows the log reads the whole file for every version in it.
pub const COMMIT_FILE_BYTES: u64 = 2 << 20;
/// Most adds and removes that a commit keeps in its JSON; with more, they go to sidecars.
pub const INLINE_FILE_ACTIONS_MAX: usize = 256;
/// Most bytes of data files that a commit keeps in the log: with more, they are synced.
pub const INLINE_DATA_BYTES_MAX: usize = 64 << 10;
/// Most file actions of one sidecar, and files a bucket has on average before the buckets are split in two.
pub const BUCKET_FILES_MAX: usize = 40_960;
/// Most times buckets are split: 65,536 buckets hold 2.6 billion files.
pub const BUCKET_BITS_MAX: u8 = 16;
/// Changes to a bucket, as a share of its files, after which it is put in columns again.
pub const OVERLAY_SHARE_MAX: f64 = 0.25;
/// Changes to a bucket that are kept as they are whatever their share.
pub const OVERLAY_FILES_MIN: usize = 1024;
/// Versions after which a checkpoint is due.
pub const CHECKPOINT_VERSIONS: u64 = 100;
/// Bytes of commits after which a checkpoint is due.
pub const CHECKPOINT_LOG_BYTES: u64 = 8 << 20;
/// Sidecars of removed files that a checkpoint refers to before they are merged into one.
pub const TOMBSTONE_SIDECARS_MAX: usize = 16;
/// Newest checkpoints that are kept whatever else is.
pub const CHECKPOINTS_RECENT: usize = 2;
/// Parts of the versions that can be read, each of which keeps a checkpoint.
pub const CHECKPOINTS_SPREAD: u64 = 16;
