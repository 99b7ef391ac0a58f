//! Error codes in long: what each means and what to do.

/// Code and explanation, ascending.
const CODES: &[(&str, &str)] = &[
    (
        "DL-0101",
        "A memory pool is exhausted. Drop batches that hold its buffers, lower the number of concurrent scans, or give shards larger arenas.",
    ),
    (
        "DL-0102",
        "A buffer was asked for that is larger than its whole pool, so waiting can't help. Raise the pool's limit, or ask for smaller pieces.",
    ),
    (
        "DL-0103",
        "The kernel refused to map memory. Check `ulimit -v`, vm.overcommit_memory and vm.max_map_count.",
    ),
    (
        "DL-0104",
        "A memory pool was asked for with options that contradict each other; the message says which.",
    ),
    (
        "DL-0110",
        "A memory budget is used up. Wait for others to finish, run fewer queries at once, or raise the limit.",
    ),
    (
        "DL-0111",
        "More memory was asked for than a whole budget has, so waiting can't help. Raise its limit, or work in smaller pieces.",
    ),
    (
        "DL-0112",
        "Memory was waited for in vain. Look for a consumer that holds on to its batches, or raise the budget's limit.",
    ),
    ("DL-0120", "A description of a machine (for tests, or HWLOC_SYNTHETIC) can't be read."),
    ("DL-0121", "Shards can't be placed as asked: more of them than there are places, or none."),
    (
        "DL-0122",
        "The kernel refused to pin a thread to a CPU. Check that it is online and within the process's cpuset.",
    ),
    (
        "DL-0201",
        "A structure in the file contradicts itself although its checksum is right or absent: the file was made by faulty software, or damaged. `deltalite verify` lists all damage; `deltalite salvage` copies what is intact.",
    ),
    (
        "DL-0202",
        "Bytes of the file changed after they were written (bit rot, a bad cable, an overwritten sector). Restore the file from a copy, or `deltalite salvage SRC DEST` to keep everything that is intact. Check the disk.",
    ),
    (
        "DL-0203",
        "The file does not start or end as a DeltaLite file does. Import other formats with `deltalite import`; a DeltaLite file that was cut off can be salvaged.",
    ),
    (
        "DL-0204",
        "The file uses a feature of a newer version. Upgrade, or have it written without that feature.",
    ),
    (
        "DL-0205",
        "A request can't be carried out on this data: a batch that does not fit the schema, a condition that does not fit a column's type, an option out of range, a value too large.",
    ),
    (
        "DL-0206",
        "There is no such column. `deltalite inspect FILE` lists the columns; names are case-sensitive.",
    ),
    ("DL-0207", "Arrow refused an array, a cast or a batch; the message has its words."),
    (
        "DL-0208",
        "The operating system failed a read or write of a file's metadata. The message has the file, the place and the system's error.",
    ),
    (
        "DL-0301",
        "A read, write or sync failed. The message has the file, the offset and the system's error; look into the kernel log (dmesg) for the disk's state.",
    ),
    (
        "DL-0302",
        "The file system is full, or a quota or size limit is reached. Nothing half-written stays under the final name. Free some space, or write elsewhere.",
    ),
    (
        "DL-0303",
        "A file could not be opened, created, renamed or removed. Check the path and the permissions of the file and its folders.",
    ),
    (
        "DL-0304",
        "A file ended before the bytes that its length promised: it was truncated while being read, or the disk returned a short read. Open it again; `deltalite salvage` copies what is left.",
    ),
    (
        "DL-0305",
        "The file is not the one that was opened: somebody rewrote it. DeltaLite files are replaced, never changed in place; open it again.",
    ),
    ("DL-0306", "The file was deleted or moved while it was being read."),
    (
        "DL-0307",
        "A read was asked for beyond the end of a file. Where the file was not shortened, this is a bug; please report it.",
    ),
    (
        "DL-0308",
        "A request breaks the alignment rule of direct I/O: offsets and lengths are multiples of 4096.",
    ),
    (
        "DL-0309",
        "The kernel kept answering \"try again\" without any progress: the disk is overloaded or failing.",
    ),
    (
        "DL-0310",
        "I/O can't be set up on this machine. `deltalite doctor` says why; DELTALITE_IO=threads does without io_uring.",
    ),
    ("DL-0311", "The device was shut down before an operation finished: the program was ending."),
    (
        "DL-0320",
        "A bounded stage is full. Nothing was done; try again after the time given, or start fewer scans at a time.",
    ),
    ("DL-0321", "A task panicked. This is a bug; the message has what to report."),
    (
        "DL-0322",
        "A task was cancelled before it finished: its handle was dropped, or the shards were stopped.",
    ),
    ("DL-0323", "The shards have been stopped. Start a new set."),
    ("DL-0324", "An option or environment variable makes no sense; the message says what it can be."),
    ("DL-0325", "A shard could not be started; the message says what failed and what to do."),
    ("DL-0326", "Rows can't become the type asked for. Compare its fields with the scan's schema."),
    (
        "DL-0401",
        "A Parquet, CSV, NDJSON or Arrow file can't be read or written; the message has what its library said.",
    ),
    ("DL-0402", "The operating system refused to open, read or write a file."),
    (
        "DL-0403",
        "An argument makes no sense, alone or together with others. `deltalite COMMAND --help` has examples.",
    ),
    (
        "DL-0404",
        "A row of a CSV or NDJSON source does not fit the schema. Give the column another type with --type NAME=TYPE, let inference see more rows with --infer-rows, or mend the line.",
    ),
    (
        "DL-0405",
        "Several sources of one import differ in their columns. Import them to files of their own (a folder as DEST does that), or choose columns with --schema.",
    ),
    (
        "DL-0410",
        "A condition (--where) can't be understood, or does not fit the columns' types. The message shows the place; text is quoted with ' and names with \".",
    ),
];

/// The explanation of a code, case-insensitively.
///
/// ```
/// assert!(deltalite::explain::explain("dl-0202").is_some());
/// assert!(deltalite::explain::explain("DL-9999").is_none());
/// ```
pub fn explain(code: &str) -> Option<&'static str> {
    CODES.iter().find(|(c, _)| c.eq_ignore_ascii_case(code)).map(|(_, text)| *text)
}

/// All codes with their explanations, ascending.
pub fn codes() -> impl Iterator<Item = (&'static str, &'static str)> {
    CODES.iter().copied()
}
