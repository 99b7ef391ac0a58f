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
    ("DL-0501", "The call was cancelled: whoever made it gave up or was stopped."),
    (
        "DL-0502",
        "The time allowed for a call was over before it ended. Allow more, or look at what keeps the server busy (its /metrics tell).",
    ),
    (
        "DL-0503",
        "The server can't be reached, or the connection broke and could not be made anew in time. Check address and port, whether `deltalite serve` runs there, and that nothing between the machines closes connections. What can be repeated was tried several times.",
    ),
    (
        "DL-0504",
        "The server, or this side of the connection, has as much to do as it takes on. Try again after the time it tells, run fewer scans at once, or raise `deltalite serve --scans`.",
    ),
    (
        "DL-0505",
        "The server does not know who calls. Give the token it was started with (--token or DELTALITE_CLIENT_TOKEN), or a certificate that it accepts.",
    ),
    ("DL-0506", "The server knows who calls, and does not let them do this. Ask whoever runs it."),
    (
        "DL-0507",
        "The server has no table, file or version of that name, or it was replaced while it was being read. Names are paths below the folder that is served.",
    ),
    (
        "DL-0508",
        "A request makes no sense to the server: an unknown column, a condition that does not fit, an address or option that contradicts itself.",
    ),
    ("DL-0509", "The server does not know what was asked. It is older than the client: upgrade it."),
    (
        "DL-0510",
        "What was received is not what the protocol allows: the port is another program's, one side speaks TLS and the other does not, or bytes were damaged on the way. The message tells what was received.",
    ),
    ("DL-0511", "Client and server share no version of the protocol. Upgrade the older one."),
    ("DL-0512", "A request or message is larger than the protocol allows. Ask for less at once."),
    ("DL-0513", "The caller's view of the cluster is older than the server's. Connect anew."),
    ("DL-0514", "What was asked for is damaged on the server. Run `deltalite verify` there."),
    (
        "DL-0515",
        "The server failed in a way that is not the caller's doing. Its log has the request's number.",
    ),
    (
        "DL-0601",
        "The file system refused something about a table; nothing is known to have changed. The message has the file and the system's answer.",
    ),
    (
        "DL-0602",
        "There is no table in that folder, or none in the log. Check the path, or create the table first.",
    ),
    (
        "DL-0603",
        "A line of a table's log is not what the specification (docs/log.md) says: it was damaged, or written by faulty software. `VERIFY TABLE` shows what is affected; restore the file from a copy.",
    ),
    (
        "DL-0604",
        "A hash or count in a table's log contradicts what it is of: the log was damaged or edited. Restore the file from a copy.",
    ),
    (
        "DL-0605",
        "A file of a table is damaged or contradicts itself. Restore it from a copy; a checkpoint can also be removed, the log makes up for it.",
    ),
    (
        "DL-0606",
        "A file that a table refers to is missing. Restore it from a copy, or restore the table to a version without it.",
    ),
    ("DL-0607", "A columnar file of a table's log can't be read or written; the message has the reason."),
    ("DL-0608", "A commit did not happen; nothing of it is visible. It can be tried again."),
    (
        "DL-0609",
        "The outcome of a commit is not known, because a sync failed. Open the table again and look for the commit's txnId among the versions named.",
    ),
    ("DL-0610", "After a commit of unknown outcome this handle takes no more. Open the table again."),
    (
        "DL-0611",
        "Actions contradict the state of the table that they apply to. Refresh and build the commit again; if it is in the log already, its writer was faulty.",
    ),
    (
        "DL-0612",
        "That version of the table can't be read: it does not exist, or its files have been vacuumed. `DESCRIBE HISTORY` lists versions.",
    ),
    ("DL-0613", "No version of the table is as old as that time."),
    (
        "DL-0614",
        "The table uses a feature of a newer version. Upgrade, or read it with the version that wrote it.",
    ),
    (
        "DL-0615",
        "A statement can't be carried out on this table: a column that is not there, a value that does not fit, an option out of range. The message says which and what to do.",
    ),
    (
        "DL-0616",
        "Something is larger than the log's format allows; the message has the limit and what to do.",
    ),
    ("DL-0617", "A row breaks a CHECK constraint. The message has the constraint, the row and its values."),
    ("DL-0618", "A row has a null where there must be none. Give the column a value, or make it nullable."),
    ("DL-0619", "A row has a key that the table has already. Update the row, or merge."),
    (
        "DL-0620",
        "Another transaction has won, and this one can't be put on top of it. The message names the rule (docs/transactions.md), the version, and the file, rows or condition. Running the statement again usually succeeds.",
    ),
    (
        "DL-0621",
        "A statement was run again and again, and each time another transaction had won. Let writers that change the same rows take turns.",
    ),
    ("DL-0622", "Rows can't be computed; the message has Arrow's words."),
    (
        "DL-0623",
        "OPTIMIZE, VACUUM or VERIFY was asked to stop, and did before it committed; run it again to go on.",
    ),
    ("DL-0701", "The text is no SQL statement; the caret shows where it stops being one."),
    (
        "DL-0702",
        "A table, column or function of that name does not exist. Names are in lower case unless they are quoted.",
    ),
    ("DL-0703", "The statement is understood and not supported; the message says what to write instead."),
    (
        "DL-0704",
        "The query needs more memory than the session has. Give it more with --memory, or a folder to spill to with --temp-dir.",
    ),
    ("DL-0705", "The statement took longer than the session allows. Raise --timeout, or narrow the query."),
    ("DL-0706", "Planning or running the query failed; the message has the reason."),
    (
        "DL-0707",
        "A statement that changes tables was cancelled, by Ctrl-C or because its client went away, before it committed. Nothing was changed.",
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
