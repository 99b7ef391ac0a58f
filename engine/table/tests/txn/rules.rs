//! Each rule by itself.

use std::sync::Arc;

use deltalite_table::Version;
use deltalite_table::log::Commit;
use deltalite_table::log::action::{Add, CommitInfo, DomainMetadata, Metadata, Protocol, Txn};
use deltalite_table::txn::{
    Checked, Columns, Conflict, DomainWrite, Isolation, Remedy, Rule, Transaction, WinnerSummary, check,
};

fn winner(change: impl FnOnce(&mut WinnerSummary)) -> WinnerSummary {
    let mut winner = WinnerSummary {
        commit: Commit {
            info: CommitInfo { version: Version(6), ..CommitInfo::new("WRITE") },
            ..Commit::default()
        },
        ..WinnerSummary::default()
    };
    change(&mut winner);
    winner
}

fn txn(change: impl FnOnce(&mut Transaction)) -> Transaction {
    let mut txn = Transaction::new(Version(5), Isolation::WriteSerializable);
    change(&mut txn);
    txn
}

fn outcome(winner: &WinnerSummary, txn: &Transaction) -> Result<Checked, Box<Conflict>> {
    check(winner, &mut txn.clone(), |p| p.min_writer_version < 8)
}

fn rule(winner: &WinnerSummary, txn: &Transaction) -> Option<Rule> {
    outcome(winner, txn).err().map(|conflict| conflict.rule)
}

fn schema(fields: &[(&str, &str)]) -> Metadata {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, kind)| format!(r#"{{"name":"{name}","type":"{kind}","nullable":true,"metadata":{{}}}}"#))
        .collect();
    Metadata {
        schema_string: format!(r#"{{"type":"struct","fields":[{}]}}"#, fields.join(",")),
        ..Metadata::default()
    }
}

#[test]
fn a_commit_of_its_own_is_recognised() {
    let ours = txn(|_| {});
    let theirs = winner(|w| w.commit.info.txn_id.clone_from(&ours.id));
    assert_eq!(outcome(&theirs, &ours), Ok(Checked::AlreadyCommitted(Version(6))));
    assert_eq!(outcome(&winner(|_| {}), &ours), Ok(Checked::Rebased));
}

#[test]
fn versions_are_checked_one_after_the_other() {
    let mut ours = txn(|_| {});
    let later = winner(|w| w.commit.info.version = Version(7));
    assert_eq!(rule(&later, &ours), Some(Rule::Horizon));
    check(&winner(|_| {}), &mut ours, |_| true).unwrap();
    assert_eq!(ours.checked, Version(6));
    assert_eq!(rule(&later, &ours), None);
}

#[test]
fn protocols() {
    let to = |version| {
        winner(|w| {
            w.commit.protocol = Some(Protocol { min_writer_version: version, ..Protocol::default() });
        })
    };
    assert_eq!(rule(&to(7), &txn(|_| {})), None);
    let conflict = outcome(&to(9), &txn(|_| {})).unwrap_err();
    assert_eq!((conflict.rule, conflict.remedy), (Rule::Protocol, Remedy::Change));
    assert_eq!(rule(&to(7), &txn(|t| t.writes.protocol = Some(Protocol::default()))), Some(Rule::Protocol));
}

#[test]
fn metadata_is_adopted_where_it_does_not_matter() {
    let before = schema(&[("a", "integer"), ("b", "string")]);
    let to = |after: Metadata| {
        winner(|w| {
            w.metadata_before = Arc::new(before.clone());
            w.commit.metadata = Some(after);
        })
    };
    let writes = |columns: &[&str]| {
        txn(|t| t.writes.columns = Columns::Only(columns.iter().map(|c| (*c).to_owned()).collect()))
    };
    let wider = to(schema(&[("a", "long"), ("b", "string")]));
    assert_eq!(rule(&wider, &writes(&["b"])), None);
    assert_eq!(rule(&wider, &writes(&["a"])), Some(Rule::Metadata));
    let fewer = to(schema(&[("a", "integer")]));
    assert_eq!(rule(&fewer, &writes(&["a"])), None);
    assert_eq!(rule(&fewer, &writes(&["a", "b"])), Some(Rule::Metadata));
    assert_eq!(rule(&fewer, &txn(|t| t.reads.columns = Columns::All)), Some(Rule::Metadata));
    let more = to(schema(&[("a", "integer"), ("b", "string"), ("c", "date")]));
    assert_eq!(rule(&more, &writes(&["a", "b"])), None);
    let other = to(schema(&[("a", "string"), ("b", "string")]));
    assert_eq!(rule(&other, &writes(&["b"])), Some(Rule::Metadata));
    let both = txn(|t| t.writes.metadata = Some(before.clone()));
    assert_eq!(rule(&to(before.clone()), &both), Some(Rule::Metadata));
}

#[test]
fn domains_merge_where_they_can() {
    let domain = |configuration: &str| DomainMetadata {
        domain: "deltalite.counter".to_owned(),
        configuration: configuration.to_owned(),
        removed: false,
    };
    let theirs = winner(|w| w.commit.domains.push(domain("7")));
    assert_eq!(
        rule(&theirs, &txn(|t| t.writes.domains.push(DomainWrite { domain: domain("9"), merge: None }))),
        Some(Rule::Domain)
    );
    assert_eq!(
        rule(
            &theirs,
            &txn(|t| {
                t.reads.domains.insert("deltalite.counter".into());
            })
        ),
        Some(Rule::Domain)
    );
    let merge = |ours: &str, theirs: &str| {
        let highest = ours.parse::<u64>().ok()?.max(theirs.parse().ok()?);
        Some(highest.to_string())
    };
    let mut ours = txn(|t| t.writes.domains.push(DomainWrite { domain: domain("5"), merge: Some(merge) }));
    check(&theirs, &mut ours, |_| true).unwrap();
    assert_eq!(ours.writes.domains[0].domain.configuration, "7");
}

#[test]
fn applications_write_once() {
    let at = |version| Txn { app_id: "loader".into(), version, last_updated: None };
    let theirs = winner(|w| w.commit.txns.push(at(4)));
    let ours = |version| txn(|t| t.writes.txns.push(at(version)));
    assert_eq!(outcome(&theirs, &ours(4)), Ok(Checked::AlreadyCommitted(Version(6))));
    assert_eq!(outcome(&theirs, &ours(3)), Ok(Checked::AlreadyCommitted(Version(6))));
    assert_eq!(rule(&theirs, &ours(5)), Some(Rule::AppTransaction));
    assert_eq!(
        rule(
            &theirs,
            &txn(|t| {
                t.reads.app_ids.insert("loader".into());
            })
        ),
        Some(Rule::AppTransaction)
    );
    assert_eq!(
        rule(
            &theirs,
            &txn(|t| {
                t.reads.app_ids.insert("another".into());
            })
        ),
        None
    );
}

#[test]
fn fences_hold() {
    let theirs = |token: &str| {
        winner(|w| {
            w.commit.domains.push(DomainMetadata {
                domain: "deltalite.fence.compactor".to_owned(),
                configuration: token.to_owned(),
                removed: false,
            });
        })
    };
    let ours = txn(|t| {
        t.writes.fences.insert("compactor".into(), "12".into());
    });
    assert_eq!(rule(&theirs("12"), &ours), None);
    assert_eq!(rule(&theirs("13"), &ours), Some(Rule::Fence));
}

#[test]
fn keys_are_unique() {
    let key = |n: u8| vec![n];
    let theirs = |keys: Option<Vec<u8>>| {
        winner(|w| {
            w.commit.adds.push(Add { path: "x".into(), data_change: true, ..Add::default() });
            w.keys = keys.map(|keys| keys.into_iter().map(key).collect());
        })
    };
    let ours = txn(|t| t.writes.keys.extend([key(1), key(2)]));
    assert_eq!(rule(&theirs(Some(vec![3, 4])), &ours), None);
    let conflict = outcome(&theirs(Some(vec![2, 3])), &ours).unwrap_err();
    assert_eq!((conflict.rule, conflict.remedy), (Rule::Keys, Remedy::Change));
    assert_eq!(rule(&theirs(None), &ours), Some(Rule::Keys));
    assert_eq!(rule(&theirs(None), &txn(|_| {})), None);
}

#[test]
fn a_conflict_explains_itself() {
    let theirs = winner(|w| w.commit.info.operation = "DELETE".into());
    let conflict = Conflict {
        rule: Rule::RowLevel,
        version: theirs.version(),
        operation: "DELETE".into(),
        path: Some("a.dlb".into()),
        rows: Some((vec![3, 9], 4)),
        predicate: Some("n = 1".into()),
        detail: "both change the same rows".into(),
        rebase_tried: true,
        remedy: Remedy::RunAgain,
    };
    assert_eq!(
        conflict.to_string(),
        "version 6 (DELETE) won: both change the same rows; file a.dlb, 4 row(s): 3, 9, …; condition n = 1 \
         [R9 row level; a rebase was tried]; run the statement again"
    );
}
