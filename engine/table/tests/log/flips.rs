//! Any flipped byte is noticed, or changes nothing.

use std::path::Path;
use std::sync::Arc;

use deltalite_table::log::store::sim::SimDisk;
use deltalite_table::log::{LocalStore, Snapshot, verify};
use rand::Rng;

use crate::common::{Model, TABLE, Writer, rng, sim_store};

#[test]
fn any_flipped_byte_is_an_error_or_changes_nothing() {
    let disk = SimDisk::new();
    let store = sim_store(&disk);
    let mut writer = Writer::new(77);
    writer.commit(&store, 2, 5);
    writer.commit(&store, 1, 600);
    let resting = writer.now().checkpoint(&store).unwrap();
    writer.snapshot = Some(resting);
    writer.commit(&store, 2, 5);
    let model = writer.models.last().unwrap().clone();
    let hash = writer.now().hash();
    let mut rng = rng(3);
    let (mut errors, mut same) = (0, 0);
    for path in disk.files() {
        let bytes = std::fs::read(&path).ok();
        assert!(bytes.is_none(), "the simulated table is not on the disk");
        let whole = deltalite_table::log::store::Disk::read(&disk, &path, 1 << 30).unwrap().to_vec();
        let is_json = path.extension().is_some_and(|e| e == "json");
        let is_hint = path.ends_with("_last_checkpoint");
        let positions: Vec<usize> = if whole.len() < 1500 {
            (0..whole.len()).collect()
        } else {
            (0..400).map(|_| rng.random_range(0..whole.len())).collect()
        };
        for at in positions {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << rng.random_range(0..8);
            disk.overwrite(&path, &flipped).unwrap();
            let reader = LocalStore::open_read_only_on(Arc::new(disk.clone()), Path::new(TABLE)).unwrap();
            let opened = Snapshot::open(&reader);
            match &opened {
                Ok(snapshot) => {
                    assert_eq!(Model::files_of(snapshot), model.files, "{} at {at}", path.display());
                    assert_eq!(snapshot.hash(), hash);
                    same += 1;
                }
                Err(error) => {
                    assert!(error.is_damage(), "{error}");
                    errors += 1;
                }
            }
            if is_json || (!is_hint && whole.len() > 64) {
                // Verification reads everything, so it notices whether or not opening had to.
                let report = verify(&reader).unwrap();
                assert!(!report.is_clean(), "{} at {at}", path.display());
            }
        }
        disk.overwrite(&path, &whole).unwrap();
    }
    assert!(errors > 100 && same > 100, "{errors} errors, {same} times the same");
}
